//! Sockets on the reactor of `async-io`, which belongs to the process.
//!
//! It goes on when a runtime is shut down, and knows no runtimes. So the sockets are told of its end
//! by its [`Life`].

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_io::Async;

use super::{
    life::{Life, Listed},
    waiting::Waiting,
};
use crate::io::{Direction, Socket};

/// A socket that `async-io` watches.
#[derive(Debug)]
pub(crate) struct Registered<S> {
    socket: Async<S>,
    listed: Listed<Waiting>,
    /// The last operation in a direction took all there was, so that the next one waits at once.
    drained: [AtomicBool; 2],
}

impl<S: Socket> Registered<S> {
    pub(crate) fn new(life: &Arc<Life>, socket: S) -> io::Result<Self> {
        life.check()?;
        let socket = Async::new_nonblocking(socket)?;
        Ok(Self {
            socket,
            listed: life.list()?,
            drained: Default::default(),
        })
    }

    pub(crate) fn socket(&self) -> &S {
        self.socket.get_ref()
    }

    pub(crate) fn into_socket(self) -> io::Result<S> {
        self.socket.into_inner()
    }

    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
        is_drained: impl FnOnce(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        let Listed { life, waiting, .. } = &self.listed;
        // Relaxed: a hint, as the poller is asked anew about each wait.
        let drained = &self.drained[direction as usize];
        let mut is_known = drained.load(Ordering::Relaxed);
        if is_known {
            drained.store(false, Ordering::Relaxed);
        }
        let mut has_waited = false;
        loop {
            life.check()?;
            if !std::mem::take(&mut is_known) {
                if waiting.budget.is_over() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match op(self.socket.get_ref()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => {
                        if has_waited {
                            waiting.clear(direction);
                        }
                        // Less than requested: there is no more. This saves the call that would give
                        // "would block".
                        if result.as_ref().is_ok_and(is_drained) {
                            drained.store(true, Ordering::Relaxed);
                        }
                        return Poll::Ready(result);
                    }
                }
            }
            waiting.budget.rest();
            has_waited = true;
            // First the waker, then the look: see `check`.
            waiting.set(direction, cx.waker());
            life.check()?;
            // The event that ended an earlier wait makes the first look ready, although its bytes are
            // taken. The second one waits. That costs no system call, where another `op` would. No
            // event is lost: `async-io` registers interest anew, and what is ready then is reported.
            ready!(self.poll_ready(cx, direction))?;
            ready!(self.poll_ready(cx, direction))?;
        }
    }

    fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        match direction {
            Direction::Read => self.socket.poll_readable(cx),
            Direction::Write => self.socket.poll_writable(cx),
        }
    }

    /// As `poll`, for any number of tasks at a time.
    pub(crate) async fn run<T>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let Listed { life, waiting, .. } = &self.listed;
        loop {
            life.check()?;
            if waiting.budget.is_over() {
                fourway_core::yield_now().await;
            }
            match op(self.socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            waiting.budget.rest();
            match direction {
                Direction::Read => self.until(direction, self.socket.readable()).await?,
                Direction::Write => self.until(direction, self.socket.writable()).await?,
            }
        }
    }

    /// Waits until it is ready, or the runtime is shut down.
    async fn until(
        &self,
        direction: Direction,
        ready: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        let mut ready = pin!(ready);
        let mut entry = self.listed.waiting.entry(direction);
        poll_fn(|cx| {
            entry.set(cx.waker());
            self.listed.life.check()?;
            ready.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        cell::Cell,
        io::{Read, Write},
        os::unix::net::UnixStream,
        sync::mpsc,
        task::{Wake, Waker},
    };

    use fourway_testing::AGES;

    use super::*;

    /// Says that it was woken.
    struct Woken(mpsc::Sender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }

    /// A read, and a wait for more: one system call, as the read has said that there is no more, or
    /// two. After an earlier wait its event is still known, and must not cost a third.
    #[test]
    fn a_wait_after_a_wait_looks_once_or_not_at_all() {
        for is_drained in [false, true] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let socket = Registered::new(&Arc::default(), ours).unwrap();
            let (woken, wakes) = mpsc::channel();
            let waker = Waker::from(Arc::new(Woken(woken)));
            let cx = &mut Context::from_waker(&waker);
            let looks = Cell::new(0);
            let mut poll = || {
                let read = |mut socket: &UnixStream| {
                    looks.set(looks.get() + 1);
                    socket.read(&mut [0; 8])
                };
                socket.poll(cx, Direction::Read, read, |_| is_drained)
            };
            for i in 0..4 {
                assert!(poll().is_pending());
                let is_known = is_drained && i > 0;
                assert_eq!(looks.take(), u32::from(!is_known));
                theirs.write_all(b"x").unwrap();
                // Called by the thread of `async-io`, which turns the reactor.
                wakes.recv_timeout(AGES).unwrap();
                assert!(matches!(poll(), Poll::Ready(Ok(1))));
                assert_eq!(looks.take(), 1);
            }
            // What came before the wait, and the end, are not missed.
            theirs.write_all(b"x").unwrap();
            drop(theirs);
            let read = poll_fn(|cx| {
                let read = |mut socket: &UnixStream| socket.read(&mut [0; 8]);
                socket.poll(cx, Direction::Read, read, |_| is_drained)
            });
            let mut read = pin!(read);
            assert_eq!(async_io::block_on(read.as_mut()).unwrap(), 1);
            assert_eq!(async_io::block_on(read.as_mut()).unwrap(), 0);
        }
    }
}
