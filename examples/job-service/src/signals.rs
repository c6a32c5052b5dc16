//! Being asked to end.

use tokio::signal;

/// Until SIGTERM or an interrupt; the next one ends the process.
pub(crate) async fn asked_to_end() {
    wait_for_signal().await;
    tokio::spawn(async {
        wait_for_signal().await;
        tracing::warn!("asked to end twice: ending at once");
        std::process::exit(130);
    });
}

async fn wait_for_signal() {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())
            .expect("SIGTERM can be caught");
        let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())
            .expect("SIGINT can be caught");
        std::future::poll_fn(|cx| {
            let (terminate, interrupt) = (terminate.poll_recv(cx), interrupt.poll_recv(cx));
            match terminate.is_ready() || interrupt.is_ready() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await.expect("an interrupt can be caught");
}
