//! Why a runtime destroys work that it does not run, for that work: [`refuse`], [`refusal`].
//!
//! The joiner of a task gets the reason from the runtime. Work that reports its own end, such as a
//! child of a nursery, which nobody joins, learns it here when it is dropped.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    sync::Arc,
};

use super::RuntimeId;
use crate::{JoinError, JoinErrorKind, sync::thread_local};

thread_local! {
    // Without a destructor, as the mark of `mark.rs`: destructors of other thread-locals hand over
    // and destroy work, too.
    static CURRENT: Cell<Refusal> = const { Cell::new(Refusal::NONE) };
    /// What the system said, for [`Kind::Unstarted`].
    static SAID: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Why the calling thread destroys work, and whose.
#[derive(Clone, Copy)]
struct Refusal {
    kind: Kind,
    /// Without one, it is that of the first task that is destroyed for this reason.
    runtime: Option<RuntimeId>,
}

/// The reasons of a runtime to refuse work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shutdown,
    Forked,
    Unstarted,
}

impl Refusal {
    const NONE: Self = Self {
        kind: Kind::Shutdown,
        runtime: None,
    };

    fn current() -> Self {
        // Where it can be gone, as in a model, the reason is a shutdown.
        CURRENT.try_with(Cell::get).unwrap_or(Self::NONE)
    }

    /// The current one, if it is about work of `runtime`.
    fn about(runtime: Option<RuntimeId>) -> Self {
        let current = Self::current();
        match (current.runtime, runtime) {
            (Some(refuses), Some(runtime)) if refuses != runtime => Self::NONE,
            _ => current,
        }
    }

    /// Calls `f` with this as the current one.
    fn during<T>(self, f: impl FnOnce() -> T) -> T {
        struct Restore(Refusal);
        impl Drop for Restore {
            fn drop(&mut self) {
                let _ = CURRENT.try_with(|current| current.set(self.0));
            }
        }
        let _restore = Restore(Self::current());
        let _ = CURRENT.try_with(|current| current.set(self));
        f()
    }

    fn error(self) -> JoinError {
        match self.kind {
            Kind::Shutdown => JoinError::shutdown(),
            Kind::Forked => JoinError::forked(),
            Kind::Unstarted => {
                let said = SAID.try_with(|said| said.borrow().clone());
                match said.ok().flatten() {
                    Some(said) => JoinError::unstarted(&*said),
                    None => JoinError::unstarted("the system has no thread"),
                }
            }
        }
    }
}

/// Calls `f` with another text that the system said.
fn saying<T>(said: Arc<str>, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<str>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            exchange(&mut self.0);
        }
    }
    fn exchange(said: &mut Option<Arc<str>>) {
        let _ = SAID.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), said));
    }
    let mut before = Some(said);
    exchange(&mut before);
    let _restore = Restore(before);
    f()
}

/// Calls `f`, which drops one piece of work that a runtime refuses with `error`. For runtimes.
///
/// The reason is about that work, and about what its destructor drops of the same runtime. Tasks of
/// other runtimes that the destructor happens to end, for example because it drops the last handle
/// of one, have been shut down.
pub fn refuse<T>(error: &JoinError, f: impl FnOnce() -> T) -> T {
    refuse_by(None, error, f)
}

/// As [`refuse`], for work that does not know its runtime, as a closure.
pub fn refuse_by<T>(runtime: Option<RuntimeId>, error: &JoinError, f: impl FnOnce() -> T) -> T {
    let refusal = |kind| Refusal { kind, runtime };
    match error.kind() {
        JoinErrorKind::Forked => refusal(Kind::Forked).during(f),
        JoinErrorKind::Unstarted => {
            let said = error.source().map_or_else(String::new, ToString::to_string);
            saying(said.into(), || refusal(Kind::Unstarted).during(f))
        }
        _ => refusal(Kind::Shutdown).during(f),
    }
}

/// Calls `f`, which drops work from before a fork.
pub(super) fn refuse_in_child<T>(f: impl FnOnce() -> T) -> T {
    let kind = Kind::Forked;
    Refusal {
        kind,
        runtime: None,
    }
    .during(f)
}

/// Calls `f`, which destroys a task of `runtime`: another runtime's [`refuse`] is not about it, nor
/// about what its destructor drops. For runtimes whose tasks are not destroyed by
/// [`destroy_contained`](super::destroy_contained).
#[inline]
pub fn destroying<T>(runtime: Option<RuntimeId>, f: impl FnOnce() -> T) -> T {
    match runtime {
        Some(_) if Refusal::current().kind != Kind::Shutdown => {
            let about = Refusal::about(runtime);
            Refusal { runtime, ..about }.during(f)
        }
        _ => f(),
    }
}

