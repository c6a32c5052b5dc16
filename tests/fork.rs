//! Forked children (FK-1, forked children): programs that use a runtime, fork, and go on in the
//! child, as Python's `multiprocessing` and daemons do.
#![cfg(unix)]

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway::{AnyRuntime, Compose, JoinError, layer::Propagate, prelude::*};
use fourway_adapt::{Adapter, BoxFuture, Execute};

/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Forks, and has the child do `check`. Fails if that panics or hangs.
#[track_caller]
fn in_child(what: &str, check: impl FnOnce()) {
    let mut check = Some(check);
    for _ in 0..20 {
        let code = forked(|| {
            if !threads_can_be_started() {
                return NO_THREADS;
            }
            // Once in each child.
            check.take().expect("not called yet in this process")();
            0
        });
        if code != Ok(NO_THREADS) {
            assert_eq!(code, Ok(0), "in a forked child: {what}");
            return;
        }
    }
    panic!("in none of many children could a thread be started");
}

const NO_THREADS: i32 = 2;

/// When a thread starts or ends, the standard library takes a lock. If a thread held it at the
/// moment of the fork, no thread can be started in the child.
fn threads_can_be_started() -> bool {
    let (started, has_started) = mpsc::channel();
    thread::spawn(move || started.send(()));
    has_started.recv_timeout(Duration::from_secs(5)).is_ok()
}

/// Forks, and gives the exit code of the child.
fn forked(check: impl FnOnce() -> i32) -> Result<i32, &'static str> {
    // SAFETY: the child runs the code under test, which is more than POSIX promises after a fork of
    // a process with threads. glibc, musl and macOS keep their own locks, such as that of the
    // allocator, in order. The child ends here.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process could be forked");
    if child == 0 {
        let ended = catch_unwind(AssertUnwindSafe(check));
        // SAFETY: ends the process; no destructor or exit handler of the parent runs.
        unsafe { libc::_exit(ended.unwrap_or(1)) }
    }
    ended(child)
}

/// The exit code of the child.
fn ended(child: libc::pid_t) -> Result<i32, &'static str> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is ours to write to, and the child ours to wait for.
        let waited = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if waited == child {
            return if libc::WIFEXITED(status) {
                Ok(libc::WEXITSTATUS(status))
            } else {
                Err("it was killed by a signal")
            };
        }
        if start.elapsed() > LIMIT {
            // SAFETY: our child, which has not been waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return Err("it hung");
        }
        // `waitpid` has no time limit of its own.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Polls without an executor. The future must be ready at once.
#[track_caller]
fn at_once<F: Future + Unpin>(mut future: F) -> F::Output {
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready at once"),
    }
}

#[track_caller]
fn is_forked<T>(result: Result<T, JoinError>) {
    match result {
        Ok(_) => panic!("there is an output"),
        Err(error) => assert!(error.is_forked() && error.is_shutdown(), "{error:?}"),
    }
}

/// A destructor that must not run in a child.
struct NotInChild(Arc<AtomicBool>);

