//! Why a task has no output: [`JoinError`].

use alloc::{
    borrow::ToOwned,
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

enum Kind {
    Cancelled,
    Panic {
        // `Any + Send` is not `Sync`; the wrapper makes it so by giving no
        // access through a shared reference.
        payload: SyncWrapper<Payload>,
        // Copied out at construction, for `Display` has only `&self`.
        message: Option<Box<str>>,
    },
    Shutdown,
    Unstarted(Box<str>),
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
            kind: Kind::Panic {
                payload: SyncWrapper::new(payload),
                message,
            },
        }
    }

    /// The runtime is gone. For adapters; users receive it.
    #[must_use]
    pub fn shutdown() -> Self {
        Self {
            kind: Kind::Shutdown,
        }
    }

    /// No thread could be started for the closure, for the given reason. For
    /// adapters; users receive it.
    #[must_use]
    pub fn unstarted(reason: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Unstarted(reason.to_string().into_boxed_str()),
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
        matches!(self.kind, Kind::Panic { .. })
    }

    /// Was the task destroyed or refused because its runtime shut down?
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        matches!(self.kind, Kind::Shutdown)
    }

    /// Did the closure never run because no thread could be started?
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        matches!(self.kind, Kind::Unstarted(_))
    }

    /// The panic's message, if the task panicked with a string.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match &self.kind {
            Kind::Panic { message, .. } => message.as_deref(),
            _ => None,
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
        match self.kind {
            Kind::Panic { payload, .. } => Ok(payload.into_inner()),
            kind => Err(Self { kind }),
        }
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
        match &self.kind {
            Kind::Cancelled => f.write_str("the task was cancelled"),
            Kind::Panic {
                message: Some(message),
                ..
            } => write!(f, "the task panicked: {message}"),
            Kind::Panic { message: None, .. } => {
                f.write_str("the task panicked with a payload that is not a string")
            }
            Kind::Shutdown => f.write_str("the runtime was shut down before the task could finish"),
            Kind::Unstarted(reason) => {
                write!(f, "no thread could be started for the closure: {reason}")
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cancelled => f.write_str("JoinError::Cancelled"),
            Kind::Panic { message, .. } => f
                .debug_tuple("JoinError::Panic")
                .field(&message.as_deref().unwrap_or("..").to_owned())
                .finish(),
            Kind::Shutdown => f.write_str("JoinError::Shutdown"),
            Kind::Unstarted(reason) => f.debug_tuple("JoinError::Unstarted").field(reason).finish(),
        }
    }
}

impl core::error::Error for JoinError {}
