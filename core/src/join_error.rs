//! Why a task has no output: [`JoinError`].

use alloc::{
    boxed::Box,
    string::{String, ToString},
};
use core::{any::Any, fmt};

use sync_wrapper::SyncWrapper;

/// The payload of a panic, as [`std::panic::catch_unwind`] returns it.
///
/// [`std::panic::catch_unwind`]: https://doc.rust-lang.org/std/panic/fn.catch_unwind.html
pub type Payload = Box<dyn Any + Send + 'static>;

/// The reason why joining a task gave no output.
///
/// There are four, and they never blur into each other (rule JO-4 of the contract):
///
/// | question | the task … |
/// |---|---|
/// | [`is_cancelled`](Self::is_cancelled) | was cancelled through its handle or an [`AbortHandle`](crate::AbortHandle) |
/// | [`is_panic`](Self::is_panic) | panicked, or its destructor did; the payload is kept (JO-3) |
/// | [`is_shutdown`](Self::is_shutdown) | was destroyed, or refused, because its runtime is gone (JO-5, SP-3) |
/// | [`is_unstarted`](Self::is_unstarted) | is a closure for which the system gave no thread (OF-6) |
///
/// The type is opaque, so that more reasons can be added without breaking anyone.
pub struct JoinError {
    kind: Kind,
}

// One pointer: every join moves a `Result` with this, and nearly always an output.
enum Kind {
    Cancelled,
    Other(Box<Other>),
}

enum Other {
    Panic(Panic),
    Shutdown,
    Unstarted(String),
}

struct Panic {
    // `Any + Send` is not `Sync`; the wrapper makes it so by giving no access
    // through a shared reference.
    payload: SyncWrapper<Payload>,
    // Copied out at construction, for `Display` has only `&self`.
    message: Option<Box<str>>,
}

impl JoinError {
    /// The task was cancelled. For adapters; users receive it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self {
            kind: Kind::Cancelled,
        }
    }

    /// The task panicked with `payload`. For adapters; users receive it.
    #[must_use]
    pub fn panicked(payload: Payload) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .map(|s| Box::from(*s))
            .or_else(|| payload.downcast_ref::<String>().map(|s| Box::from(&**s)));
        Self {
            kind: Kind::Other(Box::new(Other::Panic(Panic {
                payload: SyncWrapper::new(payload),
                message,
            }))),
        }
    }

    /// The runtime is gone. For adapters; users receive it.
    #[must_use]
    pub fn shutdown() -> Self {
        Self {
            kind: Kind::Other(Box::new(Other::Shutdown)),
        }
    }

    /// No thread could be started for the closure, for the given reason. For
    /// adapters; users receive it.
    #[must_use]
    pub fn unstarted(reason: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Other(Box::new(Other::Unstarted(reason.to_string()))),
        }
    }

    /// Was the task cancelled, by its handle or by an abort handle?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Cancelled)
    }

    /// Did the task panic?
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.panic().is_some()
    }

    /// Was the task destroyed or refused because its runtime shut down?
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        matches!(self.other(), Some(Other::Shutdown))
    }

    /// Did the closure never run because no thread could be started?
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        matches!(self.other(), Some(Other::Unstarted(_)))
    }

    /// The panic's message, if the task panicked with a string.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        self.panic()?.message.as_deref()
    }

    fn other(&self) -> Option<&Other> {
        match &self.kind {
            Kind::Cancelled => None,
            Kind::Other(other) => Some(other),
        }
    }

    fn panic(&self) -> Option<&Panic> {
        match self.other()? {
            Other::Panic(panic) => Some(panic),
            Other::Shutdown | Other::Unstarted(_) => None,
        }
    }

    /// The original payload of the panic.
    ///
    /// # Panics
    ///
    /// If the task did not panic. [`try_into_panic`](Self::try_into_panic) does not.
    #[must_use]
    #[track_caller]
    pub fn into_panic(self) -> Payload {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(error) => panic!("`into_panic` on an error that is not a panic: {error}"),
        }
    }

    /// The original payload of the panic, or the error unchanged.
    ///
    /// # Errors
    ///
    /// Gives the error back if the task did not panic.
    pub fn try_into_panic(self) -> Result<Payload, Self> {
        let kind = match self.kind {
            Kind::Cancelled => Kind::Cancelled,
            Kind::Other(other) => match *other {
                Other::Panic(panic) => return Ok(panic.payload.into_inner()),
                other => Kind::Other(Box::new(other)),
            },
        };
        Err(Self { kind })
    }

    /// Lets the task's panic go on in the calling thread, without running the
    /// panic hook a second time.
    ///
    /// # Panics
    ///
    /// Always: with the task's payload, or, if the task did not panic, with a
    /// message that names the reason.
    #[cfg(feature = "std")]
    #[track_caller]
    pub fn resume_unwind(self) -> ! {
        match self.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.other() {
            None => f.write_str("the task was cancelled"),
            Some(Other::Panic(panic)) => match &panic.message {
                Some(message) => write!(f, "the task panicked: {message}"),
                None => f.write_str("the task panicked with a payload that is not a string"),
            },
            Some(Other::Shutdown) => {
                f.write_str("the runtime was shut down before the task could finish")
            }
            Some(Other::Unstarted(reason)) => {
                write!(f, "no thread could be started for the closure: {reason}")
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.other() {
            None => f.write_str("JoinError::Cancelled"),
            Some(Other::Panic(panic)) => f
                .debug_tuple("JoinError::Panic")
                .field(&panic.message.as_deref().unwrap_or(".."))
                .finish(),
            Some(Other::Shutdown) => f.write_str("JoinError::Shutdown"),
            Some(Other::Unstarted(reason)) => {
                f.debug_tuple("JoinError::Unstarted").field(reason).finish()
            }
        }
    }
}

impl core::error::Error for JoinError {}

/// For functions that return an [`io::Result`](std::io::Result): `task.await?`. The kind is
/// `Other`, and the error itself is [inside](std::io::Error::get_ref).
#[cfg(feature = "std")]
impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
