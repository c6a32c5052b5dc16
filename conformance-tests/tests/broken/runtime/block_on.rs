//! Blocking.

use std::{
    cell::RefCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fourway_adapt::{self as adapt};
use fourway_core::{
    BlockOn, BlockOnError,
    context::{self, Context as Code},
    implement::{self, Parking, RuntimeId},
    local,
};

use crate::bugs::Bug;

use super::{Broken, LOCAL, ON_WORKER, ROOTS, enter, lock};

impl BlockOn for Broken {
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let future = future.into_future();
        let id = Some(self.shared.registration.id());
        let bug = self.shared.inner.bug;
        enter(bug);
        match bug {
            Bug::EnteringNeedsThreadLocal => LOCAL.with(|_| ()),
            Bug::LargeRefused => assert!(size_of::<F>() < 16 * 1024, "the future is too large"),
            Bug::OnlyBuilderBlocks
                if context::current() == Code::Sync
                    && thread::current().id() != self.shared.builder =>
            {
                return Err(BlockOnError::not_driven());
            }
            Bug::OneRuntimePerThread => {
                thread_local! {
                    static FIRST: std::cell::Cell<Option<RuntimeId>> =
                        const { std::cell::Cell::new(None) };
                }
                let first = FIRST.get().or(id);
                FIRST.set(first);
                assert_eq!(first, id, "this thread has another runtime");
            }
            Bug::CallerDriven => {
                implement::check_may_block()?;
                lock(&self.shared.inner.state).blockers += 1;
                self.shared.inner.work.notify_all();
                let result = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                lock(&self.shared.inner.state).blockers -= 1;
                return result.unwrap_or_else(|payload| resume_unwind(payload));
            }
            Bug::BlockOnPoisoned => {
                static POISONED: AtomicBool = AtomicBool::new(false);
                implement::check_may_block()?;
                assert!(!POISONED.load(Ordering::SeqCst), "the driver is poisoned");
                let result = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                let result = result.unwrap_or_else(|payload| {
                    POISONED.store(true, Ordering::SeqCst);
                    resume_unwind(payload)
                });
                assert!(!POISONED.load(Ordering::SeqCst), "the driver is poisoned");
                return result;
            }
            Bug::MarkLeft => {
                let before = context::current();
                let result = adapt::block_on(future, id);
                if before == Code::Sync {
                    std::mem::forget(implement::enter(Code::Blocking, id));
                }
                return result;
            }
            Bug::RootLosesWake
            | Bug::RootStarvesTasks
            | Bug::OneFlagPerThread
            | Bug::RootWakerPanicsLater
            | Bug::SpuriousUnparkPanics => {
                implement::check_may_block()?;
                let future = Box::pin(future);
                return Ok(drive_by_flag(Marked { future, id }, bug));
            }
            Bug::LocalSetOfItsOwn => {
                implement::check_may_block()?;
                return adapt::block_on(local::run(async move |_| future.await), id);
            }
            Bug::WaitsUnhooked => {
                implement::check_may_block()?;
                let _lent = adapt::pool::lend();
                let future = Box::pin(future);
                return Ok(drive_by_flag(Marked { future, id }, bug));
            }
            Bug::HooksAlways => {
                let _parking = Parking::begin();
                return adapt::block_on(future, id);
            }
            Bug::HooksUnbalanced => {
                return match catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id))) {
                    Ok(result) => result,
                    Err(payload) => {
                        std::mem::forget(Parking::begin());
                        resume_unwind(payload)
                    }
                };
            }
            Bug::SlotUnhooked => {
                implement::check_may_block()?;
                let lent = adapt::pool::lend();
                let future = Box::pin(future);
                let output = drive(Marked { future, id });
                // With all locks that the thread holds.
                while lent.is_some() && self.shared.pool.status().running > 0 {
                    thread::sleep(Duration::from_micros(200));
                }
                return Ok(output);
            }
            Bug::ReturnsLast | Bug::SlotNotTakenBack => {
                implement::check_may_block()?;
                let lent = adapt::pool::lend();
                let future = Box::pin(future);
                let output = drive(Marked { future, id });
                let pool = &self.shared.pool;
                if bug == Bug::SlotNotTakenBack {
                    std::mem::forget(lent);
                } else if lent.is_some() {
                    while pool.status().running + pool.status().queued > 0 {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
                return Ok(output);
            }
            Bug::NestedRuns | Bug::NestedHangs | Bug::NestedPanics
                if context::current() == Code::Async =>
            {
                match bug {
                    Bug::NestedHangs => loop {
                        thread::park();
                    },
                    Bug::NestedPanics => panic!("cannot start a runtime from within a runtime"),
                    _ => return Ok(drive(future)),
                }
            }
            Bug::NestedPolls => {
                let nested = context::current() == Code::Async;
                let mut future = std::pin::pin!(future);
                let mut cx = Context::from_waker(Waker::noop());
                if nested {
                    let _ = future.as_mut().poll(&mut cx);
                    return Err(BlockOnError::nested());
                }
                return adapt::block_on(future, id);
            }
            Bug::ContextCached => {
                // Read once for the whole process, as if it never changed.
                static FIRST: OnceLock<Code> = OnceLock::new();
                if *FIRST.get_or_init(context::current) == Code::Async {
                    return Err(BlockOnError::nested());
                }
                return Ok(drive(future));
            }
            Bug::RefusesInClosure if context::current() == Code::Blocking => {
                return Err(BlockOnError::nested());
            }
            Bug::EatenToken => {
                implement::check_may_block()?;
                let _mark = implement::enter(Code::Async, id);
                return Ok(drive_by_token(future));
            }
            Bug::OneBlockerAtATime => {
                static ONE: Mutex<()> = Mutex::new(());
                implement::check_may_block()?;
                let _one = lock(&ONE);
                return adapt::block_on(future, id);
            }
            Bug::NestedOffloadStarves => {
                // Marks, but does not lend the slot.
                implement::check_may_block()?;
                return Ok(drive(Marked {
                    future: Box::pin(future),
                    id,
                }));
            }
            Bug::NoMarkInBlockOn => {
                implement::check_may_block()?;
                return Ok(drive(future));
            }
            Bug::MarkLeftAfterPanic => {
                implement::check_may_block()?;
                return match catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id))) {
                    Ok(result) => result,
                    Err(payload) => {
                        std::mem::forget(implement::enter(Code::Async, id));
                        std::panic::resume_unwind(payload)
                    }
                };
            }
            Bug::BlockOnPanicSwallowed => {
                implement::check_may_block()?;
                let driven = catch_unwind(AssertUnwindSafe(|| adapt::block_on(future, id)));
                return driven.unwrap_or_else(|_| {
                    loop {
                        thread::park();
                    }
                });
            }
            _ => {}
        }
        adapt::block_on(future, id)
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        let id = self.shared.registration.id();
        let inner = &self.shared.inner;
        let bug = inner.bug;
        if context::current() != Code::Async {
            if bug == Bug::InPlaceOnlyInTasks {
                return Err(BlockOnError::unsupported());
            }
            return Ok(f());
        }
        if implement::runtime_id() != Some(id) {
            if bug == Bug::InPlaceForeignRuns {
                return Ok(f());
            }
            return Err(BlockOnError::unsupported());
        }
        if bug == Bug::InPlaceRunsThenErrs && !ON_WORKER.get() {
            f();
            return Err(BlockOnError::unsupported());
        }
        if bug == Bug::InPlaceUnsupported {
            return Err(BlockOnError::unsupported());
        }
        let stand_in = ON_WORKER.get() && !inner.is(Bug::BlockInPlaceStalls);
        if stand_in {
            inner.start_worker();
        }
        let result = {
            let _mark = (!inner.is(Bug::BlockInPlaceUnmarked))
                .then(|| implement::enter(Code::Blocking, Some(id)));
            catch_unwind(AssertUnwindSafe(f))
        };
        if stand_in {
            lock(&inner.state).surplus += 1;
            inner.work.notify_one();
        }
        match result {
            Ok(value) => Ok(value),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

struct Marked<F> {
    future: Pin<Box<F>>,
    id: Option<implement::RuntimeId>,
}

impl<F: Future> Future for Marked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _mark = implement::enter(Code::Async, self.id);
        self.future.as_mut().poll(cx)
    }
}

