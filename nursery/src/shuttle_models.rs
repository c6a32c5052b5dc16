//! Models: small concurrent programs on a nursery, run under many schedules. See
//! `fourway_core::sync` for how, and `FOURWAY_MODEL_ITERATIONS`.
//!
//! A model fails if something panics, if an assertion does not hold, or if all threads wait:
//! that is what a nursery that never ends, or a place that is lost, looks like.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        // Not part of what is modelled.
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_core::{
    cancel,
    sync::{Mutex, check, thread},
};

use crate::{Nursery, NurseryError, Started, nursery, scope, shield};

/// A thread for each task.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

type Ended<T> = Result<T, NurseryError<&'static str>>;
type Child = Result<(), &'static str>;

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts while the returned value is there.
    fn child(&self) -> Alive {
        self.add();
        Alive(self.clone())
    }
}

struct Alive(Count);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A future that is ready when some thread says so.
#[derive(Clone, Default)]
struct Event(Arc<Mutex<(bool, Option<Waker>)>>);

impl Event {
    fn set(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            let before = state.1.replace(waker);
            drop(state);
            drop(before);
            Poll::Pending
        })
        .await;
    }
}

/// A thread spawns into a nursery while that closes: the child is refused, or has run when the
/// nursery returns; never both, and never neither.
#[test]
fn shuttle_spawn_while_it_closes() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let (ran, accepted) = (Count::default(), Count::default());
        let mut outside = None;
        let result: Ended<()> = fourway_adapt::run(nursery(&rt, async |n| {
            let (handle, count, accepted) = (n.handle(), ran.clone(), accepted.clone());
            outside = Some(thread::spawn(move || {
                let child = async move {
                    count.add();
                    Child::Ok(())
                };
                match handle.spawn(child) {
                    Ok(_) => accepted.add(),
                    Err(refused) => assert!(refused.is_closed()),
                }
            }));
            n.spawn(async { Child::Ok(()) });
            Ok(())
        }));
        assert!(result.is_ok());
        let at_the_end = ran.get();
        outside.take().unwrap().join().unwrap();
        assert_eq!((ran.get(), accepted.get()), (at_the_end, at_the_end));
    });
}

/// Two callers wait for the only place, and one gives up at any moment: the other gets it.
#[test]
fn shuttle_a_waiter_that_gives_up_passes_its_place_on() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let ran = Count::default();
        let mut others = Vec::new();
        let result: Ended<()> = fourway_adapt::run(Nursery::builder(&rt).limit(1).run(async |n| {
            let place = n.reserve().await.unwrap();
            let done = Event::default();
            for gives_up in [true, false] {
                let (handle, count, done) = (n.handle(), ran.clone(), done.clone());
                others.push(thread::spawn(move || {
                    if gives_up {
                        let mut waiting = pin!(handle.reserve());
                        fourway_adapt::run(poll_fn(|cx| {
                            Poll::Ready(waiting.as_mut().poll(cx).is_ready())
                        }));
                    } else {
                        let place = fourway_adapt::run(handle.reserve()).unwrap();
                        let child = async move {
                            count.add();
                            Child::Ok(())
                        };
                        assert!(place.spawn(child).is_ok());
                        done.set();
                    }
                }));
            }
            drop(place);
            done.wait().await;
            Ok(())
        }));
        assert!(result.is_ok());
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(ran.get(), 1);
    });
}

/// A failure, while a suspended child waits for its cancellation and another one is in line: the
/// nursery ends, and all are accounted for.
#[test]
fn shuttle_a_failure_while_others_are_suspended_and_in_line() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let result: Ended<()> = fourway_adapt::run(Nursery::builder(&rt).limit(2).run(async |n| {
            n.spawn(pending::<Child>());
            n.spawn(async { Err::<(), _>("fails") });
            n.spawn(pending::<Child>());
            pending().await
        }));
        let error = result.unwrap_err();
        assert_eq!((error.failures().len(), error.cancelled()), (1, 2));
    });
}

/// The nursery is cancelled at any moment of the poll in which a child enters a shield: the shield
/// runs to its end.
#[test]
fn shuttle_cancelled_while_a_child_enters_a_shield() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let (entered, go, finished) = (Event::default(), Event::default(), Count::default());
        let opens = thread::spawn({
            let go = go.clone();
            move || go.set()
        });
        let result: Ended<()> = fourway_adapt::run(nursery(&rt, async |n| {
            let (enters, go, finished) = (entered.clone(), go.clone(), finished.clone());
            n.spawn(async move {
                shield(async {
                    enters.set();
                    go.wait().await;
                    finished.add();
                })
                .await;
                Child::Ok(())
            });
            entered.wait().await;
            Err("fails")
        }));
        let error = result.unwrap_err();
        assert_eq!(error.failures().len(), 1, "{error:?}");
        assert_eq!(finished.get(), 1, "the shield was torn apart");
        opens.join().unwrap();
    });
}

/// The nursery's future is dropped while its children are at any point: `closed` resolves.
#[test]
fn shuttle_dropped_half_way() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let mut handle = None;
        {
            let mut running = pin!(nursery(&rt, async |n| {
                handle = Some(n.handle());
                n.spawn(pending::<Child>());
                n.spawn(async { Child::Ok(()) });
                pending::<Child>().await
            }));
            fourway_adapt::run(poll_fn(|cx| {
                Poll::Ready(running.as_mut().poll(cx).is_ready())
            }));
        }
        let handle = handle.take().unwrap();
        fourway_adapt::run(handle.closed());
        assert!(handle.is_closed());
    });
}

