//! Senders of generators: beside their stream, in tasks, and after panics
//! (ST-1, each item once, at its place).

mod common;

use std::{
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{self, Poll, Wake, Waker},
    time::Duration,
};

use common::rest;
use fourway_core::{BlockOn, Spawner, Task, Timer};
use fourway_streams::{Emitter, Stream, Streams, generate};
use fourway_testing::{AGES, each, eventually, poll_once};

/// Passes wakes on, and polls what is inside only when it has been woken.
struct Between {
    woken: AtomicBool,
    outside: Mutex<Option<Waker>>,
}

impl Wake for Between {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let outside = self.outside.lock().unwrap().take();
        outside.into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_sender_may_be_polled_by_something_in_between() {
    each(|rt| {
        let items = rt.stream_with(async |mut to| {
            let between = Arc::new(Between {
                woken: AtomicBool::new(true),
                outside: Mutex::new(None),
            });
            let waker = Waker::from(between.clone());
            let mut inside = Box::pin(async {
                for number in 0..5 {
                    to.send(number).await;
                }
            });
            poll_fn(move |cx| {
                *between.outside.lock().unwrap() = Some(cx.waker().clone());
                match between.woken.swap(false, Ordering::SeqCst) {
                    true => inside.as_mut().poll(&mut task::Context::from_waker(&waker)),
                    false => Poll::Pending,
                }
            })
            .await;
        });
        let all = rt.timeout(AGES, async { items.collect().await });
        assert_eq!(
            rt.block_on(all).expect("a sender was forgotten"),
            [0, 1, 2, 3, 4]
        );
    });
}

/// Notes that it was woken.
#[derive(Default)]
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The task waits for its sender after the stream has given the item, and does not poll the stream
/// again.
#[test]
fn a_sender_beside_its_stream_in_one_task_is_woken() {
    for ends in [false, true] {
        let place = Arc::new(Mutex::new(None));
        let to = place.clone();
        let mut stream = Box::pin(generate(async move |emitter: Emitter<u32>| {
            *to.lock().unwrap() = Some(emitter);
            if !ends {
                pending::<()>().await;
            }
        }));
        let noted = Arc::new(Noted::default());
        let waker = Waker::from(noted.clone());
        let mut cx = task::Context::from_waker(&waker);
        assert!(stream.as_mut().poll_next(&mut cx).is_pending());
        let mut emitter = place.lock().unwrap().take().unwrap();
        for item in 0..3 {
            let mut sent = Box::pin(emitter.send(item));
            assert!(sent.as_mut().poll(&mut cx).is_pending());
            noted.0.store(false, Ordering::SeqCst);
            assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(item)));
            assert!(noted.0.load(Ordering::SeqCst), "{ends}, {item}");
            assert!(sent.as_mut().poll(&mut cx).is_ready());
        }
    }
}

/// The next poll of the stream polls it.
#[test]
fn a_sender_in_the_body_is_not_woken() {
    let noted = Arc::new(Noted::default());
    let waker = Waker::from(noted.clone());
    let mut cx = task::Context::from_waker(&waker);
    let mut stream = Box::pin(generate(async |mut to| {
        for item in 0..3 {
            to.send(item).await;
        }
    }));
    for item in 0..3 {
        assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(item)));
    }
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(None));
    assert!(!noted.0.load(Ordering::SeqCst));
}

/// A panic of the body ends the poll in which its senders need no wake.
#[test]
fn a_sender_beside_its_stream_is_woken_after_a_panic_of_the_body() {
    let place = Arc::new(Mutex::new(None));
    let to = place.clone();
    let mut stream = Box::pin(generate(async move |emitter: Emitter<u32>| {
        *to.lock().unwrap() = Some(emitter);
        std::panic::panic_any("the body");
    }));
    let noted = Arc::new(Noted::default());
    let waker = Waker::from(noted.clone());
    let mut cx = task::Context::from_waker(&waker);
    let polled = catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(&mut cx)));
    assert!(polled.is_err());
    let mut emitter = place.lock().unwrap().take().unwrap();
    let mut sent = Box::pin(emitter.send(1));
    assert!(sent.as_mut().poll(&mut cx).is_pending());
    noted.0.store(false, Ordering::SeqCst);
    assert_eq!(stream.as_mut().poll_next(&mut cx), Poll::Ready(Some(1)));
    assert!(noted.0.load(Ordering::SeqCst));
}

/// The body has moved its emitter to a task: each item wakes the stream, and so does the end, whether
/// the body waits for the task or not.
#[test]
fn a_task_may_send_in_place_of_the_body() {
    each(|rt| {
        for awaits in [false, true] {
            let again = rt.clone();
            let mut items = rt.stream_with(async move |mut to| {
                let pauses = again.clone();
                let task = again.spawn(async move {
                    for number in 0..3 {
                        pauses.sleep(Duration::from_millis(1)).await;
                        to.send(number).await;
                    }
                });
                match awaits {
                    true => task.await.unwrap(),
                    false => task.detach(),
                }
            });
            let all = rt.timeout(AGES, rest(&mut items));
            let all = rt.block_on(all).expect("the stream is woken");
            assert_eq!(all, [0, 1, 2]);
        }
    });
}

