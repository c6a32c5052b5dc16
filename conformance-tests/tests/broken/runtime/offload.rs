//! Offloading.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{
    self as adapt,
    pool::{OffloadTask, Pool},
};
use fourway_core::{
    AbortHandle, BlockOnError, JoinError, Offload, Spawner, Task, TryOffloadError,
    context::{self, Context as Code},
    implement::{self, Abort, RuntimeId, wait_for},
    task::Metadata,
    values::Values,
};

use crate::{bugs::Bug, odd};

use super::{
    Broken, LOCAL,
    block_on::drive_unhooked,
    enter,
    join::{Join, payload_of},
    lock,
};

/// The pool's handle, or the bug's.
pub(crate) struct BrokenOffload<T: Send + 'static> {
    task: Option<OffloadTask<T>>,
    bug: Bug,
    metadata: Metadata,
    /// For bugs that hand out their own result.
    own: Option<Arc<Join<T>>>,
    /// The effect of a cancellation on such a result.
    cancel: Option<Arc<dyn Fn() + Send + Sync>>,
    marks: Arc<Marks>,
    /// For [`Bug::CancelledKeepsSlot`].
    pool: Option<Pool>,
    /// For bugs of waiting.
    helped: Option<Arc<Helped>>,
    /// For [`Bug::HandleBoundToExecutor`].
    id: Option<RuntimeId>,
    joiner: Option<Waker>,
    done: bool,
}

/// The state of a closure.
#[derive(Default)]
struct Marks {
    started: AtomicBool,
    ended: AtomicBool,
    aborted: AtomicBool,
    detached: AtomicBool,
    /// It had ended before it was aborted.
    late: AtomicBool,
}

impl Marks {
    fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        if self.ended.load(Ordering::SeqCst) {
            self.late.store(true, Ordering::SeqCst);
        }
    }
}

impl<T: Send + 'static> Future for BrokenOffload<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut poll = self.poll_join(cx);
        if let (Poll::Ready(Err(error)), false) = (&mut poll, self.bug == Bug::ErrorOfNoTask) {
            error.set_task(&self.metadata);
        }
        poll
    }
}

impl<T: Send + 'static> BrokenOffload<T> {
    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if self.bug == Bug::HandleBoundToExecutor {
            let foreign = implement::runtime_id() != self.id;
            let wrong = context::current() == Code::Async && foreign;
            assert!(!wrong, "polled on another executor");
        }
        let aborted = self.marks.aborted.load(Ordering::SeqCst);
        let late = self.marks.late.load(Ordering::SeqCst);
        if aborted && self.bug == Bug::RunningClosureResolves
            || late && self.bug == Bug::CancelLosesOutput
        {
            return Poll::Ready(Err(JoinError::cancelled()));
        }
        if let Some(join) = &self.own {
            let mut state = lock(&join.state);
            if let Some(result) = state.result.take() {
                return Poll::Ready(result);
            }
            state.joiner = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bug = self.bug;
        let first = match bug {
            Bug::FirstJoinerWins => self
                .joiner
                .get_or_insert_with(|| cx.waker().clone())
                .clone(),
            _ => cx.waker().clone(),
        };
        let task = self.task.as_mut().expect("present until detached");
        let poll = Pin::new(task).poll(&mut Context::from_waker(&first));
        self.done = poll.is_ready();
        if let Poll::Ready(Err(error)) = &poll {
            if error.is_shutdown() && bug == Bug::ClosureShutdownHangs {
                return Poll::Pending;
            }
        }
        poll.map(|result| match result {
            Err(error) if error.is_panic() && bug == Bug::OffloadPayloadLost => {
                payload_of(Bug::PayloadLost, error.into_panic())
            }
            Err(error) if error.is_panic() && aborted && bug == Bug::CancelCoversPanic => {
                adapt::discard(error);
                Err(JoinError::cancelled())
            }
            result => result,
        })
    }
}

