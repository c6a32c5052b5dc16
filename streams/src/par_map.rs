//! [`Items::par_map`]: one thread reads the items, and several map them.
//!
//! The thread that runs the call's body reads the items into a queue. Helpers, which are closures on the
//! pool, take items from the queue, map them, and end when the queue is empty. Where the queue is full,
//! and after the last item, the reader maps items too. So reading and mapping overlap, nobody waits but
//! the reader at the end, and a pool without a free thread costs only the help.
//!
//! To ask for a helper wakes a thread, which takes as long as several quick items. So there are as many
//! as there are processors if items are quick, and only as many as may run if an item has taken
//! [`SLOW`] or none has ended for so long. A helper that ends early because reading is slower than
//! mapping is asked for again when twice as many items wait.

use std::{
    any::Any,
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, Waker},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use fourway_core::{
    AnyRuntime, BlockOn, Offload, Task, Timer,
    implement::{discard, wake},
    task::Metadata,
    values::Values,
};

use crate::{
    sync::{Mutex, MutexGuard, lock},
    wanted::Over,
};

/// An item that takes longer probably waits, for a disk for instance, and leaves its processor to
/// others. A thread is woken, and maps a quick item, in less time: with 100 µs there were helpers that
/// were in the way of the others. Models have no time, and see as many helpers as may be.
const SLOW: Duration = if cfg!(fourway_shuttle) {
    Duration::ZERO
} else {
    Duration::from_micros(250)
};

/// How many items may wait for the first helper, at most, after helpers that ended early.
const MANY: usize = 64;

/// What the reader and the helpers share.
pub(crate) struct Work<T, U, F> {
    runtime: AnyRuntime,
    /// The line of the user whose items these are, which layers and errors name.
    origin: Metadata,
    values: Values,
    map: F,
    /// How many helpers there may be: one less than items are mapped at a time.
    most: usize,
    /// How many items may wait.
    room: usize,
    /// Nobody waits for the results any more.
    over: Over,
    inside: Mutex<Inside<T, U>>,
}

/// The end of an item.
#[derive(Clone, Copy)]
struct Ended {
    when: Instant,
    took: Duration,
}

type Payload = Box<dyn Any + Send>;

struct Inside<T, U> {
    queue: VecDeque<(usize, T)>,
    /// Of helpers that have ended, in any order.
    results: Vec<(usize, U)>,
    /// The first panic, in the order of the items. No item is begun after one.
    panic: Option<(usize, Payload)>,
    /// The helpers that have been asked for and have not ended.
    helpers: usize,
    /// Those of them that have begun.
    running: usize,
    /// How many items must wait for each helper that is asked for.
    at_least: usize,
    /// How long the item took that ended last.
    took: Option<Duration>,
    /// When an item ended last, or a helper was asked for because none had.
    progress: Instant,
    /// The reader, which waits for the helpers.
    reader: Option<Waker>,
}

