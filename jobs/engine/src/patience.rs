//! For engines: waiting for something to happen, for so long at most.

use std::{future::Future, time::Duration};

use event_listener::{Event, EventListener};
use fourway_core::{AnyRuntime, Timer};

use crate::{EngineError, EngineFuture};

/// Tells those who wait in this process that something has changed.
#[derive(Debug, Default)]
pub struct Changes {
    event: Event,
}

impl Changes {
    /// Nobody waits yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something has changed. Costs little if nobody waits.
    pub fn tell(&self) {
        self.event.notify(usize::MAX);
    }

    /// Until something changes from now on.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }
}

/// Asks again and again until there is an answer or patience is at an end: whenever something
/// [changes](Changes), and after as long as the last look said, for what changes by itself or in
/// other processes.
///
/// `look` gives the answer, or in how long to look again at the latest. At the end it is asked
/// once more, and `None` means that there is still no answer.
///
/// # Errors
///
/// Those of `look`.
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
        // Before the look: what changes after it is not missed.
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
        // Which of the two it was makes no difference: there is another look.
        let _ = runtime.timeout(left.min(step), change).await;
    }
}

/// An answer that is there already.
pub(crate) fn ready<T: Send + 'static>(answer: Result<T, EngineError>) -> EngineFuture<T> {
    Box::pin(std::future::ready(answer))
}
