//! Why a task has no output: [`JoinError`].

use alloc::{boxed::Box, string::String};
use core::{any::Any, error::Error, fmt, panic::Location};

use sync_wrapper::SyncWrapper;

use crate::task::{Id, Metadata};

/// The payload of a panic, as [`std::panic::catch_unwind`] returns it.
///
/// [`std::panic::catch_unwind`]: https://doc.rust-lang.org/std/panic/fn.catch_unwind.html
pub type Payload = Box<dyn Any + Send + 'static>;

/// The reason why joining a task gave no output.
///
/// There are five distinct reasons (rule [reasons are told apart][JO-4] of the contract). Match on
/// [`kind`](Self::kind), or ask:
///
/// | question | the task … |
/// |---|---|
/// | [`is_cancelled`](Self::is_cancelled) | was cancelled through its handle or an [`AbortHandle`](crate::AbortHandle) |
/// | [`is_panic`](Self::is_panic) | panicked, or its destructor did; the payload is kept ([a panic reaches the joiner][JO-3]) |
/// | [`is_shutdown`](Self::is_shutdown) | was destroyed, or refused, because its runtime is gone ([every join resolves][JO-5], [spawn after the shutdown][SP-3]) |
/// | [`is_forked`](Self::is_forked) | belongs to a runtime from before a `fork`, of which this process is the child ([forked children][FK-1]); `is_shutdown` is true as well |
/// | [`is_unstarted`](Self::is_unstarted) | is a closure for which the system gave no thread ([threads come and go][OF-6]) |
///
/// It says which task it is about: where the task was started, and its name and number if it has
/// them (see [`Metadata`]). The error of a cancelled task without name and number does not say so:
/// the canceller knew the task, and each such error would cost an allocation.
///
/// The type is opaque, so that more reasons can be added without breaking anyone.
///
/// # Examples
///
/// ```
/// use fourway_core::{JoinErrorKind, Runtime};
///
/// async fn answer(rt: impl Runtime) -> Option<u32> {
///     match rt.spawn(async { 42 }).await {
///         Ok(answer) => Some(answer),
///         Err(error) => match error.kind() {
///             JoinErrorKind::Panic => error.resume_unwind(),
///             JoinErrorKind::Cancelled => None,
///             _ => panic!("{error}"),
///         },
///     }
/// }
/// ```
///
/// [JO-4]: crate::contract#JO-4
/// [JO-3]: crate::contract#JO-3
/// [JO-5]: crate::contract#JO-5
/// [SP-3]: crate::contract#SP-3
/// [FK-1]: crate::contract#FK-1
/// [OF-6]: crate::contract#OF-6
pub struct JoinError {
    kind: Kind,
}

/// How a task without an output ended. Made by [`JoinError::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JoinErrorKind {
    /// It was cancelled through its handle or an abort handle.
    Cancelled,
    /// It panicked, or its destructor did.
    Panic,
    /// It was destroyed, or refused, because its runtime is gone.
    Shutdown,
    /// Its runtime was made in a parent process, before a `fork`.
    Forked,
    /// It is a closure for which the system gave no thread.
    Unstarted,
}

// One pointer: every join moves a `Result` with this, and nearly always an output.
enum Kind {
    Cancelled,
    Other(Box<Other>),
}

struct Other {
    reason: Reason,
    task: Option<Metadata>,
}

enum Reason {
    /// With a task that it is about.
    Cancelled,
    Panic(Panic),
    Shutdown,
    Forked,
    Unstarted(Box<dyn Error + Send + Sync>),
}

struct Panic {
    payload: PanicPayload,
    // Copied out at construction, for `Display` has only `&self`.
    message: Option<Box<str>>,
}

enum PanicPayload {
    // `Any + Send` is not `Sync`; the wrapper makes it so by giving no access
    // through a shared reference.
    Any(SyncWrapper<Payload>),
    /// The payload is a boxed error, which is `Sync` by itself.
    Error(Box<dyn Error + Send + Sync>),
}

impl PanicPayload {
    fn new(payload: Payload) -> Self {
        match payload.downcast::<Box<dyn Error + Send + Sync>>() {
            Ok(error) => Self::Error(*error),
            Err(payload) => Self::Any(SyncWrapper::new(payload)),
        }
    }

    fn into_inner(self) -> Payload {
        match self {
            Self::Any(payload) => payload.into_inner(),
            Self::Error(error) => Box::new(error),
        }
    }
}