/// The caller of `start` gives up while the child fails: the failure is told in one place, and that
/// is the nursery if the caller has not read it.
#[test]
fn shuttle_a_caller_of_start_leaves_as_the_child_fails() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let (ran, mut read) = (Count::default(), 0);
        let builder = Nursery::builder(&rt).supervise();
        let result: Ended<()> = fourway_adapt::run(builder.run(async |n| {
            let count = ran.clone();
            let mut starting = pin!(n.start(|started: Started<()>| async move {
                count.add();
                drop(started);
                Err::<(), _>("fails")
            }));
            let poll = poll_fn(|cx| Poll::Ready(starting.as_mut().poll(cx))).await;
            read = usize::from(poll.is_ready());
            Ok(())
        }));
        let failures = result.map_or_else(|error| error.failures().len(), |()| 0);
        assert_eq!(read + failures, ran.get(), "it is told once");
    });
}

/// An inner nursery is dropped, or forgotten, while its child panics or ends: the outer one waits for
/// the child, and has its panic if nobody else can.
#[test]
fn shuttle_an_inner_nursery_goes_away_as_its_child_ends() {
    for forgets in [false, true] {
        check(move || {
            let rt = Adapter::new(ThreadEach);
            let (begun, alive) = (Count::default(), Count::default());
            let result: Ended<()> = fourway_adapt::run(nursery(&rt, async |n| {
                let (rt, begun, alive) = (n.runtime().clone(), begun.clone(), alive.clone());
                let mut inner = Box::pin(async move {
                    let ended: Ended<()> = nursery(&rt, async |n| {
                        let alive = alive.child();
                        n.spawn(async move {
                            let _alive = alive;
                            begun.add();
                            if !forgets {
                                std::panic::resume_unwind(Box::new("panics"));
                            }
                            Child::Ok(())
                        });
                        Ok(())
                    })
                    .await;
                    ended
                });
                let poll = poll_fn(|cx| Poll::Ready(inner.as_mut().poll(cx))).await;
                if forgets {
                    // The case: its destructor never runs.
                    std::mem::forget(inner);
                } else if let Poll::Ready(ended) = poll {
                    // The verdict was read: the panic is this caller's.
                    assert_eq!(ended.unwrap_err().failures().len(), 1);
                    return Err("read");
                }
                Ok(())
            }));
            assert_eq!(alive.get(), 0, "its child is left");
            let failures = result.map_or_else(|error| error.failures().len(), |()| 0);
            let expected = if forgets { 0 } else { begun.get() };
            assert_eq!(failures, expected, "the panic is told once");
        });
    }
}

/// The limit is raised while places go round: all have their turn, and never more at a time than the
/// higher limit.
#[test]
fn shuttle_the_limit_is_raised_as_places_go_round() {
    check(|| {
        let rt = Adapter::new(ThreadEach);
        let (running, ran) = (Count::default(), Count::default());
        let mut outside = None;
        let result: Ended<()> = fourway_adapt::run(Nursery::builder(&rt).limit(1).run(async |n| {
            let handle = n.handle();
            outside = Some(thread::spawn(move || handle.set_limit(2)));
            for _ in 0..4 {
                let (running, ran) = (running.clone(), ran.clone());
                n.spawn(async move {
                    let _running = running.child();
                    assert!(running.get() <= 2, "too many");
                    thread::yield_now();
                    ran.add();
                    Child::Ok(())
                });
            }
            Ok(())
        }));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(ran.get(), 4);
        outside.take().unwrap().join().unwrap();
    });
}

/// A child makes the nursery's token and cancels it while the nursery's future goes to wait, in its
/// body or after it: it hears of that, though it waited without the token.
#[test]
fn shuttle_the_token_is_made_and_cancelled_while_it_goes_to_wait() {
    check(|| {
        for in_its_body in [true, false] {
            let rt = Adapter::new(ThreadEach);
            let ended: Ended<()> = fourway_adapt::run(nursery(&rt, async |n| {
                n.spawn(async {
                    let token = cancel::current();
                    token.cancel();
                    assert!(cancel::is_cancelled(), "the current one is that one");
                    Child::Ok(())
                });
                // Two may be the first at the same time.
                n.spawn(async {
                    cancel::current()
                        .run_until_cancelled(pending::<Child>())
                        .await
                        .unwrap_or(Ok(()))
                });
                if in_its_body {
                    pending::<()>().await;
                }
                Ok(())
            }));
            if in_its_body {
                assert!(ended.unwrap_err().is_cancelled());
            }
        }
    });
}

/// Two threads wake a child of a scope, which looks at both events in each poll: a wake that comes
/// during the poll for the other is another poll.
#[test]
fn shuttle_a_child_of_a_scope_is_woken_by_two() {
    check(|| {
        let events = [Event::default(), Event::default()];
        let threads = events
            .clone()
            .map(|event| thread::spawn(move || event.set()));
        let seen = &events;
        let result: Ended<()> = fourway_adapt::run(scope(async |s| {
            s.spawn(async move {
                let mut both = seen.each_ref().map(|event| Some(Box::pin(event.wait())));
                poll_fn(|cx| {
                    for wait in &mut both {
                        if let Some(waiting) = wait {
                            if waiting.as_mut().poll(cx).is_ready() {
                                *wait = None;
                            }
                        }
                    }
                    match both {
                        [None, None] => Poll::Ready(()),
                        _ => Poll::Pending,
                    }
                })
                .await;
                Child::Ok(())
            });
            Ok(())
        }));
        assert!(result.is_ok());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
