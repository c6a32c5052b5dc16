//! Hooks around the waits of a thread: [`ParkHooks`].

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    context::Context,
    implement::{OnDropPanic, Rethrow, discard, enter},
    sync::thread_local,
};

/// What a thread does before and after it waits for async code.
///
/// For a host whose lock the thread holds: an interpreter's global lock (Python's GIL), a
/// database's writer lock, a GUI's. A thread that waits for a task while it holds such a
/// lock waits for ever if the task, or the closure it waits for, needs the lock. The first
/// hook lets go of it; the second one takes it again.
///
/// They are called in pairs, on the waiting thread, by each fourway runtime, wherever it
/// makes a thread wait in `block_on` or in `.wait()` of a call or a task, also if that is nested
/// in `block_in_place` or in an offloaded closure:
///
/// * before the thread goes to sleep, and after it was woken, before any code of the future
///   runs. So the future has the lock in each of its polls, and in its destructor;
/// * before the thread runs the closure that it waits for by itself ([`Task::wait`](crate::Task::wait)
///   may do so), and after: the closure takes the lock as it would on another thread;
/// * before an offloaded closure waits for its slot to come free again ([nested offload never
///   starves][OF-4]), and after.
///
/// They are not called for a future that is ready at once, nor for a blocking body, which
/// runs on the thread itself. A panic of the future leaves them balanced. Where a thread may
/// look around for some microseconds before it sleeps, it does so with the lock.
///
/// They apply to a thread for the time of a [`scope`](Self::scope); or, on any thread, to the waits
/// of a runtime's handle, by the layer [`Parked`](crate::layer::Parked). A thread without hooks
/// only reads a thread-local before it sleeps.
///
/// The second hook gets the value that the first one returned. (For Python:
/// `PyEval_SaveThread` and `PyEval_RestoreThread`. On threads that may wait without holding
/// the lock, the first hook looks and returns an `Option`.)
///
/// The hooks should not panic, and the first one must not wait. If a hook does panic, the second
/// hook still runs for each first hook that has returned, so that each lock is held again. Then the
/// first panic continues out of the wait. The hooks must not block on async code: they belong to a
/// wait that has begun, so the thread is marked as async code in them, and `block_on` and `.wait()`
/// are refused there, on every runtime ([no blocking in async code][BL-2]).
///
/// # Examples
///
/// ```
/// # fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::ParkHooks;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// static WAITS: AtomicUsize = AtomicUsize::new(0);
///
/// let hooks = ParkHooks::new(
///     || WAITS.fetch_add(1, Ordering::Relaxed),
///     |number| println!("waited, for the {number}th time"),
/// );
/// hooks.scope(|| {
///     rt.block_on(async {}); // ready at once: no wait
///     rt.block_on(rt.offload(|| ())).unwrap();
/// });
/// # }
/// ```
///
/// [BL-2]: crate::contract#BL-2
/// [OF-4]: crate::contract#OF-4
#[derive(Clone)]
pub struct ParkHooks {
    hooks: Arc<dyn Hooks>,
}

// A panic of a hook leaves the pairs balanced.
impl std::panic::UnwindSafe for ParkHooks {}
impl std::panic::RefUnwindSafe for ParkHooks {}

trait Hooks: Send + Sync {
    fn before(&self) -> Box<dyn Any>;
    fn after(&self, kept: Box<dyn Any>);
}

struct Pair<B, A, T> {
    before: B,
    after: A,
    kept: PhantomData<fn(T) -> T>,
}

impl<B, A, T> Hooks for Pair<B, A, T>
where
    B: Fn() -> T + Send + Sync,
    A: Fn(T) + Send + Sync,
    T: 'static,
{
    fn before(&self) -> Box<dyn Any> {
        Box::new((self.before)())
    }

    fn after(&self, kept: Box<dyn Any>) {
        let kept = kept.downcast::<T>();
        (self.after)(*kept.expect("what `before` has returned"));
    }
}

