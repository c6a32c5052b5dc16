//! Forked children: which [`Process`] a runtime was made in.
//!
//! After `fork` the child has one thread, and a copy of the memory of all the others: queues that
//! no thread will empty, and locks that no thread will release. So the child must not touch a
//! runtime from before the fork, not even drop it. All parts of a runtime remember their process,
//! and give their own answers in any other ([forked children][FK-1]).
//!
//! `fourway_adapt::fork` watches for forks on systems that have them, and calls [`in_child`] in
//! each child. Without a watcher, these functions only read a static, and say that this is the only
//! process.
//!
//! [FK-1]: crate::contract#FK-1

use std::sync::atomic::{AtomicU32, Ordering};

use super::refusal::refuse_in_child;
use crate::{JoinError, task::Metadata};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// No real process: an object that remembers it counts as one from before a fork.
    pub const GONE: Self = Self(u32::MAX);

    /// The process that this is called in.
    #[inline]
    #[must_use]
    pub fn this() -> Self {
        // Relaxed: written in a process that has one thread.
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Is it still the same process? One load and one comparison.
    #[inline]
    #[must_use]
    pub fn is_this(self) -> bool {
        self == Self::this()
    }

    /// Is this a forked child of a process in which forks were watched for?
    #[inline]
    #[must_use]
    pub fn is_forked(self) -> bool {
        self.0 > 0
    }

    /// A number that differs from those of the parents, and counts up from zero.
    #[inline]
    #[must_use]
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// Says that this process is a forked child. Call it in the child before anything else, as
/// `pthread_atfork` does. It is async-signal-safe.
pub fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The error of a handle from before a fork, in the child.
#[cold]
#[must_use]
pub fn error(task: &Metadata) -> JoinError {
    let mut error = JoinError::forked();
    error.set_task(task);
    error
}

/// Calls `f`, which drops work that was handed to a runtime from before a fork. Handles of
/// [tasks](super::join::task) that end by this give
/// [`is_forked`](crate::JoinError::is_forked). See [`refuse`](super::refuse) for other reasons.
pub fn refuse<T>(f: impl FnOnce() -> T) -> T {
    refuse_in_child(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implement::join;

    #[test]
    fn a_process_is_itself_and_none_that_is_gone() {
        assert!(Process::this().is_this());
        assert!(!Process::GONE.is_this());
    }

    #[test]
    fn what_is_refused_says_so_to_its_joiner_and_nothing_else_does() {
        let joined = |refuse_it: bool| {
            let (runner, task) = join::task(Metadata::caller(), async {}, None);
            if refuse_it {
                refuse(|| drop(runner));
            } else {
                drop(runner);
            }
            let mut task = std::pin::pin!(task);
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            match std::future::Future::poll(task.as_mut(), &mut cx) {
                std::task::Poll::Ready(result) => result.unwrap_err(),
                std::task::Poll::Pending => panic!("it resolves at once"),
            }
        };
        let forked = joined(true);
        assert!(forked.is_forked() && forked.is_shutdown());
        let shut_down = joined(false);
        assert!(!shut_down.is_forked() && shut_down.is_shutdown());
    }
}
