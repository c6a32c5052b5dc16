//! Sockets on the reactor of a Tokio runtime, by its `AsyncFd`.
//!
//! Tokio's driver tells of the shutdown only once the last worker has returned from its poll, which may
//! be never. So the runtime's [`Life`] tells them as well.

#![allow(
    unsafe_code,
    reason = "Tokio must be able to rely on the descriptor, which it keeps as a number"
)]

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use fourway_adapt::{WakerSlot, is_harmless};
use fourway_core::implement::discard;
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
};

use super::{
    kept::Kept,
    life::{Life, Listed},
};
use crate::{
    budget::Budget,
    error::Refused,
    io::{Direction, Socket},
};

/// A socket that a Tokio runtime watches.
#[derive(Debug)]
pub(crate) struct Registered<S: Socket> {
    socket: AsyncFd<S>,
    listed: Listed<Kept>,
    budget: Budget,
    /// Between Tokio's driver and a waker that may panic, from the first of these on: the driver's
    /// thread is a worker, and Tokio ends the process when one unwinds. One for each direction; in a
    /// box, as few sockets need them.
    slots: OnceLock<Box<[WakerSlot; 2]>>,
}

impl<S: Socket> Registered<S> {
    pub(crate) fn new(handle: &Handle, life: &Arc<Life>, socket: S) -> io::Result<Self> {
        life.check()?;
        // In a destructor of a thread-local that outlives Tokio's own, entering a runtime would
        // abort the process.
        if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
            return Err(Refused::ShutDown.error());
        }
        // Tokio panics if the runtime was built without I/O.
        let registered = catch_unwind(AssertUnwindSafe(|| {
            let _entered = handle.enter();
            // SAFETY: a `Socket` is one of the standard library's, which owns its descriptor and
            // always gives the same one. The `AsyncFd` owns the socket and lends only shared
            // references, which can neither close nor replace the descriptor, until `into_inner`
            // takes it out or it is closed with the `AsyncFd`.
            unsafe { AsyncFd::register(socket) }
        }));
        match registered {
            Ok(Ok(socket)) => Ok(Self {
                socket,
                listed: life.list()?,
                budget: Budget::default(),
                slots: OnceLock::new(),
            }),
            // An error of epoll has a number; the error of a runtime that was shut down has none.
            Ok(Err(error)) => match io::Error::from(error) {
                error if error.raw_os_error().is_some() => Err(error),
                _ => Err(Refused::ShutDown.error()),
            },
            Err(payload) => {
                discard(payload);
                Err(Refused::NoIoDriver.error())
            }
        }
    }

    pub(crate) fn socket(&self) -> &S {
        self.socket.get_ref()
    }

    pub(crate) fn into_socket(self) -> io::Result<S> {
        Ok(self.socket.into_inner())
    }

    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
        mut is_drained: impl FnMut(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        let Listed { life, waiting, .. } = &self.listed;
        life.check()?;
        loop {
            if self.budget.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let ready = self.contained(cx, direction, |cx| match direction {
                Direction::Read => self.socket.poll_read_ready(cx),
                Direction::Write => self.socket.poll_write_ready(cx),
            });
            let mut guard = match ready {
                Poll::Ready(Ok(guard)) => guard,
                // There is no other error.
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Refused::ShutDown.error())),
                Poll::Pending => {
                    // First the waker, then the look: see `check`.
                    waiting.keep(direction, cx.waker());
                    life.check()?;
                    return Poll::Pending;
                }
            };
            match op(guard.get_inner()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.budget.rest();
                    guard.clear_ready();
                }
                Ok(output) => {
                    // Less than requested: there is no more, and the edge-triggered poller will
                    // report when there is. This saves the call that would give "would block".
                    if is_drained(&output) {
                        self.budget.rest();
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(output));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Calls `poll` with a waker that Tokio's driver may have: [`WakerSlot::between`], for a slot that
    /// is shared.
    fn contained<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let slots = match self.slots.get() {
            Some(slots) => slots,
            None if is_harmless(cx.waker()) => return poll(cx),
            None => self.slots.get_or_init(Box::default),
        };
        let slot = &slots[direction as usize];
        // Before the driver is asked: a wake in between finds the waker.
        slot.set(cx.waker());
        poll(&mut Context::from_waker(slot.waker()))
    }

    /// As `poll`, for any number of tasks at a time.
    pub(crate) async fn run<T>(
        &self,
        direction: Direction,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        loop {
            self.listed.life.check()?;
            if self.budget.is_over() {
                fourway_core::yield_now().await;
            }
            // Without a future of Tokio's where none has to wait.
            match self.socket.try_io(interest, &mut op) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.budget.rest(),
                result => return result,
            }
            match direction {
                Direction::Read => self.until(direction, self.socket.readable()).await?,
                Direction::Write => self.until(direction, self.socket.writable()).await?,
            }
        }
    }

    /// Waits by a future of Tokio's, which has a waiter of its own, or until the runtime is shut down.
    async fn until<T>(
        &self,
        direction: Direction,
        ready: impl Future<Output = io::Result<T>>,
    ) -> io::Result<()> {
        let mut ready = pin!(ready);
        // Dropped before the future: a wake of the driver meanwhile reaches nobody. A clone of the
        // waker stays in `Kept`.
        let mut slot = None;
        let mut place = self.listed.waiting.place(direction);
        poll_fn(|cx| {
            let polled = WakerSlot::between(&mut slot, cx, |cx| ready.as_mut().poll(cx));
            if let Poll::Ready(ready) = polled {
                return Poll::Ready(ready.map(drop).map_err(|_| Refused::ShutDown.error()));
            }
            // First the waker, then the look: see `check`.
            place.keep(cx.waker());
            self.listed.life.check()?;
            Poll::Pending
        })
        .await
    }
}
