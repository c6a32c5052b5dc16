//! The runtime's threads: their stacks, names and hooks, limits, and their end.

use std::{
    cell::RefCell,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task};
use fourway_testing::eventually;
use fourway_tokio::{Builder, Tokio};
use tokio::runtime::Runtime;

/// Only a test that fails takes so long.
const MUST: Duration = Duration::from_secs(60);

/// No thread ends because it idles for so long.
const AGES: Duration = Duration::from_secs(24 * 3600);

const STACK: usize = 16 << 20;

/// Uses more of the stack than a thread has by default: 600 pages, and copies of them if nothing is
/// optimised.
fn deep() -> usize {
    #[inline(never)]
    fn down(depth: usize) -> usize {
        let page = black_box([1_u8; 4096]);
        if depth == 0 {
            return usize::from(page[0]);
        }
        down(depth - 1) + usize::from(black_box(page)[depth % 4096])
    }
    down(600)
}

#[test]
fn a_chosen_stack_is_that_of_all_threads() {
    for builder in [Tokio::builder(), Tokio::builder().current_thread()] {
        let rt = builder
            .worker_threads(1)
            .thread_stack_size(STACK)
            .offload_limit(1)
            .build()
            .unwrap();
        rt.block_on(rt.spawn(async { deep() })).unwrap();
        // A thread that waits for a closure runs it only if its stack will do: this one's will
        // not. Often, for it must not have started.
        for _ in 0..20 {
            rt.offload(deep).wait().unwrap();
        }
        // On a thread that stands in for one whose closure is parked.
        let inner = rt.clone();
        let nested = rt.offload(move || inner.block_on(inner.offload(deep)).unwrap());
        rt.block_on(nested).unwrap();
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    }
}

#[test]
fn the_largest_limit_is_no_limit() {
    for builder in [Tokio::builder(), Tokio::builder().current_thread()] {
        let rt = builder.offload_limit(usize::MAX).build().unwrap();
        let inner = rt.clone();
        let nested = rt.offload(move || inner.block_on(inner.offload(|| 1)).unwrap());
        assert_eq!(rt.block_on(nested).unwrap(), 1);
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    }
}

fn count(counter: &Arc<AtomicUsize>) -> impl Fn() + Send + Sync + 'static {
    let counter = counter.clone();
    move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn hooks_run_on_all_threads() {
    let hooked = |builder: Builder, before: usize| {
        let (started, stopped) = (Arc::<AtomicUsize>::default(), Arc::default());
        let rt = builder
            .worker_threads(2)
            .offload_limit(1)
            .keep_alive(AGES)
            .on_thread_start(count(&started))
            .on_thread_stop(count(&stopped))
            .build()
            .unwrap();
        rt.block_on(async {
            rt.spawn(async {}).await.unwrap();
            rt.offload(|| ()).await.unwrap();
        });
        eventually("they have begun", || {
            started.load(Ordering::SeqCst) > before
        });
        let counts = || [&started, &stopped].map(|count| count.load(Ordering::SeqCst));
        let first = counts();
        // On a thread that stands in for one whose closure is parked.
        let inner = rt.clone();
        let nested = rt.offload(move || inner.block_on(inner.offload(|| 1)).unwrap());
        assert_eq!(rt.block_on(nested).unwrap(), 1);
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
        let [started, stopped] = counts();
        assert_eq!(started, stopped);
        assert!(started >= before + 2, "{started}");
        // On a busy machine a thread that is late has another one that stands in for it.
        (first, started) == ([before + 1, 0], before + 2)
    };
    for (builder, before) in [
        (Tokio::builder(), 2),
        (Tokio::builder().current_thread(), 1),
    ] {
        let as_many = (0..20).any(|_| hooked(builder.clone(), before));
        assert!(as_many, "there are more threads each time");
    }
}

