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

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use fourway_core::{
    AnyRuntime, JoinError, Offload, Spawner, Task, context, implement::wake, values::Values,
};
use futures_core::Stream;

use crate::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    lock,
};

/// An iterator of any type, which may block.
pub(crate) type BoxIterator<T> = Box<dyn Iterator<Item = T> + Send>;
/// A stream of any type.
pub(crate) type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// How many items fit into a queue at first. Few in models, so that they see it grow.
const FIRST: usize = if cfg!(fourway_shuttle) { 1 } else { 32 };

/// The common state of producer and consumer.
pub(crate) struct Queue<T> {
    /// How many items fit in, at most.
    limit: usize,
    inside: Mutex<Inside<T>>,
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
    producer: Option<Waker>,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let inside = Inside {
            items: VecDeque::new(),
            room: limit.min(FIRST),
            consumer: None,
            producer: None,
        };
        Arc::new(Self {
            limit,
            inside: Mutex::new(inside),
            closed: AtomicBool::new(false),
        })
    }

    /// For the producer: puts an item in, for which there is room; says whether there is room for
    /// another.
    pub(crate) fn push(&self, item: T) -> bool {
        let mut inside = lock(&self.inside);
        inside.items.push_back(item);
        let has_room = inside.items.len() < inside.room;
        let consumer = inside.consumer.take();
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

    /// For the consumer: swaps its empty batch for all queued items. If there are none and it
    /// leaves a waker, the next item wakes it.
    pub(crate) fn take(&self, batch: &mut VecDeque<T>, waker: Option<&Waker>) -> bool {
        let waker = waker.cloned();
        let mut inside = lock(&self.inside);
        let found = !inside.items.is_empty();
        let (before, producer) = if found {
            std::mem::swap(&mut inside.items, batch);
            if batch.len() >= inside.room {
                inside.room = (2 * inside.room).min(self.limit);
            }
            (inside.consumer.take(), inside.producer.take())
        } else {
            match waker {
                Some(waker) => (inside.consumer.replace(waker), None),
                None => (None, None),
            }
        };
        drop(inside);
        drop(before);
        if let Some(producer) = producer {
            wake(producer);
        }
        found
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

/// Reads an iterator until the queue is full or the consumer is gone. Gives the iterator back
/// if there may be more.
pub(crate) fn fill<T, I: Iterator<Item = T>>(queue: &Queue<T>, mut iterator: I) -> Option<I> {
    while !queue.is_closed() {
        let item = iterator.next()?;
        if !queue.push(item) {
            return Some(iterator);
        }
    }
    None
}

/// The consumer's side of read-ahead items.
pub(crate) struct Ahead<T: Send + 'static> {
    runtime: AnyRuntime,
    queue: Arc<Queue<T>>,
    /// Taken out of the queue.
    batch: VecDeque<T>,
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
        limit: usize,
        make: impl FnOnce() -> Kept<T> + Send + 'static,
    ) -> Self {
        let queue = Queue::new(half(limit));
        let producer = Producer::Closure(offload(runtime, &queue, make));
        Self::new(runtime, queue, producer)
    }

    /// Polls a stream in a task.
    pub(crate) fn of_stream(runtime: &AnyRuntime, limit: usize, mut stream: BoxStream<T>) -> Self {
        let queue = Queue::new(half(limit));
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
        loop {
            // Before the look into the queue: an ended producer has left its last items there.
            let is_running = self.poll_producer(cx).is_pending();
            // Without items it parks at once. Spinning for a while was tried, with and without
            // yielding: items gather while the consumer is being woken. An awake consumer takes
            // only a few at a time, and the queue's lock and the allocator's move between
            // processors each time.
            let waker = is_running.then(|| cx.waker());
            if self.queue.take(&mut self.batch, waker) {
                // So that it reads while the consumer is busy with the batch.
                self.restart();
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
    runtime.offload(move || values.scope(|| fill(&queue, make())))
}

/// The consumer has half of what is read ahead in its hands, and the queue the other half.
fn half(limit: usize) -> usize {
    (limit / 2).max(1)
}
