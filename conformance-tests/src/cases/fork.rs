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

use fourway_core::{BlockOn, JoinError, Offload, Runtime, Shutdown, Spawner, Task, Timer};
use fourway_nursery::{Nursery, NurseryHandle, Place, SpawnError, StartError, Started, nursery};

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
    let mut all = Some((task, rt));
    in_child(|| {
        let (task, rt) = all.take().expect("ours");
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
