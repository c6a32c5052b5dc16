//! Running code that may hang: [`watch`].

use std::{any::Any, error::Error, fmt, io, sync::mpsc, thread, time::Duration};

/// Runs `body` on its own thread, and waits with a limit.
///
/// `body` must not panic, or it counts as hung. It catches panics that it wants to report, for
/// example with [`panic_message`].
///
/// # Errors
///
/// If no thread can be started, or if `body` takes longer than `limit`. A thread cannot be killed:
/// it is left alone and ends with the process.
pub fn watch<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let (done, result) = mpsc::channel();
    thread::Builder::new()
        .name(String::from("case"))
        .spawn(move || {
            // The caller may have given up.
            let _ = done.send(body());
        })
        .map_err(Unfinished::NoThread)?;
    // Also if the thread panicked, which it must not.
    let hung = |_| Unfinished::Hung(limit);
    result.recv_timeout(limit).map_err(hung)
}

/// Why [`watch`] gives no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unfinished {
    /// The system could not start a thread.
    NoThread(io::Error),
    /// It took longer than this.
    Hung(Duration),
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread(error) => write!(f, "no thread for the case: {error}"),
            Self::Hung(limit) => write!(f, "it hung for {limit:?}"),
        }
    }
}

impl Error for Unfinished {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(error),
            Self::Hung(_) => None,
        }
    }
}

/// The text of a panic.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("it panicked with a payload that is not a string")
    }
}