impl<T: Send + 'static> Task<T> for BrokenOffload<T> {
    fn is_finished(&self) -> bool {
        if self.bug == Bug::RunningClosureResolves && self.marks.aborted.load(Ordering::SeqCst) {
            return true;
        }
        match (&self.own, &self.task) {
            (Some(join), _) => lock(&join.state).finished,
            (None, Some(task)) => task.is_finished(),
            (None, None) => true,
        }
    }

    fn abort(&self) {
        self.mark_abort();
        if let (Some(task), false) = (&self.task, self.bug == Bug::OffloadCancelIgnored) {
            task.abort();
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        struct Nothing;
        impl Abort for Nothing {
            fn abort(&self) {}
            fn is_finished(&self) -> bool {
                false
            }
        }
        /// An abort handle that the bug watches.
        struct Marking(AbortHandle, Arc<Marks>, Bug);
        impl Abort for Marking {
            fn abort(&self) {
                let detached = self.1.detached.load(Ordering::SeqCst);
                if !detached || self.2 != Bug::AbortHandleDiesOnDetach {
                    self.1.abort();
                    self.0.abort();
                }
            }
            fn is_finished(&self) -> bool {
                self.0.is_finished()
            }
        }
        match &self.task {
            Some(task) => {
                let own = Marking(task.abort_handle(), self.marks.clone(), self.bug);
                AbortHandle::new(Arc::new(own))
            }
            None => AbortHandle::new(Arc::new(Nothing)),
        }
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        self.marks.detached.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.take() {
            task.detach();
        }
        if let Some(join) = self.own.take() {
            join.abandon();
        }
    }

    fn detach_boxed(self: Box<Self>) {
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        let bug = self.bug;
        if bug == Bug::WaitBlocksExecutor {
            return Ok(adapt::run(self));
        }
        implement::check_may_block()?;
        match bug {
            Bug::WaitKeepsSlot => return Ok(adapt::run(self)),
            Bug::HandleWaitsUnhooked => return Ok(drive_unhooked(self)),
            Bug::HelpNeedsThreadLocal => LOCAL.with(|_| ()),
            _ => {}
        }
        if let Some(helped) = &self.helped {
            helped.run_here(bug);
        }
        match wait_for(self)? {
            Err(error) if error.is_panic() && bug == Bug::HelpPanicEscapes => error.resume_unwind(),
            result => Ok(result),
        }
    }
}

/// A closure that the pool or the waiter runs, whichever comes first.
struct Helped {
    run: Mutex<Option<Closure>>,
    here: AtomicBool,
    pool: Pool,
}

impl Helped {
    fn run(&self) {
        let run = lock(&self.run).take();
        if let Some(run) = run {
            run();
        }
    }

    fn run_here(&self, bug: Bug) {
        self.here.store(true, Ordering::SeqCst);
        if bug == Bug::HelpsWithValues {
            self.run();
        } else {
            Values::default().scope(|| self.run());
        }
        if bug == Bug::HelpKeepsSlot {
            keep_slot(&self.pool);
        }
    }
}

/// Takes a slot for good.
fn keep_slot(pool: &Pool) {
    let parked = pool.offload(|| {
        loop {
            thread::park();
        }
    });
    parked.detach();
}

impl<T: Send + 'static> Drop for BrokenOffload<T> {
    fn drop(&mut self) {
        if let Some(join) = self.own.take() {
            self.mark_abort();
            join.abandon();
        }
        let Some(mut task) = self.task.take() else {
            return;
        };
        self.mark_abort();
        match self.bug {
            Bug::RunsDroppedClosures => task.detach(),
            Bug::OutputDropPanicEscapes if !self.done => {
                let poll = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
                drop(poll);
            }
            _ => {}
        }
    }
}

impl<T: Send + 'static> BrokenOffload<T> {
    fn of(task: OffloadTask<T>, bug: Bug) -> Self {
        let mut own = Self::empty(bug);
        own.task = Some(task);
        own
    }

    fn empty(bug: Bug) -> Self {
        Self {
            // Until it is known.
            metadata: Metadata::caller(),
            task: None,
            bug,
            own: None,
            cancel: None,
            marks: Arc::default(),
            pool: None,
            helped: None,
            id: None,
            joiner: None,
            done: false,
        }
    }

    fn mark_abort(&self) {
        enter(self.bug);
        let again = self.marks.aborted.load(Ordering::SeqCst);
        self.marks.abort();
        if let Some(cancel) = &self.cancel {
            cancel();
        }
        if let (Some(pool), false) = (&self.pool, again) {
            if !self.marks.started.load(Ordering::SeqCst) {
                // Its place is never given away.
                keep_slot(pool);
            }
        }
    }
}

