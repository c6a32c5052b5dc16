//! Runs jobs: [`Dispatcher`]s on the runtime's tasks, [`Runner`]s on its pool.
//!
//! No job has a task before it needs one. A few dispatchers take one job after the other and
//! poll each once: a future that is ready then has cost no task, no wake and one pass through the
//! store. A pending future moves to its own task ([`JobTask`]), and is polled there
//! again. Runners take closures in the same way. A worker that is given no job ends; a submitter
//! starts a worker if none is there.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use fourway_core::{Spawner, implement::discard};

use crate::{
    body::{Body, Failure, Place, TaskBody},
    clock::Now,
    context::Seat,
    forked,
    shared::Shared,
    store::{Effects, Ended, Outcome, Started, Store},
};

/// How many jobs a dispatcher polls before it lets other tasks of the runtime have a turn.
const TURN: usize = 64;

/// For how long a runner takes jobs before it lets other closures of the pool have a turn.
/// In nanoseconds.
const POOL_TURN: u64 = 5_000_000;

/// And how many at most.
const POOL_JOBS: usize = 1024;

pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    seats: Seats,
    fx: Effects,
    /// It has been counted out.
    is_over: bool,
}

impl Dispatcher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            seats: Seats::default(),
            fx: Effects::default(),
            is_over: false,
        }
    }

    /// Ends the job before, and takes the next one.
    #[inline]
    fn next(&mut self, end: End) -> Option<Started> {
        let Self {
            shared, seats, fx, ..
        } = self;
        // Made outside of the lock.
        seats.next(shared);
        let now = shared.now();
        let mut store = shared.lock_to_take();
        seats.tell(end, &mut store, now, fx);
        let control = seats.current().control();
        let started = store.take(Place::Task, control, now, fx);
        self.is_over = started.is_none();
        drop(store);
        shared.apply(fx);
        seats.settle();
        started
    }
}

impl Future for Dispatcher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut end = End::Nothing;
        for _ in 0..TURN {
            if !self.shared.is_here() {
                // A body has forked, and this is the child: the jobs are the parent's.
                return Poll::Ready(());
            }
            let Some(started) = self.next(end) else {
                return Poll::Ready(());
            };
            let Self { shared, seats, .. } = &mut *self;
            end = first_poll(shared, started, seats);
        }
        if !matches!(end, End::Nothing) && self.shared.is_here() {
            let Self {
                shared, seats, fx, ..
            } = &mut *self;
            let now = shared.now();
            seats.tell(end, &mut shared.lock(), now, fx);
            shared.apply(fx);
            seats.settle();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if !self.shared.is_here() {
            forked::leave(&mut self.seats);
        } else if !self.is_over {
            self.shared.worker_lost(Place::Task);
        }
    }
}

/// The end of an attempt, which its worker reports when it takes the next job.
enum End {
    /// No attempt has ended: the first one is to begin, or the job has moved to its own task.
    Nothing,
    /// The job of that number has its value, and all else of it is destroyed.
    Done(u64),
    /// Another one, which [`Seats`] has: most ends are two words, and so is this.
    Other,
}

/// The seats of a worker, which takes turns between two of them: one is of the attempt that has
/// just ended, while the next one is being started. They stay in their places, as a move of a seat
/// takes longer than the rest of a turn.
#[derive(Default)]
struct Seats {
    seats: [Option<Seat>; 2],
    /// Of the attempt that runs, or that is to begin.
    current: usize,
    /// The other seat is of an attempt whose end was not reported to the store yet.
    is_ending: bool,
    /// That end, if it is an [`End::Other`].
    other: Option<Ended>,
}

impl Seats {
    /// The seat of the attempt that is to begin.
    #[inline]
    fn next(&mut self, shared: &Arc<Shared>) -> &Seat {
        self.seats[self.current].get_or_insert_with(|| Seat::new(shared))
    }

    #[inline]
    fn current(&mut self) -> &mut Seat {
        self.seats[self.current].as_mut().expect("an attempt runs")
    }

    /// The attempt moves to its own task.
    fn leave(&mut self) -> Seat {
        self.seats[self.current].take().expect("an attempt runs")
    }

    /// The attempt has ended.
    #[inline]
    fn end(&mut self) {
        self.current().end();
        self.current ^= 1;
        self.is_ending = true;
    }

    /// Reports the end to the store.
    #[inline]
    fn tell(&mut self, end: End, store: &mut Store, now: Now, fx: &mut Effects) {
        match end {
            End::Nothing => {}
            End::Done(number) => store.end_done(number, now, fx),
            End::Other => {
                if let Some(ended) = self.other.take() {
                    store.end(ended, now, fx);
                }
            }
        }
    }

    /// The end was reported to the store, whose lock is released.
    #[inline]
    fn settle(&mut self) {
        if std::mem::take(&mut self.is_ending) {
            let seat = &mut self.seats[self.current ^ 1];
            if !seat.as_ref().is_some_and(Seat::is_free) {
                discard(seat.take());
            }
        }
    }
}

