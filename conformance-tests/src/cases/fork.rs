//! FK: forked children.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{BlockOn, Call, JoinError, Offload, Runtime, Shutdown, Spawner, Task, Timer};
use fourway_nursery::{
    ChildError, Failure, JoinSet, Nursery, NurseryError, NurseryHandle, Place, SpawnError,
    StartError, Started, TaskTracker, nursery, sync_nursery,
};

use crate::{
    Case,
    cases::table,
    setup::Setup,
    util::{Gate, OnDrop, drive, eventually, must, poll_once},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "FK-1.1", "handles from before the fork give is_forked in the child, at once",
        "hf_xet 429, dd-trace-py 18861: a join that hangs, for its worker is not there", handles, unix;
        "FK-1.2", "work that is handed over in the child is destroyed, and gives is_forked at once",
        "LibAFL 1524: a queue that nobody empties", new_work, unix;
        "FK-1.3", "block_on and block_in_place work in the child, and so do timers",
        "what needs none of the runtime's threads", plain, unix;
        "FK-1.4", "dropping what is from before the fork runs no destructor of the parent's work",
        "a connection that the child says goodbye on", dropping, unix;
        "FK-1.5", "a runtime that is built in the child does what a runtime does",
        "statics that are filled once, by the parent", fresh_one, unix;
        "FK-1.6", "is_shutdown is true in the child, and a shutdown there is clean at once",
        "a join of threads that are not there", shut_down, unix;
        "FK-1.7", "the parent does not notice",
        "a descriptor that both have, and one closes", parent, unix;
    ]
}

#[cfg(unix)]
use crate::forks::in_child;

/// Not called: the cases are only for Unix.
#[cfg(not(unix))]
fn in_child(_: impl FnOnce()) {
    unreachable!("there are no forks here")
}

const MS: Duration = Duration::from_millis(1);

#[track_caller]
fn is_forked<T>(result: Result<T, JoinError>) {
    match result {
        Ok(_) => panic!("there is an output"),
        Err(error) => assert!(error.is_forked() && error.is_shutdown(), "{error:?}"),
    }
}

/// Polls once without an executor: the future must be ready at once.
#[track_caller]
fn at_once<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll_once(&mut future, Waker::noop()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready at once"),
    }
}

/// Destroyed yet?
#[derive(Clone, Default)]
struct Destroyed(Arc<AtomicBool>, Gate);

