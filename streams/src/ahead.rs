//! Reading ahead: a queue between a producer and a consumer of items, each on its own thread.
//!
//! A blocking producer is a closure on the pool. When the queue is full it does not wait, as that
//! would hold its pool slot for as long as the consumer likes: it returns and gives its iterator
//! back as the closure's result. The consumer takes all items of the queue at once. If the producer
//! has returned, the consumer restarts it before it handles the items. So both are busy at the same
//! time, and one hand-over serves half a queue of items.
//!
//! Each item goes into the queue at once, without waiting for a batch: the next item may take the
//! producer an hour.
//!
//! Items that take next to nothing on either side, such as the lines of a file, are an exception.
//! If both sides are busy at the same time, the queue's lock and the allocator's move between
//! processors for each item: one side allocates the memory that the other frees. That costs several
//! times the item itself. So the sides take turns: the producer fills a larger queue while the
//! consumer sleeps, until the queue is full or [`PATIENCE`] is over. The consumer handles all these
//! items before it restarts the producer.
//!
//! Waking the consumer costs the producer a call to the system, which takes as long as several items
//! such as the files of a folder. A consumer that handles items faster than they come falls asleep
//! again and again, and the faster it is woken the fewer items gather meanwhile. So at a pace below
//! [`BRISK`] it asks to be woken for many items at once, and again is patient for [`PATIENCE`].

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use fourway_core::{
    AnyRuntime, JoinError, Offload, Spawner, Task, Timer, context,
    implement::{self, RuntimeId, wake},
    layer::Layers,
    task::Metadata,
    values::Values,
};
use futures_core::Stream;

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
    lock,
};

/// An iterator of any type, which may block.
pub(crate) type BoxIterator<T> = Box<dyn Iterator<Item = T> + Send>;
/// A stream of any type.
pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// How many items fit into a queue at first. Few in models, so that they see it grow.
const FIRST: usize = if cfg!(fourway_shuttle) { 1 } else { 32 };

/// The sides take turns if an item takes each of them less time than this. Ten times as much in
/// unoptimized code, so that tests take turns too. Models have no time: they take turns wherever the
/// limits allow it.
const QUICK: Duration = if cfg!(fourway_shuttle) {
    Duration::MAX
} else if cfg!(debug_assertions) {
    Duration::from_nanos(3_000)
} else {
    Duration::from_nanos(300)
};

/// A consumer waits for several items at once if an item takes the producer less time than this.
const BRISK: Duration = Duration::from_micros(10);

/// The pace of a producer that is slow, or has not been measured.
const UNKNOWN: u64 = u64::MAX;

/// After how many items a producer that does not pause looks at the clock.
const LOOKED_AT: usize = 512;

/// For how long items may stay in the queue while the consumer waits for more of them.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many items are read ahead, at most.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    usual: usize,
    /// The limit while the sides take turns. They do so only if it is above `usual`.
    in_turns: usize,
}

impl Limit {
    /// The consumer's batch has half of the items that are read ahead, the queue the other half.
    pub(crate) fn new(usual: usize, in_turns: usize) -> Self {
        let half = |limit: usize| (limit / 2).max(1);
        Self {
            usual: half(usual),
            in_turns: half(in_turns),
        }
    }

    /// How many items may wait in the queue, unless the sides take turns.
    pub(crate) fn waiting(self) -> usize {
        self.usual
    }
}

/// How a consumer waits.
pub(crate) struct Wait<'a> {
    pub(crate) waker: &'a Waker,
    /// How many items there must be before one of them wakes it. If the producer pauses or ends
    /// before, the result of the producer's closure wakes it.
    pub(crate) at_least: usize,
}

/// The state that producer and consumer share.
pub(crate) struct Queue<T> {
    /// How many items fit in, at most.
    limit: Limit,
    inside: Mutex<Inside<T>>,
    /// The nanoseconds that an item took the producer when last measured, or [`UNKNOWN`]. Pairs
    /// with no other access: it is a hint.
    pace: AtomicU64,
    /// The consumer is gone. Pairs with no other access: a producer that sees it stops, and reads
    /// no other data because of it.
    closed: AtomicBool,
}

