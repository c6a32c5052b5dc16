//! Asking again: [`persistently`].

use std::{future::Future, time::Duration};

use fourway_jobs_engine::EngineError;
use tokio::time::{Instant, sleep};

/// Repeats a request while no server answers: a stream or a consumer has no leader for a moment
/// after it was made, and after a server was lost. For idempotent requests.
///
/// Long enough for one more try after a request that was not answered in time.
pub(crate) async fn persistently<T, F>(
    timeout: Duration,
    ask: impl Fn() -> F,
) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let end = Instant::now() + timeout + timeout / 2;
    let mut pause = Duration::from_millis(10);
    loop {
        match ask().await {
            Err(error) if error.is_unavailable() && Instant::now() + pause < end => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
            answer => return answer,
        }
    }
}