#[test]
fn a_hook_that_panics_harms_nobody() {
    let rt = Tokio::builder()
        .worker_threads(1)
        .on_thread_start(|| panic!("in the hook"))
        .on_thread_stop(|| panic!("in the hook"))
        .build()
        .unwrap();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    assert_eq!(rt.block_on(rt.offload(|| 2)).unwrap(), 2);
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

#[test]
fn a_name_with_a_nul_byte_is_an_error() {
    let builder = Tokio::builder().thread_name("a\0b");
    let error = builder.clone().build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let native = Runtime::new().unwrap();
    let error = builder.build_from_runtime(native).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_stack_that_is_too_small_is_an_error() {
    for bytes in [0, 1, 4096] {
        let builder = Tokio::builder().thread_stack_size(bytes);
        let error = builder.clone().build().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let native = Runtime::new().unwrap();
        let error = builder.build_from_runtime(native).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    let least = Tokio::builder()
        .thread_stack_size(64 << 10)
        .build()
        .unwrap();
    assert_eq!(least.offload(|| 1).wait().unwrap(), 1);
}

#[test]
fn a_runtime_that_is_taken_over_has_the_offload_settings() {
    let native = Runtime::new().unwrap();
    let rt = Tokio::builder()
        .offload_limit(1)
        .offload_queue(Some(0))
        .build_from_runtime(native)
        .unwrap();
    let (go, waits) = mpsc::channel::<()>();
    let running = rt.try_offload(move || waits.recv_timeout(MUST)).unwrap();
    assert!(rt.try_offload(|| ()).unwrap_err().is_full());
    drop(go);
    rt.block_on(running).unwrap().unwrap_err();
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
}

/// After one whose time was over, another shutdown waits, and says when all has ended.
#[test]
fn a_shutdown_after_one_that_was_too_short_is_clean() {
    let built = Tokio::builder().build().unwrap();
    let taken_over = Tokio::from_runtime(Runtime::new().unwrap()).unwrap();
    for rt in [built, taken_over] {
        let (go, waits) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        // Tokio's own thread, of which the pool does not know.
        let closure = rt.handle().spawn_blocking(move || {
            started.send(()).unwrap();
            let _ = waits.recv_timeout(MUST);
        });
        has_started.recv_timeout(MUST).unwrap();
        assert!(!rt.shutdown(Duration::ZERO).unwrap().is_clean());
        assert!(!rt.shutdown(Duration::from_millis(5)).unwrap().is_clean());
        drop(go);
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
        assert!(closure.is_finished());
        assert!(rt.shutdown(Duration::ZERO).unwrap().is_clean());
    }
}

/// Also one with no time to wait: another thread ends the native runtime, and may not have begun.
#[test]
fn a_shutdown_stops_accepting_at_once() {
    let polled = Arc::<AtomicBool>::default();
    let work = || {
        let polled = polled.clone();
        async move { polled.store(true, Ordering::SeqCst) }
    };
    for round in 0..200 {
        let rt = Tokio::builder().worker_threads(1).build().unwrap();
        rt.shutdown(Duration::ZERO).unwrap();
        let task = rt.spawn(work());
        rt.spawn_detached(work());
        let error = rt.block_on(task).unwrap_err();
        assert!(error.is_shutdown(), "in round {round}: {error:?}");
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
        assert!(!polled.load(Ordering::SeqCst), "in round {round}");
    }
}

/// The joiner of a task that comes after the shutdown is told of a destructor's panic, as it is
/// by Tokio itself.
#[test]
fn a_refused_future_may_panic() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    let rt = Tokio::builder().worker_threads(1).build().unwrap();
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    let panics = Panics;
    let task = rt.spawn(async move {
        let _panics = panics;
    });
    assert!(rt.block_on(task).unwrap_err().is_panic());
}

/// A thread that shuts the runtime down in a destructor of its locals, while the runtime ends and
/// waits for that thread, does not wait for itself (SH-1, orderly shutdown).
#[test]
fn a_shutdown_on_a_thread_that_is_ending_comes_back() {
    struct Ends {
        rt: Tokio,
        begun: mpsc::Sender<()>,
        go: mpsc::Receiver<()>,
        done: mpsc::Sender<()>,
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.begun.send(());
            let _ = self.go.recv_timeout(MUST);
            self.rt.shutdown(Duration::MAX).unwrap();
            let _ = self.done.send(());
        }
    }
    thread_local! {
        static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) };
    }
    let multi = || Tokio::builder().worker_threads(1).keep_alive(AGES);
    let single = || Tokio::builder().current_thread().keep_alive(AGES);
    for (builder, on_worker, timeout) in [
        (multi(), true, Duration::ZERO),
        (multi(), true, Duration::MAX),
        (multi(), false, Duration::ZERO),
        (single(), false, Duration::MAX),
    ] {
        let rt = builder.build().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (send_go, go) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        let ends = Ends {
            rt: rt.clone(),
            begun,
            go,
            done,
        };
        if on_worker {
            rt.block_on(rt.spawn(async move { ENDS.set(Some(ends)) }))
                .unwrap();
        } else {
            let native = rt.handle().spawn_blocking(move || ENDS.set(Some(ends)));
            rt.block_on(native).unwrap();
        }
        let first = thread::spawn({
            let rt = rt.clone();
            move || rt.shutdown(timeout).unwrap()
        });
        has_begun.recv_timeout(MUST).unwrap();
        send_go.send(()).unwrap();
        let done = is_done.recv_timeout(MUST);
        done.expect("the thread waits for itself");
        first.join().unwrap();
        assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    }
}

