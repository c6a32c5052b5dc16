//! Reading ahead: a queue between one who produces items and one who consumes them, each on a
//! thread of its own.
//!
//! A producer that blocks is a closure on the pool. When the queue is full it does not wait
//! there, as it would hold its slot for as long as the consumer likes: it returns, and gives its
//! iterator back as the closure's result. The consumer takes whatever is in the queue at once,
//! and if the producer has returned, starts it again before it turns to the items; so both are
//! busy at the same time, and a hand-over is paid for by half a queue of items.
//!
//! Each item goes into the queue as soon as it is there, and is not kept back for a batch: the
//! next one may take the producer an hour.
//!
//! Items that take next to nothing on either side, such as the lines of a file, are an exception.
//! If both are busy at the same time, what they share goes from one processor to the other for
//! each item: the queue's lock, and the allocator's, for one allocates what the other frees. That
//! costs several times what an item does. So they take turns: the producer fills a larger queue
//! while the consumer sleeps, until it is full or [`PATIENCE`] is over, and is started again when
//! all of it is consumed.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use fourway_core::{
    AnyRuntime, JoinError, Offload, Spawner, Task, Timer, context, implement::wake, values::Values,
};
use futures_core::Stream;

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    lock,
};

/// An iterator of whatever type, that may block.
pub(crate) type BoxIterator<T> = Box<dyn Iterator<Item = T> + Send>;
/// A stream of whatever type.
pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// How many items fit into a queue at first. Few in models, so that they see it grow.
const FIRST: usize = if cfg!(fourway_shuttle) { 1 } else { 32 };

/// What an item takes at most, on each side, where both take turns; ten times as much in code that
/// is not optimized, so that tests see it too. Models know no time.
const QUICK: Duration = if cfg!(fourway_shuttle) {
    Duration::ZERO
} else if cfg!(debug_assertions) {
    Duration::from_nanos(3_000)
} else {
    Duration::from_nanos(300)
};

/// After how many items a producer that does not pause looks at the clock.
const LOOKED_AT: usize = 512;

/// For how long an item may be in the queue while the consumer waits for it to be full.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many items are read ahead, at most.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    usual: usize,
    /// Where both sides take turns: only if it is more.
    in_turns: usize,
}

impl Limit {
    /// The consumer has half of what is read ahead in its hands, and the queue the other half.
    pub(crate) fn new(usual: usize, in_turns: usize) -> Self {
        let half = |limit: usize| (limit / 2).max(1);
        Self {
            usual: half(usual),
            in_turns: half(in_turns),
        }
    }
}

/// How a consumer waits.
pub(crate) struct Wait<'a> {
    pub(crate) waker: &'a Waker,
    /// Not for the next item, but until the producer pauses or ends, which wakes it by itself.
    pub(crate) until_full: bool,
}

/// The common state of producer and consumer.
pub(crate) struct Queue<T> {
    /// How many items fit in, at most.
    limit: Limit,
    inside: Mutex<Inside<T>>,
    /// The producer was, when it was last looked at. Pairs with nothing: it is a hint.
    is_quick: AtomicBool,
    /// The consumer is gone. Pairs with nothing: whoever sees it stops, sooner or later, and
    /// looks at nothing else.
    closed: AtomicBool,
}