impl From<Reason> for JoinError {
    fn from(reason: Reason) -> Self {
        let other = Box::new(Other { reason, task: None });
        Self {
            kind: Kind::Other(other),
        }
    }
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
        // A thrown error is not formatted here, on the runtime's thread: its `Display` is user
        // code, and may panic.
        let payload = PanicPayload::new(payload);
        Reason::Panic(Panic { payload, message }).into()
    }

    /// The runtime is gone. For adapters; users receive it.
    #[must_use]
    pub fn shutdown() -> Self {
        Reason::Shutdown.into()
    }

    /// The runtime was made in a parent process, before a `fork`. For adapters; users receive it.
    #[must_use]
    pub fn forked() -> Self {
        Reason::Forked.into()
    }

    /// No thread could be started for the closure, for the given reason. For
    /// adapters; users receive it.
    #[must_use]
    pub fn unstarted(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Reason::Unstarted(reason.into()).into()
    }

    /// Says which task this is about, unless that is known. For adapters, whose handles call
    /// it when a join gives an error.
    #[cold]
    pub fn set_task(&mut self, task: &Metadata) {
        if let Kind::Cancelled = self.kind {
            // Cancelling is common, and must not allocate.
            if task.id().is_none() {
                return;
            }
            *self = Reason::Cancelled.into();
        }
        if let Kind::Other(other) = &mut self.kind {
            other.task.get_or_insert_with(|| task.clone());
        }
    }

    /// How the task ended, to match on.
    #[must_use]
    pub fn kind(&self) -> JoinErrorKind {
        match self.reason() {
            Reason::Cancelled => JoinErrorKind::Cancelled,
            Reason::Panic(_) => JoinErrorKind::Panic,
            Reason::Shutdown => JoinErrorKind::Shutdown,
            Reason::Forked => JoinErrorKind::Forked,
            Reason::Unstarted(_) => JoinErrorKind::Unstarted,
        }
    }

    /// Was the task cancelled, by its handle or by an abort handle?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind() == JoinErrorKind::Cancelled
    }

    /// Did the task panic?
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.kind() == JoinErrorKind::Panic
    }

    /// Was the task destroyed or refused because its runtime shut down?
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        matches!(self.kind(), JoinErrorKind::Shutdown | JoinErrorKind::Forked)
    }

    /// Was the runtime made before a `fork`, of which this process is the child? Its
    /// threads are the parent's. To this process it is as good as shut down, and
    /// [`is_shutdown`](Self::is_shutdown) is true, too.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.kind() == JoinErrorKind::Forked
    }

    /// Did the closure never run because no thread could be started?
    #[must_use]
    pub fn is_unstarted(&self) -> bool {
        self.kind() == JoinErrorKind::Unstarted
    }

    /// The panic's message, if the task panicked with a string. A boxed error that was thrown
    /// is the [`source`](Error::source).
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match self.reason() {
            Reason::Panic(panic) => panic.message.as_deref(),
            _ => None,
        }
    }

    /// Which task this is about, if the runtime says.
    #[must_use]
    pub fn task(&self) -> Option<&Metadata> {
        match &self.kind {
            Kind::Cancelled => None,
            Kind::Other(other) => other.task.as_ref(),
        }
    }

    /// The name of the task, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.task()?.name()
    }

    /// The number of the task, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.task()?.id()
    }

    /// The line at which the task was started, if the runtime says.
    #[must_use]
    pub fn location(&self) -> Option<&'static Location<'static>> {
        Some(self.task()?.location())
    }

    fn reason(&self) -> &Reason {
        match &self.kind {
            Kind::Cancelled => &Reason::Cancelled,
            Kind::Other(other) => &other.reason,
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
                Other {
                    reason: Reason::Panic(panic),
                    ..
                } => return Ok(panic.payload.into_inner()),
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
        let task = Subject(self.task());
        match self.reason() {
            Reason::Cancelled => write!(f, "{task} was cancelled"),
            Reason::Panic(Panic { payload, message }) => match (payload, message) {
                (PanicPayload::Error(error), _) => write!(f, "{task} panicked: {error}"),
                (PanicPayload::Any(_), Some(message)) => write!(f, "{task} panicked: {message}"),
                (PanicPayload::Any(_), None) => {
                    write!(f, "{task} panicked with a payload that is not a string")
                }
            },
            Reason::Shutdown => {
                write!(f, "the runtime was shut down before {task} could finish")
            }
            Reason::Forked => write!(
                f,
                "{task} belongs to the process from which this one was forked, and none of its \
                 threads are here: make a runtime in the child"
            ),
            // The reason is the source.
            Reason::Unstarted(_) => write!(f, "no thread could be started for {task}"),
        }
    }
}