/// A shutdown after one that was too short waits for the destructors of thread-locals.
#[test]
fn a_later_shutdown_waits_for_thread_locals() {
    struct Slow(mpsc::Receiver<()>, mpsc::Sender<()>, Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.1.send(());
            let _ = self.0.recv_timeout(MUST);
            self.2.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static SLOW: RefCell<Option<Slow>> = const { RefCell::new(None) };
    }
    let rt = Tokio::builder().worker_threads(1).build().unwrap();
    let (go, waits) = mpsc::channel();
    let (ending, ends) = mpsc::channel();
    let done = Arc::<AtomicUsize>::default();
    let slow = Slow(waits, ending, done.clone());
    rt.block_on(rt.spawn(async move { SLOW.set(Some(slow)) }))
        .unwrap();
    let first = thread::spawn({
        let rt = rt.clone();
        move || rt.shutdown(Duration::ZERO).unwrap().is_clean()
    });
    ends.recv_timeout(MUST).unwrap();
    assert!(!first.join().unwrap());
    assert!(!rt.shutdown(Duration::from_millis(5)).unwrap().is_clean());
    go.send(()).unwrap();
    assert!(rt.shutdown(Duration::MAX).unwrap().is_clean());
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

/// Handles by default share one pool, whoever made one with other limits, and however many come
/// at the same moment.
#[test]
fn the_pool_of_a_foreign_runtime_is_the_default_one() {
    let native = Runtime::new().unwrap();
    let narrow = Tokio::builder()
        .handle(native.handle().clone())
        .offload_limit(1)
        .offload_queue(Some(0))
        .build()
        .unwrap();
    let (go, waits) = mpsc::channel::<()>();
    let running = narrow.offload(move || waits.recv_timeout(MUST));
    let rt = Tokio::from_handle(native.handle().clone());
    // With the limits of the other it would be full.
    let second = rt.try_offload(|| 2).unwrap();
    assert_eq!(rt.block_on(second).unwrap(), 2);
    drop(go);
    running.detach();
}

/// More than the system has.
const ENDLESS_STACK: usize = 1 << 60;

#[test]
fn threads_that_cannot_be_had_are_an_error() {
    let builder = Tokio::builder().thread_stack_size(ENDLESS_STACK);
    for builder in [builder.clone(), builder.current_thread()] {
        assert!(builder.clone().build().is_err());
        // The runtime that was begun is not dropped as a caller may not: that panics in async code.
        let rt = Tokio::builder().worker_threads(1).build().unwrap();
        rt.block_on(async { assert!(builder.build().is_err()) });
    }
}

#[test]
fn a_runtime_that_cannot_be_driven_is_shut_down_in_the_background() {
    let native = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (begun, begins) = mpsc::channel();
    let (go, waits) = mpsc::channel::<()>();
    native.spawn_blocking(move || {
        begun.send(()).unwrap();
        waits.recv_timeout(MUST)
    });
    begins.recv_timeout(MUST).unwrap();
    let builder = Tokio::builder().thread_stack_size(ENDLESS_STACK);
    let (sender, built) = mpsc::channel();
    let building = thread::spawn(move || {
        sender
            .send(builder.build_from_runtime(native).is_err())
            .unwrap();
    });
    let refused = built.recv_timeout(MUST / 2);
    drop(go);
    assert_eq!(refused, Ok(true), "it waits for the closure");
    building.join().unwrap();
}

/// Tokio would wait for the closure first, with nobody to drive the task.
#[test]
fn a_runtime_that_is_taken_over_does_not_wait_for_closures_that_wait_for_it() {
    let native = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rt = Tokio::from_runtime(native).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let inner = rt.clone();
    let closure = rt.offload(move || {
        let task = inner.spawn(std::future::pending::<()>());
        begun.send(()).unwrap();
        task.wait().unwrap_err().is_shutdown()
    });
    has_begun.recv_timeout(MUST).unwrap();
    let report = rt.shutdown(MUST).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(closure.wait().unwrap());
}

#[test]
fn a_shutdown_in_a_closure_does_not_wait_for_that_closure() {
    let builders = [Tokio::builder(), Tokio::builder().current_thread()];
    for rt in builders.map(|builder| builder.build().unwrap()) {
        let inner = rt.clone();
        let (send, receive) = mpsc::channel();
        rt.offload(move || send.send(inner.shutdown(Duration::MAX)))
            .detach();
        let report = receive.recv_timeout(MUST).unwrap().unwrap();
        assert_eq!(report.closures_running, 1, "{report:?}");
        assert!(rt.shutdown(MUST).unwrap().is_clean());
    }
}
