//! Cleaning up in async code: [`Close`] and [`CloseGuard`].

use std::{
    fmt,
    future::Future,
    io::{self, Write},
    panic::Location,
    sync::{OnceLock, PoisonError, RwLock},
};

use crate::spawned;

/// Something that has to be closed by async code: a connection that says goodbye, a file that
/// is flushed.
///
/// Rust has no async destructors. A destructor must be quick and sync: it may cancel, spawn, wake
/// and send. It must not block, and `block_on` in it is refused where an executor runs it ([no
/// blocking in async code](fourway_core::contract#BL-2)). So the convention is a method to be
/// awaited, and a [`CloseGuard`] inside that reports a forgotten call.
///
/// In a nursery that is cancelled, close under a [`shield`](crate::shield()).
///
/// # Examples
///
/// ```
/// use fourway_nursery::{Close, CloseGuard};
///
/// struct Connection {
///     guard: CloseGuard,
/// }
///
/// impl Connection {
///     #[track_caller]
///     fn open() -> Self {
///         Self { guard: CloseGuard::new("connection") }
///     }
/// }
///
/// impl Close for Connection {
///     type Output = ();
///
///     async fn close(self) {
///         // Say goodbye.
///         self.guard.closed();
///     }
/// }
/// ```
pub trait Close {
    /// The output of closing, such as a `Result`.
    type Output;

    /// Closes it, and returns when it is closed.
    fn close(self) -> impl Future<Output = Self::Output> + Send;
}

/// Reports, once, if it is dropped without having been [closed](Self::closed).
///
/// The report says what it was, where it was made, and, if a child of a nursery made it, where that
/// child was spawned. It goes to the [hook](set_unclosed_hook); by default to standard error.
#[derive(Debug)]
#[must_use = "dropped without being closed, it reports"]
pub struct CloseGuard {
    unclosed: Unclosed,
    closed: bool,
}

/// A value that was dropped without being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unclosed {
    /// What it was.
    pub what: &'static str,
    /// Where it was made.
    pub made_at: &'static Location<'static>,
    /// Where the child was spawned that made it, also in a destructor, of a nursery or a sync
    /// nursery; `None` if no child did, or the blocking body of a call, which runs beside its child.
    pub spawned_at: Option<&'static Location<'static>>,
}

impl fmt::Display for Unclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, made at {}", self.what, self.made_at)?;
        if let Some(spawned_at) = self.spawned_at {
            write!(f, " in a child spawned at {spawned_at}")?;
        }
        f.write_str(", was dropped without being closed: await its `close()`")
    }
}

impl CloseGuard {
    /// A guard for `what`, made at the caller's line.
    #[track_caller]
    pub fn new(what: &'static str) -> Self {
        Self {
            unclosed: Unclosed {
                what,
                made_at: Location::caller(),
                spawned_at: spawned::at(),
            },
            closed: false,
        }
    }

    /// It has been closed: there is nothing to report.
    pub fn closed(mut self) {
        self.closed = true;
    }
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        if !self.closed {
            // Out of the lock before it is called, because it is foreign code.
            let hook = *hook().read().unwrap_or_else(PoisonError::into_inner);
            hook(&self.unclosed);
        }
    }
}

type Hook = fn(&Unclosed);

fn hook() -> &'static RwLock<Hook> {
    static HOOK: OnceLock<RwLock<Hook>> = OnceLock::new();
    HOOK.get_or_init(|| RwLock::new(print))
}

fn print(unclosed: &Unclosed) {
    // Not `eprintln!`, which panics where standard error is closed: in a destructor, which may
    // run while the thread unwinds.
    let _ = writeln!(io::stderr(), "{unclosed}");
}

/// Sets the hook of the process that is told of values dropped without being closed. It is called
/// in the destructor, also on a thread that is unwinding: it must not panic.
pub fn set_unclosed_hook(hook_: fn(&Unclosed)) {
    *hook().write().unwrap_or_else(PoisonError::into_inner) = hook_;
}