/// A task that has the emitter panics: that is no end of the items.
#[test]
fn a_panic_of_a_task_that_sends_comes_at_its_place() {
    each(|rt| {
        let items = |detaches: bool| {
            let again = rt.clone();
            rt.stream_with(async move |mut to| {
                let task = again.spawn(async move {
                    for number in 0..3_u32 {
                        to.send(number).await;
                    }
                    // Its item is not taken before the panic.
                    assert!(poll_once(Box::pin(to.send(3)).as_mut()).await.is_pending());
                    std::panic::panic_any("of the task");
                });
                match detaches {
                    true => task.detach(),
                    false => task.await.unwrap_or_else(|error| error.resume_unwind()),
                }
            })
        };
        let ways = || {
            [
                (
                    items(true),
                    "the code that sent this stream's items has panicked",
                ),
                (
                    items(true).spawn(),
                    "the code that sent this stream's items has panicked",
                ),
                (items(false), "of the task"),
                (items(false).spawn(), "of the task"),
            ]
        };
        for (mut items, expected) in ways() {
            assert_eq!(items.iter().take(4).collect::<Vec<_>>(), [0, 1, 2, 3]);
            let next = AssertUnwindSafe(|| items.iter().next());
            let panic = catch_unwind(next).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&expected));
            assert_eq!(items.iter().next(), None);
        }
        for (mut items, expected) in ways() {
            let all = rt.timeout(AGES, async {
                for number in 0..4 {
                    assert_eq!(items.next().await, Some(number));
                }
            });
            rt.block_on(all).expect("the stream is woken");
            let next = AssertUnwindSafe(|| rt.block_on(rt.timeout(AGES, items.next())));
            let panic = catch_unwind(next).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&expected));
            assert_eq!(rt.block_on(items.next()), None);
        }
    });
}

/// The panic is the stream's once; a stream that is polled again has ended. A task that handles its
/// panic, and then drops the emitter, has ended.
#[test]
fn a_panic_that_is_handled_before_the_emitter_is_dropped_is_none() {
    let polled = |panics_with_it: bool| {
        let mut stream = Box::pin(generate(async move |to| {
            let mut to = Some(to);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _held = match panics_with_it {
                    true => to.take(),
                    false => None,
                };
                std::panic::panic_any("handled");
            }));
            assert!(caught.is_err());
            drop::<Option<Emitter<u32>>>(to);
        }));
        let mut poll = move || {
            let mut cx = task::Context::from_waker(Waker::noop());
            catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(&mut cx)))
        };
        (poll().is_err(), poll().unwrap())
    };
    assert_eq!(polled(false), (false, Poll::Ready(None)));
    assert_eq!(polled(true), (true, Poll::Ready(None)));
}

/// A detached task that has the emitter is told when the stream is dropped, whatever it does.
#[test]
fn a_task_that_sends_may_wait_for_the_end_of_the_stream() {
    each(|rt| {
        for spawned in [false, true] {
            let (again, spawner) = (rt.clone(), rt.clone());
            let (tell, told) = mpsc::channel();
            let alive = Arc::new(());
            let item = alive.clone();
            let items = rt.stream_with(async move |mut to| {
                let task = async move {
                    assert!(!to.is_closed());
                    let mut closed = [to.closed(), to.closed(), to.closed()].map(Box::pin);
                    for closed in &mut closed {
                        assert!(poll_once(closed.as_mut()).await.is_pending());
                    }
                    let [first, dropped, last] = closed;
                    drop(dropped);
                    // Polled again, by another waker.
                    let first = again.spawn(first);
                    // Also if the stream is dropped before this goes on.
                    to.send(item.clone()).await;
                    {
                        let mut sent = Box::pin(to.send(item));
                        assert!(poll_once(sent.as_mut()).await.is_pending());
                        last.await;
                    }
                    first.await.unwrap();
                    assert!(to.is_closed());
                    to.closed().await;
                    tell.send(to).unwrap();
                };
                spawner.spawn(task).detach();
            });
            let mut items = match spawned {
                true => items.spawn(),
                false => items,
            };
            drop(rt.block_on(items.next()));
            drop(items);
            let to = told.recv_timeout(AGES).expect("it is told");
            // The emitter keeps no item that nobody will take.
            eventually("the items are dropped", || Arc::strong_count(&alive) == 1);
            drop(to);
        }
    });
}

/// The stream is dropped while such a task waits: the task, whose handle the body has, is cancelled.
#[test]
fn a_task_that_sends_ends_with_its_body() {
    each(|rt| {
        let again = rt.clone();
        let (alive, dropped) = mpsc::channel::<()>();
        let mut items = rt.stream_with(async move |mut to| {
            let task = again.spawn(async move {
                let _alive = alive;
                loop {
                    to.send(1_u32).await;
                }
            });
            task.await.unwrap();
        });
        assert_eq!(rt.block_on(items.next()), Some(1));
        drop(items);
        assert_eq!(
            dropped.recv_timeout(AGES),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    });
}

#[test]
fn what_a_dropped_send_has_sent_is_not_lost() {
    each(|rt| {
        let items = || {
            rt.stream_with(async |mut to| {
                // Not polled: not sent.
                drop(to.send(0));
                for number in 1..4 {
                    let mut sent = Box::pin(to.send(number));
                    assert!(poll_once(sent.as_mut()).await.is_pending());
                }
                // It waits until they and its own item are taken.
                to.send(4).await;
                for number in 5..7 {
                    let mut sent = Box::pin(to.send(number));
                    assert!(poll_once(sent.as_mut()).await.is_pending());
                }
            })
        };
        for items in [items(), items().spawn()] {
            let all = rt.timeout(AGES, async { items.collect().await });
            assert_eq!(
                rt.block_on(all).expect("a sender was forgotten"),
                [1, 2, 3, 4, 5, 6]
            );
        }
    });
}
