//! A small implementation of executing work, and small sessions, with a place for each bug:
//! [`SMALL`].
//!
//! Without a bug they keep the rule EX-1; that is checked too. Each session has one lock and one
//! list of wakers, and each piece of work has a task.

use std::{
    collections::VecDeque,
    future::{Future, ready},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_conformance::execute::{
    Access, BoxFuture, Doors, Model, Overrun, Session, Stopped, Turn, Work,
};
use fourway_core::{AnyRuntime, BlockOn, JoinError, Offload, Spawner, cancel::CancellationToken};

use crate::bugs::{self, Bug};

pub(crate) static SMALL: Small = Small;

#[derive(Debug)]
pub(crate) struct Small;

type Output = Result<u32, Stopped>;

impl Doors for Small {
    fn execute(
        &self,
        runtime: &AnyRuntime,
        model: Model,
        overrun: Overrun,
        work: Work,
    ) -> BoxFuture<Output> {
        let token = CancellationToken::new();
        start(runtime, model, overrun, work, token, ready(Ok(())))
    }

    fn session(&self, runtime: &AnyRuntime, model: Model) -> Arc<dyn Session> {
        Arc::new(SmallSession {
            rt: runtime.clone(),
            model,
            line: Arc::default(),
        })
    }
}

/// Starts work where the model runs it, once `input` is there.
fn start<I: Send + 'static>(
    rt: &AnyRuntime,
    model: Model,
    overrun: Overrun,
    work: Work<I>,
    token: CancellationToken,
    input: impl Future<Output = Result<I, Stopped>> + Send + 'static,
) -> BoxFuture<Output> {
    let bug = bugs::bug();
    let in_place = match &work {
        Work::Blocking(_) => bug == Bug::BlocksExecutor,
        Work::Short(_) => model == Model::Async || bug == Bug::ShortEverywhere,
        Work::Async(_) => model != Model::Thread || bug == Bug::DrivenInPlace,
    };
    let (pool, asked) = (rt.clone(), token.clone());
    let task = rt.spawn(async move {
        let input = if bug == Bug::LineKeepsThreads && matches!(work, Work::Blocking(_)) {
            // The thread waits, as for a lock.
            pool.offload(|| wait_on_this_thread(input)).await
        } else {
            Ok(input.await)
        };
        let input = input.map_err(|error| ended(&error))??;
        if asked.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        match work {
            Work::Blocking(f) if in_place => Ok(f(input)),
            Work::Short(f) if in_place => Ok(watched(&overrun, || f(input))),
            Work::Blocking(f) | Work::Short(f) => {
                let task = pool.offload(|| f(input));
                task.await.map_err(|error| ended(&error))
            }
            Work::Async(f) => {
                let driven = async move {
                    let output = asked.run_until_cancelled(f(input)).await;
                    output.map_err(|_| Stopped::Interrupted)
                };
                if in_place {
                    return driven.await;
                }
                let rt = pool.clone();
                let task = pool.offload(move || rt.block_on(driven));
                task.await.unwrap_or_else(|error| Err(ended(&error)))
            }
        }
    });
    // Work on the pool learns of a dropped handle by its token.
    let guard = token.drop_guard();
    Box::pin(async move {
        let _guard = guard;
        task.await.unwrap_or_else(|error| Err(ended(&error)))
    })
}

fn ended(error: &JoinError) -> Stopped {
    if error.is_panic() {
        Stopped::Panicked
    } else if error.is_cancelled() {
        Stopped::Interrupted
    } else {
        Stopped::Closed
    }
}

fn wait_on_this_thread<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Calls it, and reports by a separate thread if it takes more than a millisecond.
fn watched<T>(overrun: &Overrun, f: impl FnOnce() -> T) -> T {
    if bugs::bug() == Bug::OverrunUnseen {
        return f();
    }
    let budget = Duration::from_millis(1);
    let (over, told) = (Arc::new(AtomicBool::new(false)), overrun.clone());
    let (start, ends) = (Instant::now(), over.clone());
    thread::spawn(move || {
        thread::sleep(budget);
        if !ends.load(Ordering::SeqCst) {
            told(false);
        }
    });
    let output = f();
    over.store(true, Ordering::SeqCst);
    if start.elapsed() > budget {
        overrun(true);
    }
    output
}

