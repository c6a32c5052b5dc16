//! What runs jobs: [`Dispatcher`]s on the runtime's tasks, [`Runner`]s on its pool.
//!
//! No job has a task before it needs one. A few dispatchers take one job after the other and
//! poll each once: a future that is ready then has cost no task, no wake and one pass through
//! the store. One that is pending moves to a task of its own ([`JobTask`]), and is polled there
//! again. Closures are taken by runners likewise. Whoever is given no job ends; whoever submits
//! one sees to it that somebody is there.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{Spawner, implement::discard, values::Values};

use crate::{
    body::{Body, Failure, Place, TaskBody},
    context::Control,
    shared::Shared,
    store::{Effects, Ended, Outcome, Started},
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
    spare: Option<Arc<Control>>,
    fx: Effects,
    /// It has been counted out.
    is_over: bool,
}

impl Dispatcher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            spare: None,
            fx: Effects::default(),
            is_over: false,
        }
    }

    /// Ends the job before, and takes the next one.
    fn next(&mut self, ended: Option<Ended>) -> Option<Started> {
        let shared = &self.shared;
        let spare = &mut self.spare;
        spare.get_or_insert_with(|| Arc::new(Control::new(shared)));
        let now = shared.now();
        let mut store = shared.lock();
        if let Some(ended) = ended {
            store.end(ended, now, &mut self.fx);
        }
        let started = store.take(Place::Task, spare, now, &mut self.fx);
        self.is_over = started.is_none();
        drop(store);
        shared.apply(&mut self.fx);
        started
    }
}

impl Future for Dispatcher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut ended = None;
        for _ in 0..TURN {
            let Some(started) = self.next(ended.take()) else {
                return Poll::Ready(());
            };
            ended = first_poll(&self.shared, started);
        }
        if let Some(ended) = ended {
            let Self { shared, fx, .. } = &mut *self;
            let now = shared.now();
            shared.lock().end(ended, now, fx);
            shared.apply(fx);
        }
        self.shared.watch.look();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.worker_lost(Place::Task);
        }
    }
}

/// Polls a job's future once; if it is pending, it goes to a task of its own.
fn first_poll(shared: &Arc<Shared>, started: Started) -> Option<Ended> {
    let Started {
        number,
        body,
        control,
    } = started;
    let Body::Task(mut body) = body else {
        unreachable!("closures are taken by runners");
    };
    let values = control.values();
    let outcome = values.clone().scope(|| {
        if let Err(failure) = body.as_mut().begin(&control.context()) {
            return Some(Outcome::Failed(failure));
        }
        // Nobody needs to be woken: if it is pending, it is polled again by its own task.
        match body.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Some(Outcome::Done),
            Poll::Ready(Err(failure)) => Some(Outcome::Failed(failure)),
            Poll::Pending => None,
        }
    });
    match outcome {
        Some(outcome) => {
            drop(values);
            discard(control);
            Some(Ended {
                number,
                body: Body::Task(body),
                outcome,
            })
        }
        None => {
            shared.runtime.spawn_detached(JobTask {
                shared: shared.clone(),
                running: Some(Running {
                    number,
                    body,
                    control,
                    values,
                    is_dropped: false,
                }),
            });
            None
        }
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
    control: Arc<Control>,
    values: Values,
    /// The future was dropped; something that it has begun runs on.
    is_dropped: bool,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if !self.is_dropped && !self.control.is_dropped() {
            // Before the poll: whoever cancels during it wakes this task.
            self.control.register(cx.waker());
            if !self.control.is_dropped() {
                let body = self.body.as_mut();
                let poll = self.values.clone().scope(|| body.poll(cx));
                match poll {
                    Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Done),
                    Poll::Ready(Err(failure)) => return Poll::Ready(Outcome::Failed(failure)),
                    Poll::Pending if !self.control.is_dropped() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
        }
        if !self.is_dropped {
            if let Err(failure) = self.destroy() {
                return Poll::Ready(Outcome::Failed(failure));
            }
        }
        self.body.as_mut().poll_gone(cx).map(|gone| match gone {
            Ok(()) => Outcome::Dropped,
            Err(failure) => Outcome::Failed(failure),
        })
    }

    fn destroy(&mut self) -> Result<(), Failure> {
        self.is_dropped = true;
        let body = self.body.as_mut();
        self.values.clone().scope(|| body.destroy())
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
            control,
            values,
            ..
        } = running;
        discard(values);
        let ended = Ended {
            number,
            body: Body::Task(body),
            outcome,
        };
        self.shared.with(|store, now, fx| {
            store.end(ended, now, fx);
            store.left(fx);
        });
        discard(control);
    }
}

impl Future for JobTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(());
        };
        match running.poll(cx) {
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
        let Some(running) = &mut self.running else {
            return;
        };
        let outcome = match running.is_dropped {
            true => Outcome::Dropped,
            false => match running.destroy() {
                Ok(()) => Outcome::Lost,
                Err(failure) => Outcome::Failed(failure),
            },
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
        let mut spare = None;
        let mut fx = Effects::default();
        let mut ended: Option<(Ended, Arc<Control>)> = None;
        let mut has_arrived = false;
        let mut until = None;
        let mut left = POOL_JOBS;
        loop {
            spare.get_or_insert_with(|| Arc::new(Control::new(&shared)));
            let now = shared.now();
            let until = *until.get_or_insert(now.watch + POOL_TURN);
            let is_over = now.watch > until || left == 0;
            left = left.saturating_sub(1);
            let mut store = shared.lock();
            if !std::mem::replace(&mut has_arrived, true) {
                store.runner_arrived();
            }
            let mut control = None;
            if let Some((ended, of)) = ended.take() {
                store.end(ended, now, &mut fx);
                control = Some(of);
            }
            let started = if is_over {
                store.left_pool(&mut fx);
                None
            } else {
                store.take(Place::Pool, &mut spare, now, &mut fx)
            };
            drop(store);
            shared.apply(&mut fx);
            discard(control);
            let Some(started) = started else {
                return;
            };
            ended = Some(run_closure(started));
        }
    }
}

fn run_closure(started: Started) -> (Ended, Arc<Control>) {
    let Started {
        number,
        body,
        control,
    } = started;
    let Body::Closure(mut body) = body else {
        unreachable!("futures are taken by dispatchers");
    };
    let values = control.values();
    let outcome = match values.scope(|| body.run(&control.context())) {
        Ok(()) => Outcome::Done,
        Err(failure) => Outcome::Failed(failure),
    };
    let ended = Ended {
        number,
        body: Body::Closure(body),
        outcome,
    };
    (ended, control)
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.worker_lost(Place::Pool);
        }
    }
}