struct Inside<T> {
    items: VecDeque<T>,
    /// How many fit in now: few at first, and twice as many each time that all of it was used. So
    /// no more is read ahead than in proportion to what has been taken, of what may be large, or
    /// wanted no longer.
    room: usize,
    consumer: Option<Waker>,
    producer: Option<Waker>,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: Limit) -> Arc<Self> {
        let inside = Inside {
            items: VecDeque::new(),
            room: limit.usual.min(FIRST),
            consumer: None,
            producer: None,
        };
        Arc::new(Self {
            limit,
            inside: Mutex::new(inside),
            is_quick: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    /// For the producer: puts an item in; says whether there is room for another. There was
    /// for this one.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut inside = lock(&self.inside);
        inside.items.push_back(item);
        let has_room = inside.items.len() < inside.room;
        let consumer = inside.consumer.take();
        drop(inside);
        if let Some(waker) = consumer {
            // A consumer's waker that panics is not the producer's affair.
            wake(waker);
        }
        has_room
    }

    /// For a producer that is async: waits for room.
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

    /// For the consumer: swaps its empty batch for all that is there. Without any, it is woken
    /// as it says.
    pub(crate) fn take(
        &self,
        batch: &mut VecDeque<T>,
        wait: Option<Wait<'_>>,
        in_turns: bool,
    ) -> bool {
        let waker = wait.and_then(|wait| (!wait.until_full).then(|| wait.waker.clone()));
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
            match waker {
                Some(waker) => (inside.consumer.replace(waker), None),
                // Nor by one that it left before.
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

    /// For the producer: so many items took so long.
    fn took(&self, time: Duration, items: usize) {
        let is_quick = self.limit.in_turns > self.limit.usual && time < for_each(items);
        self.is_quick.store(is_quick, Ordering::Relaxed);
    }

    fn is_quick(&self) -> bool {
        self.is_quick.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// An iterator that has been made, and whose destructor may block: where async code drops it, it
/// goes to the pool. That may be whoever drops the consumer, if the producer has just given it
/// back, or has not started again.
pub(crate) struct Kept<T: Send + 'static> {
    runtime: AnyRuntime,
    iterator: Option<BoxIterator<T>>,
}

impl<T: Send + 'static> Kept<T> {
    pub(crate) fn new(runtime: &AnyRuntime, iterator: BoxIterator<T>) -> Self {
        Self {
            runtime: runtime.clone(),
            iterator: Some(iterator),
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
            context::Context::Async => self.runtime.offload(move || drop(iterator)).detach(),
            _ => drop(iterator),
        }
    }
}

/// What so many items take at most.
fn for_each(items: usize) -> Duration {
    QUICK.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX))
}

/// Reads an iterator until the queue is full, or nobody wants more. Gives the iterator back
/// if there may be more. Says now and then how many it has read since it last said so.
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

/// Items that are read ahead, as the consumer has them.
pub(crate) struct Ahead<T: Send + 'static> {
    runtime: AnyRuntime,
    queue: Arc<Queue<T>>,
    /// Taken out of the queue.
    batch: VecDeque<T>,
    /// When, and how many.
    taken: Option<(Instant, usize)>,
    /// Both sides are quick, and take turns.
    in_turns: bool,
    /// While it waits for a full queue.
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
        limit: Limit,
        make: impl FnOnce() -> Kept<T> + Send + 'static,
    ) -> Self {
        let queue = Queue::new(limit);
        let producer = Producer::Closure(offload(runtime, &queue, make));
        Self::new(runtime, queue, producer)
    }

    /// Polls a stream in a task.
    pub(crate) fn of_stream(runtime: &AnyRuntime, limit: Limit, mut stream: BoxStream<T>) -> Self {
        let queue = Queue::new(limit);
        let to = queue.clone();
        let task = runtime.spawn(Values::current().scope_future(async move {
            loop {
                std::future::poll_fn(|cx| to.poll_room(cx)).await;
                match std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    Some(item) => to.push(item),
                    None => break,
                };
            }
        }));
        Self::new(runtime, queue, Producer::Task(task))
    }

    fn new(runtime: &AnyRuntime, queue: Arc<Queue<T>>, producer: Producer<T>) -> Self {
        Self {
            runtime: runtime.clone(),
            queue,
            batch: VecDeque::new(),
            taken: None,
            in_turns: false,
            patience: None,
            producer,
        }
    }

    /// The next item. An error says why there is none, though there may have been more; after
    /// it there are none.
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
            // Before the look into the queue: what an ended producer has left is in there.
            let is_running = self.poll_producer(cx).is_pending();
            if self.take(cx, is_running) {
                self.patience = None;
                self.taken = Some((self.runtime.now(), self.batch.len()));
                // So that it reads while the consumer is busy with these.
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

    /// Takes what is in the queue, or falls asleep at once.
    ///
    /// To look again for a while was tried, with and without letting others run in between: items
    /// gather while it is being woken, and a consumer that is awake and takes a few at a time has the
    /// queue's lock, and the allocator's, go from one processor to the other for each of these.
    fn take(&mut self, cx: &mut Context<'_>, is_running: bool) -> bool {
        let (queue, batch) = (&self.queue, &mut self.batch);
        if !is_running {
            return queue.take(batch, None, self.in_turns);
        }
        let mut until_full = false;
        if self.in_turns {
            if queue.take(batch, None, true) {
                return true;
            }
            let runtime = &self.runtime;
            let patience = self.patience.get_or_insert_with(|| runtime.sleep(PATIENCE));
            until_full = Pin::new(patience).poll(cx).is_pending();
        }
        if !until_full {
            // It is not polled again, and the next item is not waited for again.
            self.patience = None;
            self.in_turns = false;
        }
        let waker = cx.waker();
        queue.take(batch, Some(Wait { waker, until_full }), self.in_turns)
    }

    /// Ready if it does not run, and then `producer` says what came of it.
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

    /// Goes on, if it was paused.
    fn restart(&mut self) -> bool {
        match std::mem::replace(&mut self.producer, Producer::Ended) {
            Producer::Paused(rest) => {
                let task = offload(&self.runtime, &self.queue, move || rest);
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
    /// A producer that runs stops at its next item, and one that has not started never does
    /// (OF-3).
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn offload<T: Send + 'static>(
    runtime: &AnyRuntime,
    queue: &Arc<Queue<T>>,
    make: impl FnOnce() -> Kept<T> + Send + 'static,
) -> Closure<T> {
    let (queue, values) = (queue.clone(), Values::current());
    let clock = runtime.clone();
    runtime.offload(move || {
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
