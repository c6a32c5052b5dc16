//! For engines: waiting for a change, with a time limit.

use std::{future::Future, time::Duration};

use event_listener::{Event, EventListener};
use fourway_core::{AnyRuntime, Timer};

use crate::{EngineError, EngineFuture};

/// Tells the waiters of this process about a change.
#[derive(Debug, Default)]
pub struct Changes {
    event: Event,
}

impl Changes {
    /// No waiters yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells of a change. Costs little without waiters.
    pub fn tell(&self) {
        self.event.notify(usize::MAX);
    }

    /// Until something changes from now on.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }
}

/// Looks again and again until there is an answer or `patience` is over: after each
/// [change](Changes), and after the time that the last look gave. The latter covers changes by time
/// alone and in other processes.
///
/// `look` gives the answer, or the time until the next look at the latest. At the end it is called
/// once more, and `None` means that there is still no answer.
///
/// # Errors
///
/// The errors of `look`.
pub async fn patiently<T, L>(
    runtime: &AnyRuntime,
    changes: &Changes,
    patience: Duration,
    mut look: impl FnMut() -> L,
) -> Result<Option<T>, EngineError>
where
    L: Future<Output = Result<Result<T, Duration>, EngineError>>,
{
    let end = runtime.now().checked_add(patience);
    loop {
        // Before the look, so that a later change is not missed.
        let change = changes.listen();
        let step = match look().await? {
            Ok(found) => return Ok(Some(found)),
            Err(step) => step,
        };
        let now = runtime.now();
        let left = match end {
            Some(end) if end <= now => return Ok(None),
            Some(end) => end - now,
            None => step,
        };
        // A change or the timeout: both lead to another look.
        let _ = runtime.timeout(left.min(step), change).await;
    }
}

/// An answer that is there already.
pub(crate) fn ready<T: Send + 'static>(answer: Result<T, EngineError>) -> EngineFuture<T> {
    Box::pin(std::future::ready(answer))
}
