//! Sockets on the reactor of `async-io`, which belongs to the process.
//!
//! It goes on when a runtime is shut down, and knows no runtimes. So each runtime has a [`Life`]
//! among its extensions, which ends with it. The life lists every socket of the runtime with the
//! wakers of its waiters, so that they can be told.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_io::Async;
use fourway_core::implement::{Extensions, fork::Process};

use super::waiting::Waiting;
use crate::{
    error::Refused,
    io::{Direction, Socket},
};

/// The life of a runtime, and its sockets.
#[derive(Debug, Default)]
pub(crate) struct Life {
    is_over: AtomicBool,
    sockets: Mutex<HashMap<usize, Arc<Waiting>>>,
    next: AtomicUsize,
}

/// The runtime's handle of it: dropping this ends the life.
#[derive(Clone)]
struct Hold(#[allow(dead_code, reason = "kept for its destructor")] Arc<End>);

struct End(Arc<Life>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Life {
    /// The life of the runtime with these extensions.
    pub(crate) fn of(extensions: Option<&Extensions>) -> io::Result<Arc<Self>> {
        if Process::this().is_forked() {
            // The poller's descriptor is shared with the parent, and its thread is not here.
            return Err(Refused::Forked.error());
        }
        let Some(extensions) = extensions else {
            // The runtime does not report its end.
            return Ok(Arc::default());
        };
        let hold = extensions.get_or_insert_with(|| Hold(Arc::new(End(Arc::default()))));
        let hold = hold.ok_or_else(|| Refused::ShutDown.error())?;
        Ok(hold.0.0.clone())
    }

    fn list(&self, waiting: Arc<Waiting>) -> io::Result<usize> {
        // Relaxed: the number only has to be unique.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, waiting);
        // After listing it: `end` sets the flag first and then looks at the list.
        self.check()?;
        Ok(number)
    }

    /// Relaxed: after a wait, this read follows the lock on the wakers, which `end` takes after its
    /// write. Elsewhere, seeing the flag a moment later is harmless.
    fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Refused::ShutDown.error());
        }
        Ok(())
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let sockets = std::mem::take(&mut *self.lock());
        for waiting in sockets.into_values() {
            waiting.wake_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Arc<Waiting>>> {
        // No user code runs under this lock, so it cannot be poisoned.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that `async-io` watches.
#[derive(Debug)]
pub(crate) struct Registered<S> {
    socket: Async<S>,
    listed: Listed,
}

#[derive(Debug)]
struct Listed {
    life: Arc<Life>,
    waiting: Arc<Waiting>,
    number: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let waiting = self.life.lock().remove(&self.number);
        drop(waiting);
    }
}

impl<S: Socket> Registered<S> {
    pub(crate) fn new(life: &Arc<Life>, socket: S) -> io::Result<Self> {
        life.check()?;
        let socket = Async::new_nonblocking(socket)?;
        let waiting = Arc::<Waiting>::default();
        let number = life.list(waiting.clone())?;
        let life = life.clone();
        let listed = Listed {
            life,
            waiting,
            number,
        };
        Ok(Self { socket, listed })
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
    ) -> Poll<io::Result<T>> {
        let Listed { life, waiting, .. } = &self.listed;
        let mut has_waited = false;
        loop {
            life.check()?;
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
                    return Poll::Ready(result);
                }
            }
            waiting.budget.rest();
            has_waited = true;
            // First the waker, then the look: see `check`.
            waiting.set(direction, cx.waker());
            life.check()?;
            ready!(match direction {
                Direction::Read => self.socket.poll_readable(cx),
                Direction::Write => self.socket.poll_writable(cx),
            })?;
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
