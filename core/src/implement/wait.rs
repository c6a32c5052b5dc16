//! How a thread waits in sync code: [`wait_for`], and a [`Kit`]'s part in it.

use std::{
    any::Any,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    BlockOnError, context,
    implement::{self, check_may_block},
    park_hooks::Parking,
    sync::{
        atomic::{AtomicBool, Ordering},
        thread::{self, Thread},
    },
};

/// What a kit does on a thread that waits in sync code. Both functions handle the slots that the
/// thread holds for a pool ([nested offload never starves][OF-4]).
///
/// [OF-4]: crate::contract#OF-4
#[derive(Clone, Copy, Debug)]
pub struct Kit {
    /// Drives a future to its end on the calling thread, which may block: marks the thread as
    /// running async code while it polls, and lends the thread's slots while it is parked.
    pub drive: fn(Pin<&mut (dyn Future<Output = ()> + '_)>),
    /// Lends the slots of the calling thread until the returned value is dropped there. That drop
    /// waits until the thread has its slots again. `None` if the thread holds none.
    pub lend: fn() -> Option<Box<dyn Any>>,
}

static KIT: OnceLock<&'static Kit> = OnceLock::new();

/// Sets what the threads of this process do while they wait in sync code, from now on.
///
/// `fourway-adapt` calls this when a pool is made. The first kit stays. Without a kit, a waiting
/// thread is just parked.
pub fn install_kit(kit: &'static Kit) {
    // `get` first: a forked child whose parent has set the kit waits for nothing here.
    if KIT.get().is_none() {
        // Set twice by one kit, it is the same one.
        let _ = KIT.set(kit);
    }
}

/// Lends the slot of the closure that this thread runs, if it runs one, until the value is
/// dropped.
pub(crate) fn lend() -> Option<Box<dyn Any>> {
    (KIT.get()?.lend)()
}

/// Awaits `task` on the calling thread, parking it meanwhile: what
/// [`Task::try_wait`](crate::Task::try_wait) does unless a handle knows better.
///
/// # Errors
///
/// [`is_nested`](BlockOnError::is_nested) if the thread is running async code ([no blocking in
/// async code][BL-2]). The task has not been polled. Those of the thread's [`Host`](super::Host),
/// if it has one.
///
/// # Panics
///
/// If polling the task does, such as one whose result was taken before.
///
/// [BL-2]: crate::contract#BL-2
pub fn wait_for<K>(task: &mut K) -> Result<K::Output, BlockOnError>
where
    K: Future + Unpin + ?Sized,
{
    check_may_block()?;
    let mut output = None;
    let future = pin!(async { output = Some(task.await) });
    if let Some(host) = super::host() {
        host.wait_and_lend(future)?;
        return Ok(output.expect("a host returns when the future is ready"));
    }
    match KIT.get() {
        Some(kit) => (kit.drive)(future),
        None => park_until_ready(future),
    }
    Ok(output.expect("a kit returns when the future is ready"))
}

/// Drives a future in a process that has no kit.
fn park_until_ready(mut future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
    let signal = Arc::new(Signal {
        woken: AtomicBool::new(false),
        thread: thread::current(),
    });
    let waker = Waker::from(signal.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        let poll = {
            let _mark = implement::enter(context::Context::Async, None);
            future.as_mut().poll(&mut cx)
        };
        if poll == Poll::Ready(()) {
            return;
        }
        // The flag, not the park token, says whether it was woken: code polled on this
        // thread may park by itself (BL-5, park tokens and stale wakes). Acquire pairs with the
        // Release in `wake`.
        if signal.woken.swap(false, Ordering::Acquire) {
            continue;
        }
        let _parking = Parking::begin();
        while !signal.woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Pairs with the Acquire in `park_until_ready`. The flag is set before the token: a
        // thread that is about to park sees one or the other.
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(all(test, not(fourway_shuttle)))]
mod tests {
    use super::*;
    use crate::task::Metadata;
    use crate::{Task, implement::join};

    #[test]
    fn a_process_without_a_kit_waits_all_the_same() {
        let (runner, mut task) = join::task(Metadata::caller(), async { 7 }, None);
        let thread = std::thread::spawn(move || park_until_ready(pin!(runner)));
        assert_eq!(task.try_wait().unwrap().unwrap(), 7);
        thread.join().unwrap();
    }

    #[test]
    fn async_code_is_refused_and_keeps_its_handle() {
        let (runner, mut task) = join::task(Metadata::caller(), async { 7 }, None);
        let mark = implement::enter(context::Context::Async, None);
        assert!(task.try_wait().is_err_and(|error| error.is_nested()));
        drop(mark);
        park_until_ready(pin!(runner));
        assert_eq!(task.wait().unwrap(), 7);
    }
}
