//! Runtimes that decide which of their threads runs: [`Host`].

use std::{any::Any, cell::RefCell, fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use super::BoxFuture;
use crate::{BlockOnError, sync::thread_local};

/// A runtime that decides which of its threads runs, such as a simulation.
///
/// Code that makes a thread wait, or starts one, by the system's means must ask for the thread's
/// host first, and leave the wait or the start to the host if there is one. Otherwise a thread that
/// sleeps on a condition keeps its turn, and no other thread can run. Ordinary runtimes have no
/// host, and the check reads a thread-local.
pub trait Host: Send + Sync {
    /// Drives `future` to its end on the calling thread, as `block_on` does, but without lending
    /// the slot of a closure ([nested offload never starves][OF-4]).
    ///
    /// # Errors
    ///
    /// If the host has ended, and nothing would wake the thread.
    ///
    /// [OF-4]: crate::contract#OF-4
    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) -> Result<(), BlockOnError>;

    /// The same, with the slot lent: what [`Task::wait`](crate::Task::wait) does, and a sleep on
    /// a token.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    fn wait_and_lend(
        &self,
        future: Pin<&mut (dyn Future<Output = ()> + '_)>,
    ) -> Result<(), BlockOnError>;

    /// A timer of the host.
    fn sleep(&self, duration: std::time::Duration) -> BoxFuture;

    /// Announces a thread that the calling thread is about to start, and that the host schedules.
    fn thread(&self) -> Box<dyn HostedThread>;
}

/// A thread that is about to be started. Made by [`Host::thread`].
///
/// Dropping it says that the thread could not be started.
pub trait HostedThread: Send {
    /// The new thread must call this before anything else. It returns when the thread may run. The
    /// thread must drop the returned value last of all.
    ///
    /// The host does not wait for a join of the thread. A caller that joins the thread by the
    /// system's means must know that the thread has dropped the value.
    fn begin(self: Box<Self>) -> Box<dyn Any>;
}

impl fmt::Debug for dyn Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn HostedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedThread").finish_non_exhaustive()
    }
}

thread_local! {
    static HOST: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
}

/// The host of the calling thread.
#[must_use]
pub fn host() -> Option<Arc<dyn Host>> {
    // In the destructors of thread-locals there may be none any more.
    HOST.try_with(|host| host.borrow().clone()).ok()?
}

/// Makes `host` the calling thread's host, until the returned value is dropped.
pub fn enter_host(host: Arc<dyn Host>) -> InHost {
    let before = HOST.try_with(|current| current.replace(Some(host)));
    InHost {
        before: before.ok().flatten(),
        not_send: PhantomData,
    }
}

/// Made by [`enter_host`].
#[derive(Debug)]
#[must_use = "the thread leaves the host when this is dropped"]
pub struct InHost {
    before: Option<Arc<dyn Host>>,
    // The host is one of this thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for InHost {
    fn drop(&mut self) {
        let before = self.before.take();
        let left = HOST.try_with(|current| current.replace(before));
        drop(left);
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::*;
    use crate::{CancellationToken, Task as _, cancel::Reason, implement::join, task::Metadata};

    /// Polls until it is ready, and counts what it is asked for.
    #[derive(Default)]
    struct Busy {
        waits: AtomicUsize,
        lends: AtomicUsize,
        over: bool,
    }

    impl Host for Busy {
        fn wait(
            &self,
            mut future: Pin<&mut (dyn Future<Output = ()> + '_)>,
        ) -> Result<(), BlockOnError> {
            self.waits.fetch_add(1, Ordering::Relaxed);
            if self.over {
                return Err(BlockOnError::shutdown());
            }
            let mut cx = Context::from_waker(Waker::noop());
            while future.as_mut().poll(&mut cx).is_pending() {}
            Ok(())
        }

        fn wait_and_lend(
            &self,
            future: Pin<&mut (dyn Future<Output = ()> + '_)>,
        ) -> Result<(), BlockOnError> {
            self.lends.fetch_add(1, Ordering::Relaxed);
            self.wait(future)
        }

        fn sleep(&self, _: Duration) -> BoxFuture {
            // An hour takes two polls.
            let mut polls = 0;
            Box::pin(std::future::poll_fn(move |_| {
                polls += 1;
                if polls > 2 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }))
        }

        fn thread(&self) -> Box<dyn HostedThread> {
            unreachable!("nobody starts one")
        }
    }

    #[test]
    fn whoever_waits_leaves_it_to_the_host() {
        let busy = Arc::new(Busy::default());
        let hour = Duration::from_secs(3600);
        let token = CancellationToken::new();
        {
            let _in_host = enter_host(busy.clone());
            token.sleep(hour).unwrap();
            let (runner, mut task) = join::task(Metadata::caller(), async { 7 }, None);
            let mut runner = pin!(runner);
            let _ = runner
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(task.try_wait().unwrap().unwrap(), 7);
            token.cancel();
            assert!(token.sleep(hour).is_err());
        }
        assert!(host().is_none());
        // A sleep on a token lends its slot, too.
        assert_eq!(busy.lends.load(Ordering::Relaxed), 2);
        assert_eq!(busy.waits.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_host_at_its_end_ends_sleeps() {
        let busy = Arc::new(Busy {
            over: true,
            ..Busy::default()
        });
        let _in_host = enter_host(busy);
        let error = CancellationToken::new().sleep(Duration::MAX).unwrap_err();
        assert_eq!(*error.reason(), Reason::Shutdown);
    }
}