impl Drop for NotInChild {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Everything that a child may do with a runtime from before the fork.
fn all_is_answered<R: Runtime>(rt: &R) {
    let dropped = Arc::new(AtomicBool::new(false));
    // All kinds of work, in all kinds of states.
    let suspended = rt.spawn({
        let guard = NotInChild(dropped.clone());
        async move {
            std::future::pending::<()>().await;
            drop(guard);
        }
    });
    let sleeping = {
        let sleep = rt.sleep(Duration::from_secs(3600));
        rt.spawn(sleep)
    };
    let ended = rt.spawn(async { 1 });
    let (go, running) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    let closure = rt.offload(move || {
        started.send(()).unwrap();
        let _ = running.recv_timeout(LIMIT);
    });
    has_started.recv_timeout(LIMIT).unwrap();
    let closure_ended = rt.offload(|| 2);
    let mut armed = Box::pin(rt.sleep(Duration::from_millis(1)));
    let aborts = [suspended.abort_handle(), closure.abort_handle()];
    // Polled, so that wakers are left behind; and the ends are awaited.
    let (mut suspended, mut closure) = (Box::new(suspended), Box::new(closure));
    let ended = Box::new(ended);
    let closure_ended = Box::new(closure_ended);
    rt.block_on(std::future::poll_fn(|cx| {
        assert!(Pin::new(&mut *suspended).poll(cx).is_pending());
        assert!(Pin::new(&mut *closure).poll(cx).is_pending());
        let _ = armed.as_mut().poll(cx);
        if ended.is_finished() && closure_ended.is_finished() {
            Poll::Ready(())
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }));

    let mut all = Some((
        suspended,
        closure,
        ended,
        closure_ended,
        aborts,
        armed,
        sleeping,
    ));
    in_child(std::any::type_name::<R>(), || {
        let (mut suspended, mut closure, mut ended, mut closure_ended, aborts, mut armed, sleeping) =
            all.take().expect("this is the child");
        // Work from before.
        assert!(suspended.is_finished() && closure.is_finished());
        aborts.iter().for_each(|abort| {
            abort.abort();
            assert!(abort.is_finished());
        });
        suspended.abort();
        closure.abort();
        is_forked(at_once(&mut *suspended));
        is_forked(at_once(&mut *closure));
        is_forked(at_once(sleeping));
        is_forked(at_once(&mut *ended));
        is_forked(closure_ended.try_wait().unwrap());
        drop((suspended, closure, ended, closure_ended, aborts));

        // Work from now.
        let ran = Arc::new(AtomicBool::new(false));
        let runs = |ran: &Arc<AtomicBool>| {
            let ran = ran.clone();
            move || ran.store(true, Ordering::SeqCst)
        };
        let destroyed = Arc::new(AtomicBool::new(false));
        let task = rt.spawn({
            let (run, guard) = (runs(&ran), NotInChild(destroyed.clone()));
            async move {
                run();
                drop(guard);
            }
        });
        assert!(destroyed.load(Ordering::SeqCst), "the future is dropped");
        assert!(task.is_finished());
        is_forked(rt.block_on(task));
        is_forked(rt.block_on(rt.offload(runs(&ran))));
        is_forked(rt.spawn(async {}).wait());
        is_forked(rt.offload(runs(&ran)).wait());
        rt.spawn_detached(async {});
        rt.offload(runs(&ran)).detach();
        drop(rt.spawn(async {}));
        is_forked(rt.block_on(rt.spawn(async {}).cancel()));
        let refused = rt.try_offload(runs(&ran)).err().expect("it is refused");
        assert!(refused.is_forked() && refused.is_shutdown() && !refused.is_full());
        assert!(!ran.load(Ordering::SeqCst));

        // Work that needs none of its threads.
        assert_eq!(rt.block_on(async { 7 }), 7);
        assert_eq!(rt.block_in_place(|| 8).unwrap(), 8);
        rt.block_on(armed.as_mut());
        drop(armed);
        let before = rt.now();
        rt.block_on(rt.sleep(Duration::from_millis(2)));
        assert!(rt.now() >= before + Duration::from_millis(2));
        let never = std::future::pending::<()>();
        let late = rt.block_on(rt.timeout(Duration::from_millis(1), never));
        assert!(late.is_err());
        assert_eq!(rt.call_blocking(|| 9).wait(), 9);
        assert_eq!(rt.surround(|| 10), 10);

        // A runtime of its own.
        fresh(&fourway::default_runtime());
        assert!(!dropped.load(Ordering::SeqCst), "a future of the parent's");
        drop(rt.clone());
    });

    // The parent has not noticed.
    let (_suspended, closure, ended, closure_ended, ..) = all.expect("this is the parent");
    assert!(!dropped.load(Ordering::SeqCst));
    go.send(()).unwrap();
    fresh(rt);
    rt.block_on(closure).unwrap();
    assert_eq!(rt.block_on(ended).unwrap(), 1);
    assert_eq!(rt.block_on(closure_ended).unwrap(), 2);
}

/// All parts of the runtime work.
fn fresh<R: Runtime>(rt: &R) {
    let sum = rt.block_on(async {
        let task = rt.spawn({
            let rt = rt.clone();
            async move {
                rt.sleep(Duration::from_millis(1)).await;
                1
            }
        });
        let closure = rt.offload({
            let rt = rt.clone();
            move || rt.block_on(async { rt.offload(|| 2).await.unwrap() })
        });
        task.await.unwrap() + closure.await.unwrap()
    });
    assert_eq!(sum, 3);
    let pending = rt.spawn(std::future::pending::<()>());
    let cancelled = rt.block_on(pending.cancel());
    assert!(cancelled.unwrap_err().is_cancelled());
}

#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

#[test]
fn ten_lines() {
    all_is_answered(&Adapter::new(ThreadEach));
    all_is_answered(&AnyRuntime::new(Adapter::new(ThreadEach)));
}

#[cfg(feature = "std-thread")]
#[test]
fn std_thread() {
    let rt = fourway::std_thread::StdThread::builder()
        .worker_threads(2)
        .build()
        .unwrap();
    all_is_answered(&rt);
    all_is_answered(&AnyRuntime::new(rt.clone()));
    all_is_answered(&Propagate::new(rt.clone()));
    all_is_answered(&Compose::new(rt.clone(), rt.compute()));
}

#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    use fourway::tokio::Tokio;
    let rt = Tokio::builder().worker_threads(2).build().unwrap();
    all_is_answered(&rt);
    all_is_answered(&AnyRuntime::new(rt.clone()));
    all_is_answered(&Compose::new(rt.clone(), Adapter::new(ThreadEach)));
    all_is_answered(&Tokio::builder().current_thread().build().unwrap());
}

#[cfg(feature = "tokio")]
#[test]
fn an_adopted_tokio() {
    use fourway::tokio::Tokio;
    let native = ::tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let rt = Tokio::from_handle(native.handle().clone());
    all_is_answered(&rt);
    in_child("asked for often", || {
        // Inherited values are never dropped, so this is made once, and not for each question.
        let registered = || -> u32 {
            let id = fourway_core::implement::register(|| None).id();
            let digits = format!("{id:?}").replace(|c: char| !c.is_ascii_digit(), "");
            digits.parse().unwrap()
        };
        let before = registered();
        let entered = native.enter();
        for _ in 0..100 {
            assert!(AnyRuntime::current().is_none());
            let _ = Tokio::current();
        }
        drop(entered);
        assert!(registered() - before <= 2);
    });
    // Adopted once more in the child, and found in it.
    in_child("adopted there", || {
        let again = Tokio::from_handle(native.handle().clone());
        is_forked(again.block_on(again.spawn(async {})));
        is_forked(again.block_on(again.offload(|| ())));
        again.block_on(again.sleep(Duration::from_millis(1)));
        let entered = native.enter();
        fresh(&fourway::default_runtime());
        drop(entered);
        let newer = ::tokio::runtime::Runtime::new().unwrap();
        fresh(&Tokio::from_handle(newer.handle().clone()));
        let taken_over = Tokio::from_runtime(native).unwrap();
        is_forked(taken_over.block_on(taken_over.spawn(async {})));
    });
}

#[cfg(feature = "smol")]
#[test]
fn smol() {
    use fourway::smol::Smol;
    let rt = Smol::builder().worker_threads(2).build().unwrap();
    all_is_answered(&rt);
    all_is_answered(&AnyRuntime::new(rt));
    all_is_answered(&Smol::global());
    in_child("the global one is another", || {
        fresh(&Smol::global());
        let shutdown = fourway::Shutdown::shutdown(&Smol::global(), LIMIT);
        assert!(shutdown.unwrap_err().is_not_owned());
    });
}

/// As a Python program does whose module has a runtime: use it, fork, use it, fork.
#[cfg(any(feature = "std-thread", feature = "tokio", feature = "smol"))]
#[test]
fn the_default_runtime_through_three_generations() {
    for name in fourway::compiled_in() {
        in_child(name, || {
            let rt = fourway::runtime_named(name).unwrap();
            fourway::set_default_runtime(rt).unwrap();
            fresh(&fourway::default_runtime());
            in_child("a child", || {
                fresh(&fourway::default_runtime());
                let kept = fourway::default_runtime();
                let pending = kept.spawn(std::future::pending::<()>());
                in_child("a grandchild", || {
                    is_forked(kept.block_on(pending));
                    fresh(&fourway::default_runtime());
                    fresh(&fourway::Ambient);
                    is_forked(kept.block_on(kept.offload(|| ())));
                });
                fresh(&kept);
            });
            fresh(&fourway::default_runtime());
        });
    }
}

/// The owners of everything go in the child, as at the end of a `main`.
#[cfg(all(feature = "std-thread", feature = "tokio", feature = "smol"))]
#[test]
fn the_last_handles_are_dropped() {
    let std_thread = fourway::std_thread::StdThread::new().unwrap();
    let tokio = fourway::tokio::Tokio::builder().build().unwrap();
    let one = fourway::tokio::Tokio::builder()
        .current_thread()
        .build()
        .unwrap();
    let smol = fourway::smol::Smol::builder().build().unwrap();
    for rt in [&std_thread as &dyn fourway::Shutdown, &tokio, &one, &smol] {
        in_child("a shutdown", || {
            assert!(rt.shutdown(LIMIT).unwrap().is_clean());
            assert!(rt.shutdown(LIMIT).unwrap().is_clean());
        });
    }
    let mut all = Some((std_thread, tokio, one, smol));
    in_child("the last handles", || drop(all.take()));
    let (std_thread, tokio, one, smol) = all.expect("this is the parent");
    fresh(&std_thread);
    fresh(&tokio);
    fresh(&one);
    fresh(&smol);
}

/// Forks while other threads keep the runtime's locks busy.
fn forks_under_load<R: Runtime>(rt: &R) {
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (rt, stop, rounds) = (rt.clone(), stop.clone(), rounds.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let tasks: Vec<_> = (0..8).map(|_| rt.spawn(async {})).collect();
                    let closures: Vec<_> = (0..8).map(|_| rt.offload(|| ())).collect();
                    let pending = rt.spawn(rt.sleep(Duration::from_secs(60)));
                    let ticking = rt.spawn(rt.sleep(Duration::from_millis(1)));
                    rt.block_on(async {
                        for task in tasks {
                            task.await.unwrap();
                        }
                        for closure in closures {
                            closure.await.unwrap();
                        }
                    });
                    drop((pending, ticking));
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let start = Instant::now();
    while rounds.load(Ordering::SeqCst) < 3 {
        assert!(start.elapsed() < LIMIT, "no load");
        thread::yield_now();
    }
    for _ in 0..30 {
        let pending = rt.spawn(std::future::pending::<()>());
        let closure = rt.offload(|| ());
        let abort = pending.abort_handle();
        let mut sleeps: Vec<_> = (0..8)
            .map(|_| Box::pin(rt.sleep(Duration::from_secs(60))))
            .collect();
        rt.block_on(std::future::poll_fn(|cx| {
            for sleep in &mut sleeps {
                assert!(sleep.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(())
        }));
        let mut sleeps = Some(sleeps);
        in_child("under load", || {
            drop(sleeps.take());
            abort.abort();
            is_forked(rt.block_on(pending));
            is_forked(rt.block_on(closure));
            is_forked(rt.block_on(rt.spawn(async {})));
            is_forked(rt.block_on(rt.offload(|| ())));
            rt.block_on(rt.sleep(Duration::from_millis(1)));
            drop(rt.clone());
            fresh(&fourway::default_runtime());
        });
    }
    stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[cfg(feature = "std-thread")]
#[test]
fn under_load_std_thread() {
    forks_under_load(&fourway::std_thread::StdThread::new().unwrap());
}

#[cfg(feature = "tokio")]
#[test]
fn under_load_tokio() {
    forks_under_load(&fourway::tokio::Tokio::builder().build().unwrap());
}

#[cfg(feature = "smol")]
#[test]
fn under_load_smol() {
    forks_under_load(&fourway::smol::Smol::builder().build().unwrap());
    forks_under_load(&fourway::smol::Smol::global());
}

/// The closure or task that forks is the child's only thread; the rest of its runtime is the
/// parent's.
#[cfg(feature = "std-thread")]
#[test]
fn forked_inside_of_work() {
    let rt = fourway::std_thread::StdThread::builder()
        .worker_threads(1)
        .build()
        .unwrap();
    let check = |rt: &fourway::std_thread::StdThread| {
        let inner = rt.clone();
        in_child("inside of work", move || {
            is_forked(at_once(inner.spawn(async {})));
            is_forked(at_once(inner.offload(|| ())));
            thread::spawn(|| fresh(&fourway::default_runtime()))
                .join()
                .unwrap();
        });
    };
    let inside = rt.clone();
    rt.block_on(rt.spawn(async move { check(&inside) }))
        .unwrap();
    let inside = rt.clone();
    rt.block_on(rt.offload(move || check(&inside))).unwrap();
    rt.block_on(async { check(&rt) });
    let inside = rt.clone();
    rt.block_on(rt.offload(move || {
        inside.block_on(async {
            inside.sleep(Duration::from_millis(1)).await;
            check(&inside);
        });
    }))
    .unwrap();
    fresh(&rt);
}

/// The closure forks, and returns in the child as well: its thread, which is all that there is,
/// ends, and with it the process. It waits for no thread of the parent's, not even for one that
/// is about to end there.
#[cfg(any(feature = "std-thread", feature = "smol"))]
fn a_closure_returns_in_the_child<R: Runtime>(build: impl Fn() -> R) {
    use std::cell::RefCell;

    struct Ending(mpsc::Sender<()>, mpsc::Receiver<()>);

    impl Drop for Ending {
        fn drop(&mut self) {
            let _ = self.0.send(());
            let _ = self.1.recv_timeout(2 * LIMIT);
        }
    }

    thread_local! {
        static ENDING: RefCell<Option<Ending>> = const { RefCell::new(None) };
    }

    for _ in 0..20 {
        let rt = build();
        // Its thread has nothing more to do, and ends in this thread-local's destructor: the
        // standard library calls it finished then.
        let (ending, is_ending) = mpsc::channel();
        let (go, goes_on) = mpsc::channel();
        let last = Ending(ending, goes_on);
        rt.offload(move || ENDING.set(Some(last))).detach();
        is_ending.recv_timeout(LIMIT).expect("the thread ends");

        let (tell, told) = mpsc::channel();
        let forks = move || {
            // SAFETY: as in `forked`. The child ends when this has returned.
            let child = unsafe { libc::fork() };
            if child != 0 {
                tell.send(child).unwrap();
                return;
            }
            // The channel's locks are the parent's.
            std::mem::forget(tell);
            if !threads_can_be_started() {
                // SAFETY: as in `forked`.
                unsafe { libc::_exit(NO_THREADS) }
            }
        };
        rt.offload(forks).detach();
        let child = told.recv_timeout(LIMIT).expect("the closure runs");
        assert!(child > 0, "no process could be forked");
        let code = ended(child);
        go.send(()).unwrap();
        fresh(&rt);
        if code != Ok(NO_THREADS) {
            assert_eq!(code, Ok(0), "in a child whose closure has returned");
            return;
        }
    }
    panic!("in none of many children could a thread be started");
}

#[test]
#[cfg(feature = "std-thread")]
fn a_closure_of_std_thread_returns_in_the_child() {
    a_closure_returns_in_the_child(|| {
        let builder = fourway::std_thread::StdThread::builder();
        let brief = builder.keep_alive(Duration::from_millis(1));
        brief.build().unwrap()
    });
}

#[test]
#[cfg(feature = "smol")]
fn a_closure_of_smol_returns_in_the_child() {
    a_closure_returns_in_the_child(|| {
        let builder = fourway::smol::Smol::builder();
        let brief = builder.keep_alive(Duration::from_millis(1));
        brief.build().unwrap()
    });
}

/// In the middle of a poll, of a root that waits for the parent's task.
fn forked_while_polled(rt: &impl Runtime) {
    let mut task = rt.spawn(std::future::pending::<()>());
    let mut child = None;
    let seen = rt.block_on(std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = Pin::new(&mut task).poll(cx) {
            return Poll::Ready(Some(result));
        }
        // SAFETY: as in `forked`.
        match *child.get_or_insert_with(|| unsafe { libc::fork() }) {
            0 => Poll::Pending,
            _ => Poll::Ready(None),
        }
    }));
    let child = child.expect("it was polled");
    if child == 0 {
        let right = seen.is_some_and(|result| result.is_err_and(|error| error.is_forked()));
        // SAFETY: as in `forked`.
        unsafe { libc::_exit(i32::from(!right)) }
    }
    assert_eq!(ended(child), Ok(0), "in a child forked while polled");
}

#[test]
fn a_root_that_forks_while_it_waits() {
    #[cfg(feature = "std-thread")]
    forked_while_polled(&fourway::std_thread::StdThread::new().unwrap());
    #[cfg(feature = "tokio")]
    for builder in [
        fourway::tokio::Tokio::builder(),
        fourway::tokio::Tokio::builder().current_thread(),
    ] {
        forked_while_polled(&builder.build().unwrap());
    }
    #[cfg(feature = "smol")]
    for rt in [
        fourway::smol::Smol::global(),
        fourway::smol::Smol::builder().build().unwrap(),
    ] {
        forked_while_polled(&rt);
    }
}
