//! A joiner's waker runs on the worker: it must not block, and is told so.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    time::Duration,
};

use fourway_core::{AnyRuntime, BlockOn, BlockOnError, Spawner, context};
use fourway_std_thread::StdThread;

type Seen = (
    context::Context,
    Option<AnyRuntime>,
    Result<(), BlockOnError>,
);

struct Blocks {
    rt: StdThread,
    seen: Mutex<Option<mpsc::Sender<Seen>>>,
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        // The only worker is this thread: the task would never run.
        let blocked = self.rt.try_block_on(self.rt.spawn(async {}));
        let seen = (
            context::current(),
            AnyRuntime::current(),
            blocked.map(|joined| joined.unwrap()),
        );
        if let Some(sender) = self.seen.lock().unwrap().take() {
            let _ = sender.send(seen);
        }
    }
}

/// BL-2, no blocking in async code: between the polls of its tasks a worker is a thread of async
/// code as well.
#[test]
fn a_joiners_waker_is_refused() {
    let rt = StdThread::builder().worker_threads(1).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let waker = Waker::from(Arc::new(Blocks {
        rt: rt.clone(),
        seen: Mutex::new(Some(sender)),
    }));
    let (go, wait) = mpsc::channel::<()>();
    let mut task = pin!(rt.spawn(async move {
        let _ = wait.recv();
    }));
    let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();
    let (context, current, blocked) = seen.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(context, context::Context::Async);
    assert!(current.is_some());
    assert!(blocked.unwrap_err().is_nested());
}
