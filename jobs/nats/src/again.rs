//! Repeating requests: [`persistently`], [`Tries`].

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

/// For a writer with a revision that finds that another process has written since. That process has
/// made progress, so the writer tries again. The tries are limited, as a faulty server may report a
/// conflict each time.
pub(crate) struct Tries {
    end: Instant,
    so_far: u32,
}

impl Tries {
    /// Tries for about as long as one request may take.
    pub(crate) fn within(timeout: Duration) -> Self {
        Self {
            end: Instant::now() + timeout + timeout / 2,
            so_far: 0,
        }
    }

    /// The last try has failed.
    pub(crate) async fn again(&mut self) -> Result<(), EngineError> {
        // Writers that collide by chance do so only a few times.
        const AT_ONCE: u32 = 8;
        if Instant::now() >= self.end {
            return Err(EngineError::unavailable(
                "others wrote the same at the same time, again and again",
            ));
        }
        self.so_far += 1;
        if self.so_far > AT_ONCE {
            let longest = 1_u64 << (self.so_far - AT_ONCE).min(6);
            sleep(Duration::from_millis(longest).mul_f64(fastrand::f64())).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_to_an_end() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        tokio.block_on(async {
            let mut ages = Tries::within(Duration::from_secs(3600));
            for _ in 0..20 {
                ages.again().await.unwrap();
            }
            let error = Tries::within(Duration::ZERO).again().await.unwrap_err();
            assert!(error.is_unavailable(), "{error}");
        });
    }
}