impl<T, U, F> Work<T, U, F>
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> U + Send + Sync + 'static,
{
    pub(crate) fn new(
        runtime: &AnyRuntime,
        origin: Metadata,
        (at_once, room): (usize, usize),
        over: Over,
        map: F,
    ) -> Arc<Self> {
        let inside = Inside {
            queue: VecDeque::new(),
            results: Vec::new(),
            panic: None,
            helpers: 0,
            running: 0,
            at_least: 2,
            took: None,
            progress: runtime.now(),
            reader: None,
        };
        Arc::new(Self {
            runtime: runtime.clone(),
            origin,
            values: Values::current(),
            map,
            most: at_once.max(1) - 1,
            room,
            over,
            inside: Mutex::new(inside),
        })
    }

    /// Reads all items and has them mapped; gives the results in the order of the items. May block.
    pub(crate) fn run(self: &Arc<Self>, mut items: impl Iterator<Item = T>) -> Vec<U> {
        let (mut results, mut number) = (Vec::new(), 0);
        // The helpers end before this call does, also if the iterator panics.
        let read = catch_unwind(AssertUnwindSafe(|| {
            while !self.over.is_over() {
                let Some(item) = items.next() else { break };
                let Some(waiting) = self.push(number, item) else {
                    break;
                };
                number += 1;
                // Without helpers at all each item is mapped where it was read.
                if waiting >= self.room || self.most == 0 {
                    self.map_one(&mut results, None);
                }
            }
        }));
        if let Err(payload) = read {
            self.fail(number, payload);
        }
        self.map_all(&mut results);
        if lock(&self.inside).running > 0 {
            self.runtime.block_on(poll_fn(|cx| self.poll_helpers(cx)));
        }
        let mut inside = lock(&self.inside);
        let (others, panic) = (std::mem::take(&mut inside.results), inside.panic.take());
        drop(inside);
        if let Some((_, payload)) = panic {
            results.into_iter().chain(others).for_each(discard);
            resume_unwind(payload);
        }
        results.extend(others);
        results.sort_unstable_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// For the reader: says how many items wait, unless no more are to be mapped.
    fn push(self: &Arc<Self>, at: usize, item: T) -> Option<usize> {
        let mut inside = lock(&self.inside);
        if inside.panic.is_some() {
            drop(inside);
            drop(item);
            return None;
        }
        inside.queue.push_back((at, item));
        let waiting = inside.queue.len();
        if inside.helpers == self.most {
            return Some(waiting);
        }
        let now = self.runtime.now();
        let is_stuck = now.saturating_duration_since(inside.progress) >= SLOW;
        if is_stuck || inside.is_worth_a_helper() {
            // The helper has as long to begin and to map an item.
            inside.progress = now;
            self.ask(inside, 1);
        }
        Some(waiting)
    }

    /// Maps items until none waits.
    fn map_all(self: &Arc<Self>, results: &mut Vec<(usize, U)>) {
        let mut before = None;
        loop {
            before = self.map_one(results, before);
            if before.is_none() {
                return;
            }
        }
    }

    /// Maps the next item of the queue; says when it ended. `before` is when the one before did.
    fn map_one(
        self: &Arc<Self>,
        results: &mut Vec<(usize, U)>,
        before: Option<Ended>,
    ) -> Option<Ended> {
        let (at, item) = self.take(before)?;
        let from = before.map_or_else(|| self.runtime.now(), |before| before.when);
        match catch_unwind(AssertUnwindSafe(|| (self.map)(item))) {
            Ok(result) => results.push((at, result)),
            Err(payload) => self.fail(at, payload),
        }
        let when = self.runtime.now();
        let took = when.saturating_duration_since(from);
        Some(Ended { when, took })
    }

    /// Takes an item to map it. If it may take long, others are asked to take the items after it.
    fn take(self: &Arc<Self>, before: Option<Ended>) -> Option<(usize, T)> {
        if self.over.is_over() {
            return None;
        }
        let mut inside = lock(&self.inside);
        if let Some(before) = before {
            (inside.progress, inside.took) = (before.when, Some(before.took));
        }
        let taken = inside.queue.pop_front()?;
        let (waiting, helpers) = (inside.queue.len(), inside.helpers);
        let more = match inside.took {
            // Nothing is known.
            None => waiting,
            // As many again: something else may have held this one up.
            Some(took) if took >= SLOW => waiting.min(helpers + 1),
            Some(_) => usize::from(inside.is_worth_a_helper()),
        };
        let more = more.min(self.most - helpers);
        if more > 0 {
            self.ask(inside, more);
        }
        Some(taken)
    }

    /// No item is begun any more; those that wait are dropped.
    fn fail(&self, at: usize, payload: Payload) {
        let mut inside = lock(&self.inside);
        let dropped = std::mem::take(&mut inside.queue);
        let is_first = inside.panic.as_ref().is_none_or(|(first, _)| at < *first);
        let other = match is_first {
            true => inside.panic.replace((at, payload)).map(|(_, other)| other),
            false => Some(payload),
        };
        drop(inside);
        // Destructors are the user's code, and may panic too. The call tells of the first panic.
        dropped.into_iter().for_each(discard);
        discard(other);
    }

    /// Asks the pool for so many helpers.
    fn ask(self: &Arc<Self>, mut inside: MutexGuard<'_, Inside<T, U>>, more: usize) {
        inside.helpers += more;
        drop(inside);
        for _ in 0..more {
            // It may begin long after the end, and must not keep the user's values until then.
            let work = Arc::downgrade(self);
            let helping = self
                .runtime
                .offload_with(self.origin.clone(), move || help(&work));
            // A helper that never begins is not waited for.
            helping.detach();
        }
    }

    fn poll_helpers(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Cloning is the user's code, which does not run under the lock.
        let waker = cx.waker().clone();
        let mut inside = lock(&self.inside);
        if inside.running == 0 {
            return Poll::Ready(());
        }
        let before = inside.reader.replace(waker);
        drop(inside);
        drop(before);
        Poll::Pending
    }
}

impl<T, U> Inside<T, U> {
    /// If items are quick.
    fn is_worth_a_helper(&self) -> bool {
        self.helpers + 1 < processors() && self.queue.len() >= self.at_least * (self.helpers + 1)
    }
}

fn help<T, U, F>(work: &Weak<Work<T, U, F>>)
where
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(T) -> U + Send + Sync + 'static,
{
    let Some(work) = work.upgrade() else { return };
    lock(&work.inside).running += 1;
    let values = work.values.clone();
    values.scope(|| {
        let mut helper = Helper {
            work: &work,
            results: Vec::new(),
        };
        // What maps contains its panics, but the runtime's layers are user code as well.
        let helped = catch_unwind(AssertUnwindSafe(|| work.map_all(&mut helper.results)));
        if let Err(payload) = helped {
            work.fail(usize::MAX, payload);
        }
    });
}

/// A helper that has begun. Its end is told, however that comes.
struct Helper<'a, T, U, F> {
    work: &'a Work<T, U, F>,
    results: Vec<(usize, U)>,
}

impl<T, U, F> Drop for Helper<'_, T, U, F> {
    fn drop(&mut self) {
        let mut inside = lock(&self.work.inside);
        inside.results.append(&mut self.results);
        inside.at_least = (inside.at_least * 2).min(MANY);
        inside.helpers -= 1;
        inside.running -= 1;
        let reader = match inside.running {
            0 => inside.reader.take(),
            _ => None,
        };
        drop(inside);
        if let Some(waker) = reader {
            wake(waker);
        }
    }
}

/// Asked for once: the system reads files to answer.
fn processors() -> usize {
    static NUMBER: OnceLock<usize> = OnceLock::new();
    *NUMBER.get_or_init(|| available_parallelism().map_or(1, usize::from))
}