/// The attempt begins, in its span if it has one.
#[cfg(feature = "tracing")]
fn begin(seat: &mut Seat, mut started: Started) -> Started {
    let traits = started.traits.take();
    if let Some(span) = traits.and_then(crate::span::Traits::span) {
        seat.enter_in(span);
    }
    started
}

#[cfg(not(feature = "tracing"))]
fn begin(_: &mut Seat, started: Started) -> Started {
    started
}

/// Polls a job's future once; if it is pending, it moves to its own task, with its seat.
#[inline]
fn first_poll(shared: &Arc<Shared>, started: Started, seats: &mut Seats) -> End {
    let seat = seats.current();
    let Started { number, body, .. } = begin(seat, started);
    let Body::Task(mut body) = body else {
        unreachable!("closures are taken by runners");
    };
    let outcome = seat.scope(|context| {
        if let Err(failure) = body.as_mut().begin(context) {
            return Some(Outcome::Failed(failure));
        }
        // No wake-up is needed: a pending future is polled again by its own task.
        match body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Some(Outcome::Done),
            Poll::Ready(Err(failure)) => Some(Outcome::Failed(failure)),
            Poll::Pending => None,
        }
    });
    if !shared.is_here() {
        // It has forked, and this is the child.
        std::mem::forget(body);
        return End::Nothing;
    }
    match outcome {
        Some(outcome) => {
            seats.end();
            if matches!(outcome, Outcome::Done) && !body.is_again() {
                // As in `ended`.
                discard(body);
                return End::Done(number);
            }
            seats.other = Some(ended(shared, number, Body::Task(body), outcome));
            End::Other
        }
        None => {
            let seat = seats.leave();
            shared.runtime.spawn_detached(JobTask {
                shared: shared.clone(),
                running: Some(Running {
                    number,
                    body,
                    seat,
                    is_dropped: false,
                    failure: None,
                }),
            });
            End::Nothing
        }
    }
}

/// An attempt is over. If the job completes, the captured values of a repeatable body are destroyed
/// here.
fn ended(shared: &Arc<Shared>, number: u64, body: Body, outcome: Outcome) -> Ended {
    let mut body = Some(body);
    if matches!(outcome, Outcome::Done) {
        // A body that runs once has nothing of the user's any more, whatever becomes of the job.
        let is_over = |body: &Body| {
            !body.is_again() || (body.has_captured() && shared.lock().completes(number))
        };
        if body.as_ref().is_some_and(is_over) {
            discard(body.take());
        }
    }
    Ended {
        number,
        body,
        outcome,
    }
}

/// The task of a job that has to wait for something.
struct JobTask {
    shared: Arc<Shared>,
    /// Until the store has been told.
    running: Option<Running>,
}

struct Running {
    number: u64,
    body: Pin<Box<dyn TaskBody>>,
    seat: Seat,
    /// The future was dropped; something that it has begun runs on.
    is_dropped: bool,
    /// Of the future's destructor. The job ends with it once nothing runs any more, and keeps its slot
    /// until then (JB-3, cancelling).
    failure: Option<Failure>,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let is_to_be_dropped = |seat: &Seat| seat.control().is_dropped();
        if !self.is_dropped && !is_to_be_dropped(&self.seat) {
            // Before the poll, so that a cancellation during the poll wakes this task.
            self.seat.control().register(cx.waker());
            if !is_to_be_dropped(&self.seat) {
                let body = self.body.as_mut();
                let poll = self.seat.scope(|_| body.poll(cx));
                match poll {
                    Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Done),
                    Poll::Ready(Err(failure)) => return Poll::Ready(Outcome::Failed(failure)),
                    Poll::Pending if !is_to_be_dropped(&self.seat) => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
        }
        if !self.is_dropped {
            self.destroy();
        }
        let gone = ready!(self.body.as_mut().poll_gone(cx));
        Poll::Ready(match (self.failure.take(), gone) {
            (None, Ok(())) => Outcome::Dropped,
            (None, Err(failure)) | (Some(failure), Ok(())) => Outcome::Failed(failure),
            (Some(first), Err(second)) => {
                second.into_message();
                Outcome::Failed(first)
            }
        })
    }

    fn destroy(&mut self) {
        self.is_dropped = true;
        let body = self.body.as_mut();
        self.failure = self.seat.scope(|_| body.destroy()).err();
    }
}

impl JobTask {
    fn end(&mut self, outcome: Outcome) {
        let Some(running) = self.running.take() else {
            return;
        };
        let Running {
            number,
            body,
            mut seat,
            ..
        } = running;
        seat.end();
        let ended = ended(&self.shared, number, Body::Task(body), outcome);
        self.shared.with(|store, now, fx| {
            store.end(ended, now, fx);
            store.left(fx);
        });
        discard(seat);
    }
}