struct Inside<T> {
    items: VecDeque<T>,
    /// How many items fit in now: few at first, and twice as many each time that all room was used.
    /// So the read-ahead grows only in proportion to the taken items, which may be large or not
    /// wanted any more.
    room: usize,
    consumer: Option<Waker>,
    /// How many items wake the consumer.
    at_least: usize,
    producer: Option<Waker>,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: Limit) -> Arc<Self> {
        let inside = Inside {
            items: VecDeque::new(),
            room: limit.usual.min(FIRST),
            consumer: None,
            at_least: 1,
            producer: None,
        };
        Arc::new(Self {
            limit,
            inside: Mutex::new(inside),
            pace: AtomicU64::new(UNKNOWN),
            closed: AtomicBool::new(false),
        })
    }

    /// For the producer: puts an item in, for which there is room; says whether there is room for
    /// another.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut inside = lock(&self.inside);
        inside.items.push_back(item);
        let has_room = inside.items.len() < inside.room;
        let consumer = match inside.items.len() >= inside.at_least {
            true => inside.consumer.take(),
            false => None,
        };
        drop(inside);
        if let Some(waker) = consumer {
            // A panic of the consumer's waker must not reach the producer.
            wake(waker);
        }
        has_room
    }

    /// For an async producer: waits for room.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Cloning is the user's code, which does not run under the lock.
        let waker = cx.waker().clone();
        let mut inside = lock(&self.inside);
        if inside.items.len() < inside.room {
            return Poll::Ready(());
        }
        let before = inside.producer.replace(waker);
        drop(inside);
        drop(before);
        Poll::Pending
    }

    /// For the consumer: swaps its empty batch for all queued items. If there are none, it is woken
    /// as `wait` says.
    pub(crate) fn take(
        &self,
        batch: &mut VecDeque<T>,
        wait: Option<Wait<'_>>,
        in_turns: bool,
    ) -> bool {
        let wait = wait.map(|wait| (wait.waker.clone(), wait.at_least));
        let mut inside = lock(&self.inside);
        let found = !inside.items.is_empty();
        let (before, producer) = if found {
            std::mem::swap(&mut inside.items, batch);
            let limit = match in_turns {
                true => self.limit.in_turns,
                false => self.limit.usual,
            };
            if batch.len() >= inside.room {
                inside.room *= 2;
            }
            inside.room = inside.room.min(limit);
            (inside.consumer.take(), inside.producer.take())
        } else {
            match wait {
                Some((waker, at_least)) => {
                    inside.at_least = at_least;
                    (inside.consumer.replace(waker), None)
                }
                None => (inside.consumer.take(), None),
            }
        };
        drop(inside);
        drop(before);
        if let Some(producer) = producer {
            wake(producer);
        }
        found
    }

    /// For the producer: tells how long so many items took.
    pub(crate) fn took(&self, time: Duration, items: usize) {
        if self.limit.in_turns > self.limit.usual && items > 0 {
            let each = time.as_nanos() / items as u128;
            // Models have no time.
            let each = if cfg!(fourway_shuttle) { 0 } else { each };
            let pace = u64::try_from(each).unwrap_or(UNKNOWN);
            self.pace.store(pace, Ordering::Relaxed);
        }
    }

    fn is_quick(&self) -> bool {
        let pace = self.pace.load(Ordering::Relaxed);
        pace != UNKNOWN && Duration::from_nanos(pace) < QUICK
    }

    /// How many items are worth waking the consumer: so many as take half of its patience.
    pub(crate) fn worth_a_wake(&self) -> usize {
        let pace = self.pace.load(Ordering::Relaxed);
        if pace == UNKNOWN || Duration::from_nanos(pace) >= BRISK {
            return 1;
        }
        let items = (PATIENCE / 2).as_nanos() / u128::from(pace.max(1));
        let half = (self.limit.usual / 2).max(1);
        usize::try_from(items).unwrap_or(half).clamp(1, half)
    }

    /// The producer is not as quick as it was.
    pub(crate) fn forget_pace(&self) {
        self.pace.store(UNKNOWN, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// A made iterator, whose destructor may block: if async code drops it, it goes to the pool. The
/// dropper of the consumer may be async code, if the producer has just given the iterator back or
/// has not restarted.
pub(crate) struct Kept<T: Send + 'static> {
    runtime: AnyRuntime,
    origin: Metadata,
    place: Place,
    iterator: Option<BoxIterator<T>>,
}

impl<T: Send + 'static> Kept<T> {
    pub(crate) fn new(
        runtime: &AnyRuntime,
        origin: Metadata,
        make: impl FnOnce() -> BoxIterator<T>,
    ) -> Self {
        let place = Place::of(runtime);
        Self {
            runtime: runtime.clone(),
            origin,
            iterator: Some(place.call(make)),
            place,
        }
    }

    /// The next item, for sync code, whose thread is the runtime's or not.
    #[inline]
    pub(crate) fn next_in_place(&mut self) -> Option<T> {
        let Self {
            iterator, place, ..
        } = self;
        let iterator = iterator.as_mut()?;
        place.call(|| iterator.next())
    }
}