impl ParkHooks {
    /// `before` is called before a thread waits, and `after` after it, with the value that `before`
    /// returned. That value stays on the thread, and need not be `Send`. A zero-sized value costs
    /// no allocation.
    pub fn new<T: 'static>(
        before: impl Fn() -> T + Send + Sync + 'static,
        after: impl Fn(T) + Send + Sync + 'static,
    ) -> Self {
        Self {
            hooks: Arc::new(Pair {
                before,
                after,
                kept: PhantomData,
            }),
        }
    }

    /// Calls `f` with these hooks around all its waits on this thread.
    ///
    /// Inside of a scope of other hooks, both pairs are called: these hooks are the first before
    /// the wait, and the last after it. Inside of a scope of the same hooks, nothing changes.
    pub fn scope<T>(&self, f: impl FnOnce() -> T) -> T {
        let _in_scope = self.enter();
        f()
    }

    fn enter(&self) -> InScope {
        let entered = ACTIVE.try_with(|active| {
            let mut active = active.borrow_mut();
            let known = active
                .iter()
                .any(|known| Arc::ptr_eq(&known.hooks, &self.hooks));
            if !known {
                active.push(self.clone());
            }
            !known
        });
        // In the destructors of thread-locals there may be no scopes any more.
        let entered = entered.unwrap_or(false);
        if entered {
            HOOKED.set(true);
        }
        InScope {
            entered,
            not_send: PhantomData,
        }
    }
}

impl fmt::Debug for ParkHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkHooks").finish_non_exhaustive()
    }
}

thread_local! {
    /// Does the thread have hooks? A cheap check for the usual case that it has none.
    static HOOKED: Cell<bool> = const { Cell::new(false) };
    /// The hooks of the scopes that the thread is in, the innermost last. Empty during a wait.
    static ACTIVE: RefCell<Vec<ParkHooks>> = const { RefCell::new(Vec::new()) };
}

struct InScope {
    entered: bool,
    // The scope is one of this thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for InScope {
    fn drop(&mut self) {
        if !self.entered {
            return;
        }
        let last = ACTIVE.try_with(|active| {
            let mut active = active.borrow_mut();
            let last = active.pop();
            (last, active.is_empty())
        });
        if let Ok((last, none_left)) = last {
            HOOKED.set(!none_left);
            drop(last);
        }
    }
}

/// A wait of the calling thread, for implementers: calls its [`ParkHooks`] when it
/// [begins](Self::begin) and when it is dropped.
///
/// The parts of `fourway_adapt` do this; it is for runtimes that make a thread wait in a way of
/// their own.
#[must_use = "the wait ends when this is dropped"]
pub struct Parking {
    hooks: Vec<ParkHooks>,
    /// The values that the first hooks returned, of the innermost scope first.
    kept: Vec<Box<dyn Any>>,
}

impl Parking {
    /// The thread is about to sleep. `None` if it has no hooks.
    #[inline]
    pub fn begin() -> Option<Self> {
        if HOOKED.get() {
            Self::begin_hooked()
        } else {
            None
        }
    }

