//! User code that Tokio runs beside the tasks' polls: destructors of root futures, of joiners' wakers
//! and of thread-locals.

use std::{
    cell::RefCell,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Spawner, Task, yield_now};
use fourway_tokio::Tokio;
use tokio::runtime::Handle;

/// Far above what any of it takes; only a failing test gets here.
const MUST: Duration = Duration::from_secs(30);

fn each(test: impl Fn(Tokio)) {
    test(Tokio::builder().worker_threads(1).build().unwrap());
    test(Tokio::builder().current_thread().build().unwrap());
    let native = tokio::runtime::Runtime::new().unwrap();
    test(Tokio::from_handle(native.handle().clone()));
}

/// Tells on destruction whether the thread is in a Tokio runtime.
struct Tells(mpsc::Sender<bool>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(Handle::try_current().is_ok());
    }
}

/// Unlike an async block, it has something left to destroy when it is ready.
struct Root {
    polls: usize,
    panics: bool,
    _tells: Tells,
}

impl Future for Root {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls += 1;
        if self.polls == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.panics {
            resume_unwind(Box::new("on purpose"));
        }
        Poll::Ready(())
    }
}

#[test]
fn a_root_is_destroyed_inside_the_runtime() {
    each(|rt| {
        for panics in [false, true] {
            let (tell, told) = mpsc::channel();
            let root = Root {
                polls: 0,
                panics,
                _tells: Tells(tell),
            };
            let result = catch_unwind(AssertUnwindSafe(|| rt.block_on(root)));
            assert_eq!(result.is_err(), panics);
            assert_eq!(told.try_recv(), Ok(true), "panics: {panics}");
            assert!(Handle::try_current().is_err(), "left again");
        }
    });
}

#[test]
fn the_root_of_a_runtime_that_nobody_drives_is_destroyed_inside_it() {
    let native = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let rt =
        Tokio::from_handle(native.handle().clone()).with_drive_timeout(Duration::from_millis(1));
    let (tell, told) = mpsc::channel();
    let tells = Tells(tell);
    let result = rt.try_block_on(async move {
        let _tells = tells;
        pending::<()>().await;
    });
    assert!(result.unwrap_err().is_not_driven());
    assert_eq!(told.try_recv(), Ok(true));
}

struct PanicsWhenDropped;

impl Wake for PanicsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !thread::panicking() {
            resume_unwind(Box::new("on purpose"));
        }
    }
}

/// Polls once, with a waker whose last reference the task has then.
fn register<T: Send + 'static>(task: &mut impl Task<T>) {
    let waker = Waker::from(Arc::new(PanicsWhenDropped));
    let poll = pin!(task).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
}

#[test]
fn a_destructor_of_a_joiners_waker_may_panic() {
    each(|rt| {
        for detach in [false, true] {
            let mut task = rt.spawn(pending::<()>());
            register(&mut task);
            let result = catch_unwind(AssertUnwindSafe(|| {
                if detach {
                    task.detach();
                } else {
                    drop(task);
                }
            }));
            assert!(result.is_ok(), "detach: {detach}");
        }
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let mut task = rt.spawn(async move {
            let _ = gate.await;
            yield_now().await;
            7
        });
        register(&mut task);
        open.send(()).unwrap();
        let from = Instant::now();
        while !task.is_finished() {
            assert!(from.elapsed() < MUST, "the task ends");
            thread::yield_now();
        }
        let poll = catch_unwind(AssertUnwindSafe(|| {
            pin!(&mut task).poll(&mut Context::from_waker(Waker::noop()))
        }));
        match poll {
            Ok(Poll::Ready(result)) => assert_eq!(result.unwrap(), 7),
            other => panic!("{:?}", other.map(|poll| poll.is_ready())),
        }
    });
}

#[test]
fn surround_works_where_tokios_context_is_gone() {
    struct AtEnd(Tokio, mpsc::Sender<u8>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            assert!(Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()));
            let _ = self.0.surround(|| self.1.send(1));
        }
    }
    thread_local! {
        static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    each(|rt| {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // Registered first, and so destroyed last.
            AT_END.with_borrow_mut(|at_end| *at_end = Some(AtEnd(rt.clone(), tell)));
            rt.block_on(async {});
        })
        .join()
        .unwrap();
        assert_eq!(told.recv_timeout(MUST), Ok(1));
    });
}