type Closure = Box<dyn FnOnce() + Send>;

/// A closure for its runner, and a handle on its result.
fn by_hand<F, T>(f: F, bug: Bug, id: Option<RuntimeId>) -> (Closure, BrokenOffload<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// For [`Bug::OutputDropHoldsPool`].
    static DROPPING: Mutex<()> = Mutex::new(());
    let join = Join::new(bug);
    let filled = join.clone();
    let held = Arc::new(Mutex::new(Some(f)));
    let mut task = BrokenOffload::empty(bug);
    task.own = Some(join.clone());
    if bug == Bug::CapturePanicEscapes {
        let held = held.clone();
        task.cancel = Some(Arc::new(move || {
            let f = lock(&held).take();
            if f.is_some() {
                drop(f);
                join.fill(Err(JoinError::cancelled()));
            }
        }));
    }
    let marks = task.marks.clone();
    let run = move || {
        let _mark = implement::enter(Code::Blocking, id);
        let holds = bug == Bug::OutputDropHoldsPool;
        if holds {
            drop(lock(&DROPPING));
        }
        let Some(f) = lock(&held).take() else { return };
        let result = catch_unwind(AssertUnwindSafe(f)).map_err(JoinError::panicked);
        let abandoned = lock(&filled.state).abandoned;
        if abandoned && bug == Bug::ResultDroppedElsewhere {
            thread::spawn(move || drop(result));
        } else if abandoned && holds {
            let _dropping = lock(&DROPPING);
            adapt::discard(result);
        } else {
            filled.fill(result);
        }
        marks.ended.store(true, Ordering::SeqCst);
    };
    (Box::new(run), task)
}

impl Offload for Broken {
    type OffloadTask<T: Send + 'static> = BrokenOffload<T>;

    fn offload_with<F, T>(&self, metadata: Metadata, f: F) -> BrokenOffload<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let bug = self.shared.inner.bug;
        let below = match bug {
            Bug::MetadataOfWrapper | Bug::ErrorOfNoTask => Metadata::caller(),
            _ => metadata.clone(),
        };
        let mut task = self.hand_over(below, f);
        if bug != Bug::MetadataOfWrapper {
            task.metadata = metadata;
        }
        task
    }

    fn try_offload_with<F, T>(
        &self,
        metadata: Metadata,
        f: F,
    ) -> Result<BrokenOffload<T>, TryOffloadError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let bug = self.shared.inner.bug;
        if bug == Bug::QueueNeverFull {
            return Ok(self.offload_with(metadata, f));
        }
        let task = self.shared.pool.try_offload_with(metadata.clone(), f)?;
        let mut task = BrokenOffload::of(task, bug);
        task.metadata = metadata;
        Ok(task)
    }
}