    #[cold]
    fn begin_hooked() -> Option<Self> {
        // Taken out, so that a wait during this one has none.
        let hooks = ACTIVE.try_with(RefCell::take).ok()?;
        HOOKED.set(false);
        let mut parking = Self {
            kept: Vec::with_capacity(hooks.len()),
            hooks,
        };
        // On Tokio and smol the thread is inside of the runtime's own `block_on` here, which refuses
        // another one. So it does on every runtime, and in every kind of wait.
        let _mark = enter(Context::Async, None);
        for at in (0..parking.hooks.len()).rev() {
            let kept = parking.hooks[at].hooks.before();
            parking.kept.push(kept);
        }
        Some(parking)
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        // If a hook panicked, those that were called are the last of the hooks.
        let first = self.hooks.len() - self.kept.len();
        let mut panicked = None;
        let mark = enter(Context::Async, None);
        for hooks in &self.hooks[first..] {
            if let Some(kept) = self.kept.pop() {
                // Unwind safety: the panic goes on below. Before that, the other scopes' locks must
                // be held again, because the code that it unwinds relies on them.
                let after = catch_unwind(AssertUnwindSafe(|| hooks.hooks.after(kept)));
                if let Err(payload) = after {
                    match panicked {
                        None => panicked = Some(payload),
                        Some(_) => discard(payload),
                    }
                }
            }
        }
        drop(mark);
        let hooks = std::mem::take(&mut self.hooks);
        let _ = ACTIVE.try_with(|active| *active.borrow_mut() = hooks);
        HOOKED.set(true);
        if let Some(payload) = panicked {
            Rethrow.report(payload);
        }
    }
}

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parking").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(fourway_shuttle)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Mutex,
    };

    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    fn logged(name: &'static str, log: &Log) -> ParkHooks {
        let (before, after) = (log.clone(), log.clone());
        ParkHooks::new(
            move || {
                before.lock().unwrap().push(format!("before {name}"));
                name
            },
            move |kept| {
                assert_eq!(kept, name);
                after.lock().unwrap().push(format!("after {name}"));
            },
        )
    }

    fn park() {
        drop(Parking::begin());
    }

    #[test]
    fn they_are_called_in_pairs_within_the_scope_alone() {
        let log = Log::default();
        let hooks = logged("a", &log);
        park();
        hooks.scope(park);
        park();
        assert_eq!(*log.lock().unwrap(), ["before a", "after a"]);
    }

    #[test]
    fn the_innermost_lets_go_first_and_takes_last() {
        let log = Log::default();
        let (outer, inner) = (logged("outer", &log), logged("inner", &log));
        outer.scope(|| inner.scope(park));
        let seen = std::mem::take(&mut *log.lock().unwrap());
        assert_eq!(
            seen,
            ["before inner", "before outer", "after outer", "after inner"]
        );
        outer.scope(|| {
            inner.scope(|| ());
            park();
        });
        assert_eq!(*log.lock().unwrap(), ["before outer", "after outer"]);
    }

    #[test]
    fn a_scope_within_itself_and_a_wait_within_a_wait_count_once() {
        let log = Log::default();
        let hooks = logged("a", &log);
        hooks.scope(|| {
            hooks.clone().scope(park);
            let waiting = Parking::begin();
            park();
            drop(waiting);
            park();
        });
        assert_eq!(log.lock().unwrap().len(), 6);
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let log = Log::default();
        let hooks = logged("a", &log);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            hooks.scope(|| std::panic::resume_unwind(Box::new("on purpose")));
        }));
        assert!(panicked.is_err());
        park();
        assert!(log.lock().unwrap().is_empty());
    }

    #[test]
    fn of_those_before_a_hook_that_panics_the_lock_is_taken_again() {
        let log = Log::default();
        let broken = ParkHooks::new(
            || std::panic::resume_unwind(Box::new("on purpose")),
            |()| panic!("it has let go of nothing"),
        );
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            broken.scope(|| logged("inner", &log).scope(park));
        }));
        assert!(panicked.is_err());
        assert_eq!(*log.lock().unwrap(), ["before inner", "after inner"]);
        park();
    }

    fn broken(name: &'static str, log: &Log) -> ParkHooks {
        let (before, after) = (log.clone(), log.clone());
        ParkHooks::new(
            move || before.lock().unwrap().push(format!("before {name}")),
            move |()| {
                after.lock().unwrap().push(format!("after {name}"));
                std::panic::resume_unwind(Box::new(name));
            },
        )
    }

    #[test]
    fn after_a_hook_that_panics_the_others_take_their_locks_again() {
        let log = Log::default();
        let (outer, inner) = (logged("outer", &log), logged("inner", &log));
        let (first, second) = (broken("first", &log), broken("second", &log));
        let wait = || catch_unwind(AssertUnwindSafe(park)).unwrap_err();
        let all = || outer.scope(|| first.scope(|| second.scope(|| inner.scope(wait))));
        let seen = |payload: Box<dyn Any + Send>| {
            assert_eq!(payload.downcast_ref(), Some(&"first"), "the first panic");
            std::mem::take(&mut *log.lock().unwrap())
        };
        let each_is_called = [
            "before inner",
            "before second",
            "before first",
            "before outer",
            "after outer",
            "after first",
            "after second",
            "after inner",
        ];
        assert_eq!(seen(all()), each_is_called);
        // The scopes go on: a wait after it has all the hooks, and one outside has none.
        let again = first.scope(|| {
            seen(wait());
            inner.scope(wait)
        });
        let calls = ["before inner", "before first", "after first", "after inner"];
        assert_eq!(seen(again), calls);
        park();
        assert!(log.lock().unwrap().is_empty());
    }

    #[test]
    fn a_hook_that_panics_while_the_wait_is_unwound_is_no_second_panic() {
        let log = Log::default();
        let payload = catch_unwind(AssertUnwindSafe(|| {
            logged("outer", &log).scope(|| {
                broken("inner", &log).scope(|| {
                    let _waiting = Parking::begin();
                    std::panic::resume_unwind(Box::new("of the wait"));
                });
            });
        }));
        let payload = payload.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"of the wait"));
        let calls = ["before inner", "before outer", "after outer", "after inner"];
        assert_eq!(*log.lock().unwrap(), calls);
    }
}