/// `the task`, or more of it if more is known.
struct Subject<'a>(Option<&'a Metadata>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(task) => task.fmt(f),
            None => f.write_str("the task"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct(match self.reason() {
            Reason::Cancelled => "JoinError::Cancelled",
            Reason::Panic(_) => "JoinError::Panic",
            Reason::Shutdown => "JoinError::Shutdown",
            Reason::Forked => "JoinError::Forked",
            Reason::Unstarted(_) => "JoinError::Unstarted",
        });
        match self.reason() {
            Reason::Panic(panic) => {
                f.field("message", &panic.message.as_deref().unwrap_or(".."));
            }
            Reason::Unstarted(reason) => {
                f.field("reason", &reason);
            }
            Reason::Cancelled | Reason::Shutdown | Reason::Forked => {}
        }
        if let Some(task) = self.task() {
            f.field("task", task);
        }
        f.finish()
    }
}

/// No message of the chain is said twice. A panic whose payload is a `Box<dyn Error + Send + Sync>`
/// has the payload's message in its own, and as its [`source`](Error::source) that of the payload,
/// which [`try_into_panic`](Self::try_into_panic) gives. The source of a closure without a thread is
/// the system's error.
impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.reason() {
            Reason::Panic(Panic {
                payload: PanicPayload::Error(error),
                ..
            }) => error.source(),
            Reason::Unstarted(error) => Some(&**error),
            Reason::Panic(_) | Reason::Cancelled | Reason::Shutdown | Reason::Forked => None,
        }
    }
}

/// For functions that return an [`io::Result`](std::io::Result): `task.await?`. The kind is
/// `Other`, and the error itself is [inside](std::io::Error::get_ref).
#[cfg(feature = "std")]
impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::{
        io,
        panic::{AssertUnwindSafe, catch_unwind},
        string::ToString,
    };

    fn boxed(text: &str) -> Payload {
        Box::new(Box::<dyn Error + Send + Sync>::from(text))
    }

    #[test]
    fn a_boxed_error_that_was_thrown_is_said_once_and_comes_back_as_it_was() {
        #[derive(Debug)]
        struct Outer(Box<dyn Error + Send + Sync>);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("not saved")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&*self.0)
            }
        }
        let outer: Box<dyn Error + Send + Sync> = Box::new(Outer("no disk".into()));
        let error = JoinError::panicked(Box::new(outer));
        assert_eq!(error.to_string(), "the task panicked: not saved");
        assert_eq!(error.source().unwrap().to_string(), "no disk");

        let error = JoinError::panicked(boxed("no disk"));
        assert_eq!(error.kind(), JoinErrorKind::Panic);
        assert_eq!(error.to_string(), "the task panicked: no disk");
        assert!(error.source().is_none());
        let payload = error.into_panic();
        let payload = payload.downcast::<Box<dyn Error + Send + Sync>>().unwrap();
        assert_eq!(payload.to_string(), "no disk");
    }

    /// The error is made on a thread of the runtime, where no caller would get a panic.
    #[test]
    fn an_error_that_was_thrown_is_asked_for_its_text_by_who_wants_it() {
        #[derive(Debug)]
        struct Odd;
        impl fmt::Display for Odd {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("from Display")
            }
        }
        impl Error for Odd {}
        let thrown: Box<dyn Error + Send + Sync> = Box::new(Odd);
        let error = JoinError::panicked(Box::new(thrown));
        assert!(error.is_panic() && error.panic_message().is_none());
        assert!(catch_unwind(AssertUnwindSafe(|| error.to_string())).is_err());
    }

    #[test]
    fn the_systems_error_is_the_source_where_no_thread_was_to_be_had() {
        let error = JoinError::unstarted(io::Error::from(io::ErrorKind::WouldBlock));
        assert_eq!(error.to_string(), "no thread could be started for the task");
        let source = error.source().unwrap().downcast_ref::<io::Error>();
        assert_eq!(source.unwrap().kind(), io::ErrorKind::WouldBlock);
        assert!(JoinError::panicked(Box::new("text")).source().is_none());
        assert!(JoinError::cancelled().source().is_none());
        assert!(JoinError::shutdown().source().is_none());
    }

    #[test]
    fn the_first_task_that_is_named_is_the_one() {
        let mut error = JoinError::cancelled();
        assert!(error.task().is_none() && error.location().is_none());
        error.set_task(&Metadata::caller().named("inner"));
        error.set_task(&Metadata::caller().named("outer"));
        assert!(error.is_cancelled());
        assert_eq!(error.name(), Some("inner"));
        let text = error.to_string();
        assert!(text.starts_with("the task `inner` (#"), "{text}");
        assert!(text.ends_with(") was cancelled"), "{text}");
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<JoinError>(), size_of::<usize>());
        assert_eq!(size_of::<Metadata>(), 2 * size_of::<usize>());
    }
}