impl Destroyed {
    fn on_drop(&self) -> OnDrop<impl FnMut() + Send + use<>> {
        let destroyed = self.clone();
        OnDrop(move || destroyed.0.store(true, Ordering::SeqCst))
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A task that has been polled, and waits for an event that may still come.
fn suspended<R: Runtime>(rt: &R, destroyed: &Destroyed) -> R::Task<()> {
    let (begun, begins) = Gate::pair();
    let (on_drop, never) = (destroyed.on_drop(), destroyed.1.clone());
    let task = rt.spawn(async move {
        let _on_drop = on_drop;
        begun.open();
        never.opened().await;
    });
    begins.wait();
    task
}

fn handles<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = Destroyed::default();
    let mut suspended = suspended(&rt, &destroyed);
    assert!(poll_once(&mut suspended, Waker::noop()).is_pending());
    let ended = rt.spawn(async { 1 });
    let closure_ended = rt.offload(|| 2);
    eventually("both end", || {
        ended.is_finished() && closure_ended.is_finished()
    });
    let (running, runs) = Gate::pair();
    let (go, gate) = Gate::pair();
    let closure = rt.offload(move || {
        running.open();
        gate.wait();
    });
    runs.wait();
    let aborts = [suspended.abort_handle(), closure.abort_handle()];
    let mut all = Some((suspended, closure, ended, closure_ended));
    let (nursery, end) = open_nursery(&rt);
    let mut closed = Box::pin(nursery.closed());
    assert!(poll_once(&mut closed.as_mut(), Waker::noop()).is_pending());
    assert!(!nursery.is_closed());
    let mut reserve = Some(Box::pin(nursery.reserve()));
    sets(&rt);
    children(&rt, &nursery);
    bodies(&rt);
    in_child(|| {
        assert!(nursery.is_closed());
        at_once(closed.as_mut());
        at_once(Box::pin(nursery.closed()));
        let refused = nursery.spawn(async { Ok(()) });
        assert!(refused.is_err_and(|refused| refused.is_closed()));
        closed_to_all(&nursery, at_once(reserve.take().expect("ours")));
        let (mut suspended, mut closure, ended, mut closure_ended) = all.take().expect("ours");
        assert!(suspended.is_finished() && closure.is_finished());
        for abort in &aborts {
            abort.abort();
            assert!(abort.is_finished());
        }
        suspended.abort();
        closure.abort();
        is_forked(at_once(&mut suspended));
        is_forked(at_once(&mut closure));
        is_forked(at_once(ended));
        is_forked(closure_ended.try_wait().expect("it may block"));
    });
    go.open();
    end.open();
    drive(closed);
}

/// In a child, a nursery from before the fork gives all work back, and nothing is done to it: any
/// thread of the parent may have held its locks.
fn closed_to_all<R: Runtime>(
    nursery: &NurseryHandle<R, Infallible>,
    reserved: Result<Place<R, Infallible>, SpawnError<()>>,
) {
    assert!(reserved.is_err_and(|refused| refused.is_closed()));
    let refused = nursery.try_spawn(async { Ok(()) });
    assert!(refused.is_err_and(|refused| refused.is_closed()));
    let refused = nursery.try_offload(|| Ok(()));
    assert!(refused.is_err_and(|refused| refused.is_closed()));
    let refused = nursery.offload_handle(|| Ok(()));
    assert!(refused.is_err_and(|refused| refused.is_closed()));
    let body = |_: Started<()>| async { Ok(()) };
    let started = at_once(Box::pin(nursery.start(body)));
    assert!(matches!(started, Err(StartError::Cancelled)));
    nursery.set_limit(1);
    nursery.cancel();
    assert!(!nursery.token().is_cancelled());
    assert!(!format!("{nursery:?}").is_empty());
}

/// Sets and trackers of tasks from before a fork, in the child.
fn sets<R: Runtime>(rt: &R) {
    let (go, gate) = Gate::pair();
    let tracker = TaskTracker::new();
    let mut set = JoinSet::on(rt.clone());
    let waits = gate.clone();
    set.spawn(tracker.track_future(async move { waits.opened().await }));
    set.spawn_blocking(move || gate.wait());
    set.spawn(async {});
    tracker.close();
    let mut wait = Box::pin(tracker.wait());
    assert!(poll_once(&mut wait.as_mut(), Waker::noop()).is_pending());
    in_child(|| {
        is_forked(set.try_join_next().expect("all are forked"));
        for _ in 0..2 {
            is_forked(at_once(Box::pin(set.join_next())).expect("not joined yet"));
        }
        assert!(at_once(Box::pin(set.join_next())).is_none());
        // It is a set like any other then, of a runtime that refuses.
        set.spawn(async {});
        is_forked(at_once(Box::pin(set.join_next())).expect("it is refused"));
        at_once(wait.as_mut());
        assert!(tracker.is_closed() && tracker.is_empty());
        at_once(Box::pin(tracker.wait()));
        let token = tracker.token();
        assert_eq!(tracker.len(), 1);
        let mut wait = Box::pin(tracker.wait());
        assert!(poll_once(&mut wait.as_mut(), Waker::noop()).is_pending());
        drop(token);
        at_once(wait.as_mut());
    });
    assert!(poll_once(&mut wait.as_mut(), Waker::noop()).is_pending());
    go.open();
    drive(set.join_all());
    drive(wait);
}

#[track_caller]
fn is_forked_child<T>(result: Result<T, ChildError<Infallible>>) {
    let error = result.err().expect("there is an output");
    match error.into_failure() {
        Some(Failure::Join(error)) => is_forked(Err::<(), _>(error)),
        _ => panic!("it is not forked"),
    }
}

/// Handles of children from before a fork, in the child.
fn children<R: Runtime>(rt: &R, nursery: &NurseryHandle<R, Infallible>) {
    let (go, gate) = Gate::pair();
    let mut waiting = nursery
        .spawn_handle(async move {
            gate.opened().await;
            Ok(1)
        })
        .expect("it is open");
    assert!(poll_once(&mut waiting, Waker::noop()).is_pending());
    let mut ended = nursery.offload_handle(|| Ok(2)).expect("it is open");
    eventually("the child ends", || ended.is_finished());
    in_child(|| {
        assert!(waiting.is_finished() && ended.is_finished());
        is_forked_child(at_once(&mut waiting));
        is_forked_child(at_once(&mut ended));
    });
    go.open();
    assert_eq!(drive(waiting).unwrap() + drive(ended).unwrap(), 3);

    let (go, gate) = Gate::pair();
    let sum = sync_nursery(rt, |n| {
        let again = gate.clone();
        let mut handle = Some(n.spawn_handle(move || {
            gate.wait();
            Ok::<_, Infallible>(3)
        }));
        let mut results = n.results();
        results.spawn(move || {
            again.wait();
            Ok(4)
        });
        in_child(|| {
            let handle = handle.take().expect("ours");
            assert!(handle.is_finished());
            is_forked_child(handle.join());
            is_forked_child(results.next().expect("one, which says so"));
            assert!(results.next().is_none() && results.is_empty());
        });
        go.open();
        let read = results.next().expect("it is not read yet").unwrap();
        Ok(read + handle.expect("the parent's").join().unwrap())
    });
    assert_eq!(sum.unwrap(), 7);
}

/// Nurseries whose bodies end in a child.
fn bodies<R: Runtime>(rt: &R) {
    let (go, gate) = Gate::pair();
    let (goes_on, in_the_child) = (AtomicBool::new(false), AtomicBool::new(false));
    let body_goes_on = || {
        poll_fn(|_| match goes_on.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    };
    let mut started = Box::pin(nursery(rt, async |n: &Nursery<R, Infallible>| {
        let (waits, reads) = (gate.clone(), gate.clone());
        n.spawn(async move {
            waits.opened().await;
            Ok(())
        });
        let mut results = n.results();
        results.spawn(async move {
            reads.opened().await;
            Ok(1)
        });
        body_goes_on().await;
        if !in_the_child.load(Ordering::SeqCst) {
            return Ok(results.next().await.expect("not read yet").unwrap());
        }
        is_forked_child(at_once(Box::pin(results.next())).expect("one, which says so"));
        assert!(at_once(Box::pin(results.next())).is_none());
        // What is spawned now is destroyed, unrun.
        let destroyed = Destroyed::default();
        let on_drop = destroyed.on_drop();
        at_once(Box::pin(n.spawn::<_, ()>(async move {
            drop(on_drop);
            pending().await
        })));
        assert!(destroyed.get());
        is_forked_child(at_once(n.offload_handle(|| Ok(()))));
        results.spawn(async { Ok(2) });
        drop(results);
        let mut results = n.results();
        results.spawn(async { Ok(3) });
        is_forked_child(at_once(Box::pin(results.next())).expect("one, which says so"));
        assert!(at_once(Box::pin(results.next())).is_none());
        Ok(5)
    }));
    assert!(poll_once(&mut started.as_mut(), Waker::noop()).is_pending());
    // This one waits for its child alone.
    let waits = gate.clone();
    let mut waiting = Box::pin(nursery(rt, async |n: &Nursery<R, Infallible>| {
        n.spawn(async move {
            waits.opened().await;
            Ok(())
        });
        Ok(6)
    }));
    assert!(poll_once(&mut waiting.as_mut(), Waker::noop()).is_pending());
    let mut dropped = Some(Box::pin(nursery(rt, async |_: &Nursery<R, Infallible>| {
        pending::<Result<(), Infallible>>().await
    })));
    assert!(poll_once(dropped.as_mut().expect("ours"), Waker::noop()).is_pending());
    in_child(|| {
        in_the_child.store(true, Ordering::SeqCst);
        goes_on.store(true, Ordering::SeqCst);
        is_over_in_child(at_once(started.as_mut()));
        is_over_in_child(at_once(waiting.as_mut()));
        drop(dropped.take());
    });
    assert!(poll_once(&mut waiting.as_mut(), Waker::noop()).is_pending());
    go.open();
    goes_on.store(true, Ordering::SeqCst);
    assert_eq!(drive(started).unwrap() + drive(waiting).unwrap(), 7);
}

#[track_caller]
fn is_over_in_child(ended: Result<i32, NurseryError<Infallible>>) {
    let failures = ended
        .expect_err("its children are the parent's")
        .into_failures();
    match <[_; 1]>::try_from(failures) {
        Ok([Failure::Join(error)]) => is_forked(Err::<(), _>(error)),
        other => panic!("{other:?}"),
    }
}

/// A nursery whose only child waits for the gate.
fn open_nursery<R: Runtime>(rt: &R) -> (NurseryHandle<R, Infallible>, Gate) {
    let (end, ends) = Gate::pair();
    let (tell, told) = mpsc::channel();
    let runtime = rt.clone();
    rt.spawn_detached(async move {
        let body = async move |n: &Nursery<R, Infallible>| {
            n.spawn(async move {
                ends.opened().await;
                Ok(())
            });
            tell.send(n.handle()).expect("it is waited for");
            Ok(())
        };
        nursery(&runtime, body).await.expect("nothing fails");
    });
    let handle = told.recv_timeout(must()).expect("the body runs");
    (handle, end)
}

fn new_work<S: Setup>(s: S) {
    let rt = s.build();
    // Used, so that all its parts exist.
    drive(rt.spawn(async {})).unwrap();
    drive(rt.offload(|| ())).unwrap();
    in_child(|| {
        let (ran, destroyed) = (Destroyed::default(), Destroyed::default());
        let runs = ran.on_drop();
        let on_drop = destroyed.on_drop();
        let task = rt.spawn(async move {
            let _on_drop = on_drop;
            std::mem::forget(runs);
            pending::<()>().await;
        });
        assert!(destroyed.get(), "the future is dropped at once");
        assert!(ran.get(), "it is not polled");
        assert!(task.is_finished());
        is_forked(at_once(task));
        is_forked(at_once(rt.offload(|| ())));
        is_forked(rt.spawn(async {}).wait());
        is_forked(rt.offload(|| ()).wait());
        is_forked(rt.block_on(rt.spawn(async {}).cancel()));
        rt.spawn_detached(async {});
        rt.offload(|| ()).detach();
        let refused = rt.try_offload(|| ()).err().expect("it is refused");
        assert!(refused.is_forked() && refused.is_shutdown() && !refused.is_full());
        let refused = rt.block_on(rt.call_blocking(|| ()).fallible()).unwrap_err();
        assert!(refused.is_forked() && refused.is_shutdown(), "{refused:?}");
        let limited = rt.call_blocking(|| ()).timeout(Duration::MAX);
        let refused = limited.try_wait().unwrap_err();
        assert!(refused.is_forked() && refused.is_shutdown(), "{refused:?}");
    });
}

fn plain<S: Setup>(s: S) {
    let rt = s.build();
    let mut armed = Box::pin(rt.sleep(20 * MS));
    // Registered with the timer service.
    assert!(poll_once(&mut Pin::new(&mut armed), Waker::noop()).is_pending());
    in_child(|| {
        assert_eq!(rt.block_on(async { 7 }), 7);
        assert_eq!(rt.block_in_place(|| 8).unwrap(), 8);
        rt.block_on(armed.as_mut());
        let before = rt.now();
        rt.block_on(rt.sleep(2 * MS));
        assert!(rt.now() >= before + 2 * MS);
        let late = rt.block_on(rt.timeout(MS, pending::<()>()));
        assert!(late.is_err());
        // A task that another thread wakes.
        let mut first = true;
        rt.block_on(poll_fn(|cx| {
            if std::mem::take(&mut first) {
                let waker = cx.waker().clone();
                std::thread::spawn(move || waker.wake());
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
    });
}

fn dropping<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = Destroyed::default();
    let task = suspended(&rt, &destroyed);
    let detached = Destroyed::default();
    suspended(&rt, &detached).detach();
    let output = Destroyed::default();
    let (nursery, _) = open_nursery(&rt);
    let mut set = JoinSet::on(rt.clone());
    let on_drop = output.on_drop();
    let ended = set.spawn(async move { on_drop });
    eventually("it has ended", || ended.is_finished());
    let on_drop = output.on_drop();
    let handle = nursery.spawn_handle(async move { Ok(on_drop) });
    let handle = handle.expect("it is open");
    eventually("it has ended", || handle.is_finished());
    let mut all = Some((task, rt, set, handle));
    in_child(|| {
        let (task, rt, set, handle) = all.take().expect("ours");
        drop((set, handle));
        assert!(!output.get(), "an output of the parent's");
        drop(task);
        drop(rt.clone());
        // The last one.
        drop(rt);
        assert!(
            !destroyed.get() && !detached.get(),
            "a future of the parent's"
        );
    });
    assert!(!destroyed.get() && !detached.get());
}

/// Checks that the runtime works.
#[track_caller]
fn works<R: Runtime>(rt: &R) {
    let again = rt.clone();
    let task = rt.spawn(async move {
        again.sleep(MS).await;
        let deeper = again.clone();
        let closure = again.offload(move || deeper.block_on(async { 2 }));
        closure.await.unwrap() + 1
    });
    assert_eq!(drive(task).unwrap(), 3);
    let cancelled = drive(rt.spawn(pending::<()>()).cancel());
    assert!(cancelled.unwrap_err().is_cancelled());
}

fn fresh_one<S: Setup>(s: S) {
    let rt = s.build();
    works(&rt);
    in_child(|| {
        let fresh = s.build();
        works(&fresh);
        // And in a child of the child.
        in_child(|| {
            is_forked(at_once(fresh.spawn(async {})));
            works(&s.build());
        });
        works(&fresh);
    });
}

fn shut_down<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = Destroyed::default();
    suspended(&rt, &destroyed).detach();
    assert!(!rt.is_shutdown());
    let owned = s.capabilities().shutdown;
    in_child(|| {
        assert!(rt.is_shutdown());
        for _ in 0..2 {
            match rt.shutdown(must()) {
                Ok(report) => assert!(report.is_clean(), "{report:?}"),
                Err(error) => assert!(error.is_not_owned() && !owned, "{error:?}"),
            }
        }
    });
    assert!(!rt.is_shutdown() && !destroyed.get());
}

fn parent<S: Setup>(s: S) {
    let rt = s.build();
    let destroyed = Destroyed::default();
    let task = suspended(&rt, &destroyed);
    let (running, runs) = Gate::pair();
    let (go, gate) = Gate::pair();
    let closure = rt.offload(move || {
        running.open();
        gate.wait();
        5
    });
    runs.wait();
    let sleep = rt.spawn(rt.sleep(20 * MS));
    let mut all = Some((task, closure, sleep));
    in_child(|| {
        drop(all.take());
        drop(rt.spawn(async {}));
        drop(rt.offload(|| ()));
        drop(rt.clone());
    });
    let (task, closure, sleep) = all.expect("this is the parent");
    go.open();
    assert_eq!(drive(closure).unwrap(), 5);
    drive(sleep).unwrap();
    assert!(!destroyed.get());
    works(&rt);
    assert!(drive(task.cancel()).unwrap_err().is_cancelled());
    assert!(destroyed.get());
}