struct SmallSession {
    rt: AnyRuntime,
    model: Model,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    numbers: Vec<u32>,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
    next: u64,
    poisoned: bool,
    wakers: Vec<Waker>,
}

#[derive(Clone)]
struct Entry {
    number: u64,
    access: Access,
    is_async: bool,
    token: CancellationToken,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes all waiters.
    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let output = f(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        output
    }
}

impl State {
    /// Is it this entry's turn?
    fn admits(&self, entry: &Entry, bug: Bug) -> bool {
        let reads = entry.access == Access::Read;
        let is_first = self.waiting.front().map(|first| first.number) == Some(entry.number);
        let overtakes = bug == Bug::ReadersOvertake && reads;
        if !is_first && !overtakes {
            return false;
        }
        self.running.iter().all(|other| {
            let gone = (bug == Bug::TurnEndsAtAwait && other.is_async)
                || (bug == Bug::CancelledIsGone && other.token.is_cancelled());
            let together = reads && other.access == Access::Read && bug != Bug::ReadersAlone;
            gone || together
        })
    }
}

impl Session for SmallSession {
    fn execute(&self, access: Access, work: Work<Box<dyn Turn>>) -> BoxFuture<Output> {
        let token = CancellationToken::new();
        let is_async = matches!(work, Work::Async(_));
        let entry = self.line.change(|state| {
            state.next += 1;
            let entry = Entry {
                number: state.next,
                access,
                is_async,
                token: token.clone(),
            };
            // A line for each kind, of which one goes first.
            match is_async && bugs::bug() == Bug::LineOfEachKind {
                true => state.waiting.push_front(entry.clone()),
                false => state.waiting.push_back(entry.clone()),
            }
            entry
        });
        let place = Place {
            line: self.line.clone(),
            entry,
        };
        let overrun: Overrun = Arc::new(|_| {});
        start(&self.rt, self.model, overrun, work, token, place)
    }

    fn interrupt(&self) {
        if bugs::bug() == Bug::InterruptsNobody {
            return;
        }
        let running = self.line.lock().running.clone();
        running.iter().for_each(|entry| entry.token.cancel());
    }
}

/// A place in line; it is left when this is dropped.
struct Place {
    line: Arc<Line>,
    entry: Entry,
}

impl Future for Place {
    type Output = Result<Box<dyn Turn>, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.line.lock();
        if state.poisoned {
            return Poll::Ready(Err(Stopped::Closed));
        }
        if !state.admits(&self.entry, bugs::bug()) {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        let (entry, line) = (self.entry.clone(), self.line.clone());
        // This changes which entry is first.
        let numbers = self.line.change(|state| {
            state.waiting.retain(|other| other.number != entry.number);
            state.running.push(entry.clone());
            state.numbers.clone()
        });
        Poll::Ready(Ok(Box::new(SmallTurn {
            line,
            entry,
            numbers,
        })))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if bugs::bug() != Bug::GivenUpKeepsPlace {
            let number = self.entry.number;
            self.line
                .change(|state| state.waiting.retain(|other| other.number != number));
        }
    }
}

struct SmallTurn {
    line: Arc<Line>,
    entry: Entry,
    // The numbers at the beginning of the turn, and those that it has added.
    numbers: Vec<u32>,
}

impl Turn for SmallTurn {
    fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    fn push(&mut self, number: u32) {
        self.numbers.push(number);
        self.line.change(|state| state.numbers.push(number));
    }

    fn token(&self) -> CancellationToken {
        self.entry.token.clone()
    }
}

impl Drop for SmallTurn {
    fn drop(&mut self) {
        let poisons = thread::panicking() && bugs::bug() == Bug::PanicPoisons;
        let number = self.entry.number;
        self.line.change(|state| {
            state.running.retain(|other| other.number != number);
            state.poisoned |= poisons;
        });
    }
}
