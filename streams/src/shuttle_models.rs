//! Models: a producer and a consumer of a queue, under many schedules. See
//! `fourway_core::sync` for how, and `FOURWAY_MODEL_ITERATIONS`.
//!
//! After a lost wake-up the consumer waits for ever, which the checker reports as a deadlock.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_core::{
    AnyRuntime, BoxCall, Call, Spawner, Task,
    sync::{check, thread},
    task::Metadata,
};

use crate::{
    Emitter, Items, Stream, Streams,
    ahead::{Ahead, Kept, Limit, Queue, Wait, fill},
    generate,
};

/// A thread for each task.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

fn runtime() -> AnyRuntime {
    AnyRuntime::new(Adapter::new(ThreadEach))
}

fn queue<T>(items: usize) -> Arc<Queue<T>> {
    Queue::new(Limit::new(2 * items, 2 * items))
}

/// A wait for the next item.
fn wait(waker: &Waker) -> Option<Wait<'_>> {
    Some(Wait { waker, at_least: 1 })
}

/// The next items of a queue, if need be after a wake-up.
fn some<T>(queue: &Queue<T>, batch: &mut VecDeque<T>) {
    fourway_adapt::run(poll_fn(|cx| {
        match queue.take(batch, wait(cx.waker()), false) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
}

/// The consumer falls asleep while an item comes: it is woken, and has all items in order,
/// never more of them at once than fit in.
#[test]
fn shuttle_an_item_comes_while_the_consumer_falls_asleep() {
    check(|| {
        let queue = queue(2);
        let producer = queue.clone();
        let thread = thread::spawn(move || fill(&producer, 0..2, |_| {}));
        let (mut batch, mut found) = (VecDeque::new(), Vec::new());
        let mut thread = Some(thread);
        while found.len() < 2 {
            some(&queue, &mut batch);
            assert!(batch.len() <= 2);
            found.extend(batch.drain(..));
            if found.len() == 1 {
                // If the queue was full, the iterator has been given back with its remaining items.
                if let Some(rest) = thread.take().unwrap().join().unwrap() {
                    thread = Some(thread::spawn({
                        let producer = queue.clone();
                        move || fill(&producer, rest, |_| {})
                    }));
                }
            }
        }
        assert_eq!(found, [0, 1]);
    });
}

/// The consumer falls asleep until there are two items, which come one by one meanwhile.
#[test]
fn shuttle_several_items_come_while_the_consumer_falls_asleep() {
    check(|| {
        let queue = queue(4);
        let producer = queue.clone();
        let thread = thread::spawn(move || {
            for item in 0..2 {
                producer.push(item);
            }
        });
        let (mut batch, mut found) = (VecDeque::new(), Vec::new());
        while found.len() < 2 {
            let at_least = 2 - found.len();
            fourway_adapt::run(poll_fn(|cx| {
                let waker = cx.waker();
                match queue.take(&mut batch, Some(Wait { waker, at_least }), false) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }));
            found.extend(batch.drain(..));
        }
        assert_eq!(found, [0, 1]);
        thread.join().unwrap();
    });
}

/// An async producer waits for room while the consumer makes some.
#[test]
fn shuttle_room_comes_while_the_producer_falls_asleep() {
    check(|| {
        let queue = queue(1);
        let producer = queue.clone();
        let thread = thread::spawn(move || {
            for item in 0..3 {
                fourway_adapt::run(poll_fn(|cx| producer.poll_room(cx)));
                producer.push(item);
            }
        });
        let (mut batch, mut found) = (VecDeque::new(), Vec::new());
        while found.len() < 3 {
            some(&queue, &mut batch);
            assert_eq!(batch.len(), 1);
            found.extend(batch.drain(..));
        }
        assert_eq!(found, [0, 1, 2]);
        thread.join().unwrap();
    });
}

/// The consumer goes while the producer reads: it stops, if it was not full before, and the iterator
/// is dropped once.
#[test]
fn shuttle_the_consumer_goes_while_the_producer_reads() {
    check(|| {
        let alive = Arc::new(());
        let held = alive.clone();
        let queue = queue(4);
        let producer = queue.clone();
        let thread =
            thread::spawn(move || fill(&producer, (0..3).map(move |_| held.clone()), |_| {}));
        let mut batch = VecDeque::new();
        queue.take(&mut batch, wait(Waker::noop()), false);
        queue.close();
        drop(thread.join().unwrap());
        drop((queue, batch));
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

/// All of it: the producer is paused, given back and started again, in any order with the
/// consumer's looks. Nothing is lost or read twice.
#[test]
fn shuttle_pauses_and_restarts() {
    check(|| {
        let rt = runtime();
        let items: Items<u32> = rt.stream_blocking(|| 0..4);
        let mut items = items.read_ahead(2);
        let found = fourway_adapt::run(async move {
            let mut found = Vec::new();
            while let Some(item) = items.next().await {
                found.push(item);
            }
            found
        });
        assert_eq!(found, [0, 1, 2, 3]);
    });
}

/// There is room for more each time that all of it was used, and never more than the limit; nothing
/// is lost or read twice.
#[test]
fn shuttle_room_grows() {
    check(|| {
        let queue = queue(4);
        let producer = queue.clone();
        let thread = thread::spawn(move || {
            let mut rest = 0..6;
            while let Some(left) = fill(&producer, rest, |_| {}) {
                rest = left;
                fourway_adapt::run(poll_fn(|cx| producer.poll_room(cx)));
            }
        });
        let (mut batch, mut found, mut room) = (VecDeque::new(), Vec::new(), 1);
        while found.len() < 6 {
            some(&queue, &mut batch);
            assert!(batch.len() <= room);
            if batch.len() == room {
                room = (2 * room).min(4);
            }
            found.extend(batch.drain(..));
        }
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
        thread.join().unwrap();
    });
}

/// The same with room that grows.
#[test]
fn shuttle_pauses_and_restarts_with_room_that_grows() {
    check(|| {
        let rt = runtime();
        let items: Items<u32> = rt.stream_blocking(|| 0..5);
        let mut items = items.read_ahead(8);
        let found = fourway_adapt::run(async move {
            let mut found = Vec::new();
            while let Some(item) = items.next().await {
                found.push(item);
            }
            found
        });
        assert_eq!(found, [0, 1, 2, 3, 4]);
    });
}

/// The sides take turns: the consumer waits until the queue is full, or until the end.
#[test]
fn shuttle_pauses_and_restarts_in_turns() {
    check(|| {
        let mut ahead = in_turns(6);
        let (mut found, mut in_turns) = (Vec::new(), 0);
        fourway_adapt::run(poll_fn(|cx| {
            while let Some(item) = ready!(ahead.poll_next(cx)).unwrap() {
                found.push(item);
                in_turns += usize::from(ahead.in_turns);
            }
            Poll::Ready(())
        }));
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
        assert!(in_turns > 0);
    });
}

/// The consumer goes after any number of items, in the middle of its wait for the next one.
#[test]
fn shuttle_the_consumer_goes_in_turns() {
    for taken in 0..=4 {
        check(move || {
            let mut ahead = in_turns(4);
            let mut left = taken;
            fourway_adapt::run(poll_fn(|cx| {
                while left > 0 {
                    assert!(ready!(ahead.poll_next(cx)).unwrap().is_some());
                    left -= 1;
                }
                Poll::Ready(())
            }));
            let _ = ahead.poll_next(&mut Context::from_waker(Waker::noop()));
            drop(ahead);
        });
    }
}

/// Numbers that are read ahead, where quick sides take turns.
fn in_turns(items: u32) -> Ahead<u32> {
    let rt = runtime();
    let inner = rt.clone();
    Ahead::of_iterator(&rt, Metadata::caller(), Limit::new(2, 4), move || {
        Kept::new(&inner, Metadata::caller(), || Box::new(0..items))
    })
}

/// The reader falls asleep while its helpers end.
#[test]
fn shuttle_items_are_mapped_by_several() {
    check(|| {
        let mapped = mapped_by_three(0..3, |n: i32| n * 2);
        assert_eq!(mapped.wait(), [0, 2, 4]);
    });
}

#[test]
fn shuttle_a_map_panics_while_others_are_mapped() {
    check(|| {
        let alive = Arc::new(());
        let held = alive.clone();
        let items = (0..3).map(move |n| (n, held.clone()));
        let mapped = mapped_by_three(items, |(n, _held)| assert_ne!(n, 1));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mapped.wait()));
        assert!(panic.is_err());
        assert_eq!(Arc::strong_count(&alive), 1, "an item was not dropped");
    });
}

fn mapped_by_three<T: Send + 'static, U: Send + 'static>(
    items: impl Iterator<Item = T> + Send + 'static,
    map: fn(T) -> U,
) -> BoxCall<Vec<U>> {
    runtime().stream_blocking(|| items).par_map(3, map)
}

/// The emitter is in a task, whose items and whose end come while the stream falls asleep.
#[test]
fn shuttle_another_task_sends() {
    check(|| {
        let rt = runtime();
        let again = rt.clone();
        let mut items = rt.stream_with(async move |mut to| {
            let sends = again.spawn(async move {
                for item in 0..2 {
                    to.send(item).await;
                }
            });
            sends.detach();
        });
        let found = fourway_adapt::run(async move {
            let mut found = Vec::new();
            while let Some(item) = items.next().await {
                found.push(item);
            }
            found
        });
        assert_eq!(found, [0, 1]);
    });
}

/// A stream that has given its emitter away.
fn stream_and_emitter<T: Send + 'static>() -> (impl Stream<Item = T> + Send + Unpin, Emitter<T>) {
    let place = Arc::new(std::sync::Mutex::new(None));
    let to = place.clone();
    let mut stream = Box::pin(generate(async move |emitter| {
        *to.lock().unwrap() = Some(emitter);
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stream.as_mut().poll_next(&mut cx).is_pending());
    let emitter = place.lock().unwrap().take().unwrap();
    (stream, emitter)
}

/// The stream is dropped while a task falls asleep until then, and drops another wait for it.
#[test]
fn shuttle_the_stream_goes_while_a_task_waits_for_that() {
    check(|| {
        let (stream, emitter) = stream_and_emitter::<u32>();
        let waits = thread::spawn(move || {
            let mut other = Box::pin(emitter.closed());
            let _ = other.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let closed = emitter.closed();
            drop(other);
            fourway_adapt::run(closed);
            assert!(emitter.is_closed());
        });
        drop(stream);
        waits.join().unwrap();
    });
}

/// The stream is dropped while a task sends: the item is dropped once, whoever has it.
#[test]
fn shuttle_the_stream_goes_while_a_task_sends() {
    check(|| {
        let alive = Arc::new(());
        let item = alive.clone();
        let (stream, mut emitter) = stream_and_emitter();
        let sends = thread::spawn(move || {
            let mut sent = Box::pin(emitter.send(item));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(sent.as_mut().poll(&mut cx).is_pending());
            drop(sent);
            emitter
        });
        drop(stream);
        let emitter = sends.join().unwrap();
        assert_eq!(Arc::strong_count(&alive), 1);
        drop(emitter);
    });
}

/// A stream in a task, and a consumer that goes half-way.
#[test]
fn shuttle_a_task_is_dropped_half_way() {
    check(|| {
        let rt = runtime();
        let stream = generate(async |mut to| {
            for item in 0..3 {
                to.send(item).await;
            }
        });
        let mut items = rt.stream(stream).read_ahead(2).spawn();
        let found = fourway_adapt::run(async move { items.next().await });
        assert_eq!(found, Some(0));
    });
}