/// Drives a future without telling anyone.
fn drive<F: Future>(future: F) -> F::Output {
    adapt::run(future)
}

/// Trusts the thread's park token.
fn drive_by_token<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}

/// For [`Bug::HandleWaitsUnhooked`].
pub(super) fn drive_unhooked<F: Future>(future: F) -> F::Output {
    drive_by_flag(future, Bug::HandleWaitsUnhooked)
}

/// Trusts a flag, not the token; for the bugs that are possible with it.
fn drive_by_flag<F: Future>(future: F, bug: Bug) -> F::Output {
    struct Flag {
        thread: thread::Thread,
        woken: AtomicBool,
        ended: AtomicBool,
        bug: Bug,
    }
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            let late = self.ended.load(Ordering::SeqCst);
            assert!(
                !(late && self.bug == Bug::RootWakerPanicsLater),
                "woken after block_on has returned"
            );
            self.woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
    let new = || {
        Arc::new(Flag {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            bug,
        })
    };
    thread_local! {
        static OF_THREAD: RefCell<Option<Arc<Flag>>> = const { RefCell::new(None) };
    }
    let flag = match bug {
        Bug::OneFlagPerThread => {
            OF_THREAD.with(|flag| flag.borrow_mut().get_or_insert_with(new).clone())
        }
        _ => new(),
    };
    let _lent = adapt::pool::lend();
    let active = |change: usize| {
        if bug == Bug::RootStarvesTasks {
            ROOTS.fetch_add(change, Ordering::SeqCst);
        }
    };
    // The latter takes one away.
    let (more, less) = (1, usize::MAX);
    active(more);
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            flag.ended.store(true, Ordering::SeqCst);
            active(less);
            return output;
        }
        if bug == Bug::RootLosesWake {
            // Too late: the wake may have come during the poll.
            flag.woken.store(false, Ordering::SeqCst);
        }
        while !flag.woken.swap(false, Ordering::SeqCst) {
            active(less);
            thread::park();
            active(more);
            let woken = flag.woken.load(Ordering::SeqCst);
            assert!(
                woken || bug != Bug::SpuriousUnparkPanics,
                "woken for nothing"
            );
        }
    }
}