impl Future for JobTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(());
        };
        let polled = running.poll(cx);
        if !self.shared.is_here() {
            // The body has forked, and this is the child.
            std::mem::forget((self.running.take(), polled));
            return Poll::Ready(());
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => {
                self.end(outcome);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for JobTask {
    fn drop(&mut self) {
        if !self.shared.is_here() {
            forked::leave(&mut self.running);
        }
        let Some(running) = &mut self.running else {
            return;
        };
        let was_dropped = running.is_dropped;
        if !was_dropped {
            running.destroy();
        }
        let outcome = match running.failure.take() {
            Some(failure) => Outcome::Failed(failure),
            None if was_dropped => Outcome::Dropped,
            None => Outcome::Lost,
        };
        self.end(outcome);
        self.shared.check_runtime();
    }
}

/// A closure that takes jobs on the pool.
pub(crate) struct Runner {
    /// Until it runs.
    shared: Option<Arc<Shared>>,
}

impl Runner {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared: Some(shared),
        }
    }

    pub(crate) fn run(mut self) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let mut seats = Seats::default();
        let mut fx = Effects::default();
        let mut ended: Option<Ended> = None;
        let mut has_arrived = false;
        let mut until = None;
        let mut left = POOL_JOBS;
        loop {
            let seat = seats.next(&shared);
            let now = shared.now();
            let until = *until.get_or_insert(now.watch + POOL_TURN);
            let is_over = now.watch > until || left == 0;
            left = left.saturating_sub(1);
            let mut store = shared.lock();
            if !std::mem::replace(&mut has_arrived, true) {
                store.runner_arrived();
            }
            if let Some(ended) = ended.take() {
                store.end(ended, now, &mut fx);
            }
            let started = if is_over {
                store.left_pool(&mut fx);
                None
            } else {
                store.take(Place::Pool, seat.control(), now, &mut fx)
            };
            drop(store);
            shared.apply(&mut fx);
            seats.settle();
            let Some(started) = started else {
                return;
            };
            ended = run_closure(&shared, started, &mut seats);
            if ended.is_none() {
                forked::leave(&mut seats);
                return;
            }
        }
    }
}

/// `None` in a forked child: the closure has forked, and the job is the parent's.
fn run_closure(shared: &Arc<Shared>, started: Started, seats: &mut Seats) -> Option<Ended> {
    let seat = seats.current();
    let Started { number, body, .. } = begin(seat, started);
    let Body::Closure(mut body) = body else {
        unreachable!("futures are taken by dispatchers");
    };
    let ran = seat.scope(|context| body.run(context));
    if !shared.is_here() {
        std::mem::forget((body, ran));
        return None;
    }
    let outcome = match ran {
        Ok(()) => Outcome::Done,
        Err(failure) => Outcome::Failed(failure),
    };
    seats.end();
    Some(ended(shared, number, Body::Closure(body), outcome))
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take().filter(|shared| shared.is_here()) {
            shared.worker_lost(Place::Pool);
        }
    }
}

#[cfg(all(test, not(fourway_shuttle), not(fourway_loom)))]
mod tests {
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll, ready},
    };

    use fourway_testing::{Gate, each, eventually};

    use crate::{
        JobContext, JobManager, JobState,
        body::{Body, Failure, TaskBody},
        job::{Options, sealed},
        slot::Slot,
    };

    /// The destructor of its future panics, and something that the future has begun runs on.
    struct Stubborn {
        /// Open once it was asked whether all is gone.
        asked: Gate,
        ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    impl TaskBody for Stubborn {
        fn begin(self: Pin<&mut Self>, _: &JobContext) -> Result<(), Failure> {
            Ok(())
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Pending
        }

        fn destroy(self: Pin<&mut Self>) -> Result<(), Failure> {
            Err(Failure::panic(Box::new("of the destructor")))
        }

        fn poll_gone(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            self.asked.open();
            ready!(self.ends.as_mut().poll(cx));
            Poll::Ready(Ok(()))
        }

        fn is_again(&self) -> bool {
            false
        }

        fn has_captured(&self) -> bool {
            false
        }
    }

    #[allow(private_interfaces, reason = "the trait is sealed")]
    impl sealed::Work<Stubborn> for Stubborn {
        type Value = ();

        fn into_parts(self, _: &Arc<Slot<()>>) -> (Body, Options) {
            (Body::Task(Box::pin(self)), Options::default())
        }
    }

    #[test]
    fn a_job_whose_destructor_panics_holds_its_slot_until_all_of_it_has_ended() {
        each(|rt| {
            let jobs = JobManager::builder(&rt).concurrency(1).build();
            let (asked, ends) = (Gate::default(), Gate::default());
            let wait = ends.clone();
            let stubborn = Stubborn {
                asked: asked.clone(),
                ends: Box::pin(async move { wait.pass().await }),
            };
            let job = jobs.submit(stubborn).unwrap();
            let next = jobs.submit(|| ()).unwrap();
            eventually("it runs", || job.state() == Some(JobState::Running));
            job.cancel();
            asked.wait();
            assert_eq!(job.state(), Some(JobState::Running));
            assert_eq!(next.state(), Some(JobState::Queued));
            ends.open();
            let error = job.wait().unwrap_err();
            assert!(error.is_panic() && error.message() == "of the destructor");
            next.wait().unwrap();
        });
    }
}