/// What the body of an iterator finds where sync code reads it: the same current runtime, with its
/// layers, as on the pool (CX-1, the current context is exact). There is one exception, the same as
/// for the body of a call: inside work of a layered runtime, that of the bare runtime within it finds
/// the layered one, and on the pool the bare one. Asked for once: each item enters it.
struct Place {
    runtime: Option<RuntimeId>,
    /// `None` without any: those of work of the runtime that the thread is in go on.
    layers: Option<Layers>,
}

impl Place {
    fn of(runtime: &AnyRuntime) -> Self {
        let (id, layers) = (runtime.runtime_id(), runtime.layers());
        Self {
            layers: (id.is_some() && !layers.are_none()).then_some(layers),
            runtime: id,
        }
    }

    #[inline]
    fn call<R>(&self, f: impl FnOnce() -> R) -> R {
        let _mark = self.runtime.map(implement::enter_runtime);
        match &self.layers {
            None => f(),
            Some(layers) => layers.clone().scope(f),
        }
    }
}

impl<T: Send + 'static> Iterator for Kept<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.iterator.as_mut()?.next()
    }
}

impl<T: Send + 'static> Drop for Kept<T> {
    fn drop(&mut self) {
        let iterator = self.iterator.take();
        match context::current() {
            context::Context::Async => {
                let origin = self.origin.clone();
                let dropping = self.runtime.offload_with(origin, move || drop(iterator));
                dropping.detach();
            }
            _ => self.place.call(|| drop(iterator)),
        }
    }
}

/// How long so many quick items take at most.
fn for_each(items: usize) -> Duration {
    QUICK.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX))
}

/// Reads an iterator until the queue is full or the consumer is gone. Gives the iterator back
/// if there may be more. Calls `read` now and then, with the number of items read since the last
/// call.
pub(crate) fn fill<T, I: Iterator<Item = T>>(
    queue: &Queue<T>,
    mut iterator: I,
    mut read: impl FnMut(usize),
) -> Option<I> {
    let mut items = 0;
    while !queue.is_closed() {
        let item = iterator.next()?;
        let has_room = queue.push(item);
        items += 1;
        if !has_room || items == LOOKED_AT {
            read(items);
            items = 0;
        }
        if !has_room {
            return Some(iterator);
        }
    }
    None
}

/// The consumer's side of read-ahead items.
pub(crate) struct Ahead<T: Send + 'static> {
    runtime: AnyRuntime,
    /// The line of the user whose items these are, which layers and errors name.
    origin: Metadata,
    queue: Arc<Queue<T>>,
    /// Taken out of the queue.
    batch: VecDeque<T>,
    /// When the batch was taken, and how many items it had.
    taken: Option<(Instant, usize)>,
    /// Both sides are quick, and take turns.
    pub(crate) in_turns: bool,
    /// The timer, while the consumer waits for a full queue.
    patience: Option<<AnyRuntime as Timer>::Sleep>,
    producer: Producer<T>,
}

type Closure<T> = <AnyRuntime as Offload>::OffloadTask<Option<Kept<T>>>;

enum Producer<T: Send + 'static> {
    /// A closure on the pool, which gives back what it has not read.
    Closure(Closure<T>),
    /// A task, which waits when the queue is full.
    Task(<AnyRuntime as Spawner>::Task<()>),
    /// The queue was full.
    Paused(Kept<T>),
    /// It has panicked, or the runtime has no thread for it.
    Failed(JoinError),
    Ended,
}