/// The error of work that its runtime destroys here and now, unasked: that of the [`refuse`] which
/// the calling thread is in, and otherwise a shutdown.
#[cold]
#[must_use]
pub fn refusal() -> JoinError {
    Refusal::current().error()
}

/// [`refusal`], for a task of `runtime`.
#[cold]
pub(super) fn refusal_of(runtime: Option<RuntimeId>) -> JoinError {
    Refusal::about(runtime).error()
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, Ready, ready},
        pin::pin,
        sync::{Mutex, mpsc},
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{
        implement::{
            Registration,
            join::{JoinTask, Runner, task},
            register,
        },
        task::Metadata,
    };

    #[test]
    fn the_reason_ends_with_the_call_also_by_a_panic() {
        assert!(refusal().is_shutdown() && !refusal().is_forked());
        let unstarted = JoinError::unstarted("no threads");
        refuse(&unstarted, || {
            let error = refusal();
            assert!(error.is_unstarted());
            assert_eq!(error.source().unwrap().to_string(), "no threads");
            let panics = || {
                refuse(&JoinError::forked(), || {
                    std::panic::resume_unwind(Box::new(()))
                })
            };
            let result: Result<(), _> = std::panic::catch_unwind(panics);
            assert!(result.is_err());
            assert!(refusal().is_unstarted());
            refuse(&JoinError::forked(), || assert!(refusal().is_forked()));
        });
        assert!(!refusal().is_unstarted());
    }

    /// A runtime, and a task of it that is not run.
    fn task_of_a_runtime() -> (Registration, Runner<Ready<()>>, JoinTask<()>) {
        let runtime = register(|| None);
        let (runner, task) = task(Metadata::caller(), ready(()), Some(runtime.id()));
        (runtime, runner, task)
    }

    fn joined(task: JoinTask<()>) -> JoinError {
        match pin!(task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.unwrap_err(),
            Poll::Pending => panic!("it resolves at once"),
        }
    }

    #[test]
    fn a_closure_that_is_refused_ends_others_tasks_by_a_shutdown() {
        let (refuses, own_runner, own) = task_of_a_runtime();
        let (_other, runner, foreign) = task_of_a_runtime();
        let error = JoinError::unstarted("no threads");
        refuse_by(Some(refuses.id()), &error, || drop((own_runner, runner)));
        assert!(joined(own).is_unstarted());
        assert!(joined(foreign).is_shutdown());
    }

    #[test]
    fn a_task_that_is_refused_ends_others_tasks_by_a_shutdown() {
        struct Says(Arc<Mutex<Vec<JoinErrorKind>>>);
        impl Drop for Says {
            fn drop(&mut self) {
                self.0.lock().unwrap().push(refusal().kind());
            }
        }

        for error in [JoinError::unstarted("no threads"), JoinError::forked()] {
            let said = Arc::<Mutex<Vec<_>>>::default();
            let (other, refuses) = (register(|| None), register(|| None));
            let says = Says(said.clone());
            let inner = async move { drop(says) };
            let (inner, foreign) = task(Metadata::caller(), inner, Some(other.id()));
            let says = Says(said.clone());
            // Captures are dropped in this order.
            let outer = async move { drop((inner, says)) };
            let (outer, own) = task(Metadata::caller(), outer, Some(refuses.id()));
            refuse(&error, || drop(outer));
            assert_eq!(joined(own).kind(), error.kind());
            assert_eq!(joined(foreign).kind(), JoinErrorKind::Shutdown);
            // What reports its own end, as a child of a nursery does.
            assert_eq!(
                *said.lock().unwrap(),
                [JoinErrorKind::Shutdown, error.kind()]
            );
        }
    }

    /// A thread-local whose destructor hands over work, and that is older than all that refusals
    /// keep on the thread, and so is destroyed after it.
    #[test]
    fn the_reason_is_known_in_destructors_of_thread_locals() {
        struct Last(Cell<Option<mpsc::Sender<[JoinError; 2]>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                let forked = refuse_in_child(refusal);
                let unstarted = refuse(&JoinError::unstarted("no threads"), refusal);
                if let Some(result) = self.0.take() {
                    let _ = result.send([forked, unstarted]);
                }
            }
        }
        std::thread_local! {
            static LAST: Last = const { Last(Cell::new(None)) };
        }
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            LAST.with(|last| last.0.set(Some(send)));
            refuse(&JoinError::unstarted("no threads"), || ());
        });
        let [forked, unstarted] = receive.recv().unwrap();
        assert!(forked.is_forked(), "{forked}");
        assert!(unstarted.is_unstarted(), "{unstarted}");
        thread.join().unwrap();
    }
}
