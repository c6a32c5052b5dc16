//! Requests to end.

use tokio::signal;

/// SIGTERM and interrupts, which no longer end the process.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: signal::unix::Signal,
    #[cfg(unix)]
    interrupt: signal::unix::Signal,
}

impl Signals {
    /// Catches them from here on; on Unix also those that come before the first wait.
    pub(crate) fn caught() -> Self {
        #[cfg(unix)]
        {
            use signal::unix::{SignalKind, signal};
            Self {
                terminate: signal(SignalKind::terminate()).expect("SIGTERM can be caught"),
                interrupt: signal(SignalKind::interrupt()).expect("SIGINT can be caught"),
            }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// Waits for the first one; the next one ends the process.
    pub(crate) async fn asked_to_end(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("asked to end twice: ending at once");
            std::process::exit(130);
        });
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let (terminate, interrupt) =
                (self.terminate.poll_recv(cx), self.interrupt.poll_recv(cx));
            match terminate.is_ready() || interrupt.is_ready() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        signal::ctrl_c().await.expect("an interrupt can be caught");
    }
}