impl<T: Send + 'static> Ahead<T> {
    /// Reads what `make` gives, on the pool; at most `limit` items ahead of the consumer.
    pub(crate) fn of_iterator(
        runtime: &AnyRuntime,
        origin: Metadata,
        limit: Limit,
        make: impl FnOnce() -> Kept<T> + Send + 'static,
    ) -> Self {
        let queue = Queue::new(limit);
        let producer = Producer::Closure(offload(runtime, &origin, &queue, make));
        Self::new(runtime, origin, queue, producer)
    }

    /// Polls a stream in a task.
    pub(crate) fn of_stream(
        runtime: &AnyRuntime,
        origin: Metadata,
        limit: Limit,
        mut stream: BoxStream<T>,
    ) -> Self {
        let queue = Queue::new(limit);
        let to = queue.clone();
        let body = Values::current().scope_future(async move {
            loop {
                std::future::poll_fn(|cx| to.poll_room(cx)).await;
                match std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    Some(item) => to.push(item),
                    None => break,
                };
            }
        });
        let task = runtime.spawn_with(origin.clone(), body);
        Self::new(runtime, origin, queue, Producer::Task(task))
    }

    fn new(
        runtime: &AnyRuntime,
        origin: Metadata,
        queue: Arc<Queue<T>>,
        producer: Producer<T>,
    ) -> Self {
        Self {
            runtime: runtime.clone(),
            origin,
            queue,
            batch: VecDeque::new(),
            taken: None,
            in_turns: false,
            patience: None,
            producer,
        }
    }

    /// The next item. An error says why there is none although there may have been more; no items
    /// follow it.
    #[inline]
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, JoinError>> {
        if let Some(item) = self.batch.pop_front() {
            return Poll::Ready(Ok(Some(item)));
        }
        self.poll_batch(cx)
    }

    /// The first item of the next batch.
    #[inline(never)]
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<T>, JoinError>> {
        if let Some((when, items)) = self.taken.take() {
            let took = self.runtime.now().saturating_duration_since(when);
            self.in_turns = self.queue.is_quick() && took < for_each(items);
        }
        loop {
            // Before the look into the queue: an ended producer has left its last items there.
            let is_running = self.poll_producer(cx).is_pending();
            if self.take(cx, is_running) {
                self.patience = None;
                self.taken = Some((self.runtime.now(), self.batch.len()));
                // So that it reads while the consumer is busy with the batch.
                if !self.in_turns {
                    self.restart();
                }
                return Poll::Ready(Ok(self.batch.pop_front()));
            }
            if is_running {
                return Poll::Pending;
            }
            if self.restart() {
                continue;
            }
            return Poll::Ready(
                match std::mem::replace(&mut self.producer, Producer::Ended) {
                    Producer::Failed(error) => Err(error),
                    _ => Ok(None),
                },
            );
        }
    }

    /// Takes the queued items, or parks at once.
    ///
    /// Spinning for a while was tried, with and without yielding: items gather while the consumer
    /// is being woken. An awake consumer takes only a few at a time, and the queue's lock and the
    /// allocator's move between processors each time.
    fn take(&mut self, cx: &mut Context<'_>, is_running: bool) -> bool {
        let (queue, batch) = (&self.queue, &mut self.batch);
        if !is_running {
            return queue.take(batch, None, self.in_turns);
        }
        let waker = cx.waker();
        let at_least = match self.in_turns {
            // Until the producer pauses.
            true => usize::MAX,
            false => queue.worth_a_wake(),
        };
        if at_least > 1 {
            if queue.take(batch, None, self.in_turns) {
                return true;
            }
            let runtime = &self.runtime;
            let patience = self.patience.get_or_insert_with(|| runtime.sleep(PATIENCE));
            // In models it never fires: a wake-up that is missing must not be hidden.
            if cfg!(fourway_shuttle) || Pin::new(patience).poll(cx).is_pending() {
                return queue.take(batch, Some(Wait { waker, at_least }), self.in_turns);
            }
            // The elapsed timer must not be polled again, and the next batch must not wait for a
            // full queue.
            self.patience = None;
            self.in_turns = false;
        }
        let found = queue.take(batch, Some(Wait { waker, at_least: 1 }), false);
        if at_least > 1 && batch.len() < FIRST {
            // Later items must not be late again because of a pace that is over.
            queue.forget_pace();
        }
        found
    }

    /// Ready if the producer does not run; `producer` then has its result.
    fn poll_producer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.producer = match &mut self.producer {
            Producer::Closure(task) => match ready!(Pin::new(task).poll(cx)) {
                Ok(Some(rest)) => Producer::Paused(rest),
                Ok(None) => Producer::Ended,
                Err(error) => Producer::Failed(error),
            },
            Producer::Task(task) => match ready!(Pin::new(task).poll(cx)) {
                Ok(()) => Producer::Ended,
                Err(error) => Producer::Failed(error),
            },
            Producer::Paused(_) | Producer::Failed(_) | Producer::Ended => return Poll::Ready(()),
        };
        Poll::Ready(())
    }

    /// Restarts the producer, if it has paused. Says whether it had.
    fn restart(&mut self) -> bool {
        match std::mem::replace(&mut self.producer, Producer::Ended) {
            Producer::Paused(rest) => {
                let task = offload(&self.runtime, &self.origin, &self.queue, move || rest);
                self.producer = Producer::Closure(task);
                true
            }
            other => {
                self.producer = other;
                false
            }
        }
    }
}

impl<T: Send + 'static> Drop for Ahead<T> {
    /// A running producer stops at its next item. A producer that has not started never starts
    /// (OF-3, cancelled closures).
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn offload<T: Send + 'static>(
    runtime: &AnyRuntime,
    origin: &Metadata,
    queue: &Arc<Queue<T>>,
    make: impl FnOnce() -> Kept<T> + Send + 'static,
) -> Closure<T> {
    let (queue, values) = (queue.clone(), Values::current());
    let clock = runtime.clone();
    runtime.offload_with(origin.clone(), move || {
        values.scope(|| {
            let kept = make();
            let mut from = clock.now();
            fill(&queue, kept, |items| {
                let now = clock.now();
                queue.took(now.saturating_duration_since(from), items);
                from = now;
            })
        })
    })
}