impl Broken {
    fn hand_over<F, T>(&self, metadata: Metadata, f: F) -> BrokenOffload<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let bug = self.shared.inner.bug;
        let id = Some(self.shared.registration.id());
        let pool = &self.shared.pool;
        enter(bug);
        if bug == Bug::ForeignAsyncRefused {
            self.check_context();
        }
        match bug {
            Bug::ClosurePanicKillsSlot => {
                let task = pool.offload_with(metadata, move || {
                    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
                        std::mem::forget(payload);
                        loop {
                            thread::park();
                        }
                    })
                });
                BrokenOffload::of(task, bug)
            }
            Bug::LargeRefused if size_of::<F>().max(size_of::<T>()) >= 16 * 1024 => {
                drop(f);
                let task = pool.offload_with(metadata, || {
                    resume_unwind(Box::new("the closure is too large"))
                });
                BrokenOffload::of(task, bug)
            }
            Bug::ResultDroppedElsewhere | Bug::CapturePanicEscapes | Bug::OutputDropHoldsPool => {
                let (run, task) = by_hand(f, bug, id);
                pool.offload(run).detach();
                task
            }
            Bug::AbandonedFreesSlot => {
                let (run, task) = by_hand(f, bug, id);
                let marks = task.marks.clone();
                pool.offload(move || {
                    thread::spawn(run);
                    let over = |mark: &AtomicBool| mark.load(Ordering::SeqCst);
                    while !over(&marks.ended) && !over(&marks.aborted) {
                        thread::sleep(Duration::from_micros(200));
                    }
                })
                .detach();
                task
            }
            Bug::StrandedOnExpiry => {
                static ENDED: Mutex<Option<Instant>> = Mutex::new(None);
                let ended = *lock(&ENDED);
                let keep = self.shared.keep_alive;
                // While the idle threads are about to end.
                let ending = ended.is_some_and(|at| at.elapsed() >= keep);
                if keep <= Duration::from_millis(2) && ending {
                    let (run, task) = by_hand(f, bug, id);
                    std::mem::forget(run);
                    return task;
                }
                let task = pool.offload_with(metadata, move || {
                    let value = f();
                    *lock(&ENDED) = Some(Instant::now());
                    value
                });
                BrokenOffload::of(task, bug)
            }
            Bug::ValuesLeak => {
                static FIRST: Mutex<Option<Values>> = Mutex::new(None);
                let current = Values::current();
                if !current.is_empty() {
                    lock(&FIRST).get_or_insert(current);
                }
                let task = pool.offload_with(metadata, move || {
                    let first = lock(&FIRST).clone();
                    first.unwrap_or_default().scope(f)
                });
                BrokenOffload::of(task, bug)
            }
            Bug::HelpsUnmarked
            | Bug::HelpsWithValues
            | Bug::HelpsWithoutSlot
            | Bug::HelpPanicEscapes
            | Bug::HelpKeepsSlot => {
                let home: Arc<OnceLock<Arc<Helped>>> = Arc::default();
                let helped = home.clone();
                let marked = move || {
                    let helped = helped.get().expect("set before it is run");
                    let here = helped.here.load(Ordering::SeqCst);
                    let unmarked = here && bug == Bug::HelpsUnmarked;
                    let _mark = unmarked.then(|| implement::enter(Code::Sync, None));
                    f()
                };
                let (run, mut task) = by_hand(marked, bug, id);
                let helped = home.get_or_init(|| {
                    Arc::new(Helped {
                        run: Mutex::new(Some(run)),
                        here: AtomicBool::new(false),
                        pool: pool.clone(),
                    })
                });
                task.helped = Some(helped.clone());
                let by_pool = helped.clone();
                pool.offload(move || by_pool.run()).detach();
                task
            }
            // Every closure gets its own thread.
            Bug::ThreadPerClosure => {
                let (run, task) = by_hand(f, bug, id);
                thread::spawn(run);
                task
            }
            // On the threads that poll tasks.
            Bug::OffloadOnWorker => {
                let (run, task) = by_hand(f, bug, id);
                let mut run = Some(run);
                let future = std::future::poll_fn(move |_| {
                    if let Some(run) = run.take() {
                        run();
                    }
                    Poll::Ready(())
                });
                self.spawn(future).detach();
                task
            }
            // At once, on the caller's thread.
            Bug::OffloadInline => {
                let (run, task) = by_hand(f, bug, id);
                run();
                task
            }
            Bug::NewestClosureFirst => {
                static STACK: Mutex<Vec<Closure>> = Mutex::new(Vec::new());
                let (run, task) = by_hand(f, bug, id);
                lock(&STACK).push(run);
                let newest = || {
                    let run = lock(&STACK).pop();
                    if let Some(run) = run {
                        run();
                    }
                };
                self.shared.pool.offload(newest).detach();
                task
            }
            Bug::UnmarkedClosure => {
                let task = self.shared.pool.offload_with(metadata, move || {
                    let _mark = implement::enter(Code::Sync, None);
                    f()
                });
                BrokenOffload::of(task, bug)
            }
            _ => {
                let marks = Arc::new(Marks::default());
                let inside = marks.clone();
                let task = pool.offload_with(metadata, move || {
                    inside.started.store(true, Ordering::SeqCst);
                    odd::dawdle();
                    let value = f();
                    inside.ended.store(true, Ordering::SeqCst);
                    enter(bug);
                    value
                });
                let mut task = BrokenOffload::of(task, bug);
                task.marks = marks;
                task.id = id;
                task.pool = (bug == Bug::CancelledKeepsSlot).then(|| pool.clone());
                task
            }
        }
    }
}
