//! The lives of runtimes: [`Life`].
//!
//! A runtime that ends has to tell its sockets, whatever tells them when they are ready: `async-io`
//! knows no runtimes, and Tokio's driver ends only with the last worker, which may be in a poll that
//! does not return. So each such runtime has a life among its extensions, which ends with it. The life
//! lists every socket of the runtime with the wakers of its waiters.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use fourway_core::implement::Extensions;

use crate::error::Refused;

/// The waiters of a socket.
pub(super) trait Told: fmt::Debug + Send + Sync + 'static {
    /// Wakes all of them.
    fn wake_all(&self);
}

/// The life of a runtime, and its sockets.
#[derive(Debug, Default)]
pub(crate) struct Life {
    is_over: AtomicBool,
    sockets: Mutex<HashMap<usize, Arc<dyn Told>>>,
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
        let Some(extensions) = extensions else {
            // The runtime does not report its end.
            return Ok(Arc::default());
        };
        let hold = extensions.get_or_insert_with(|| Hold(Arc::new(End(Arc::default()))));
        let hold = hold.ok_or_else(|| Refused::ShutDown.error())?;
        Ok(hold.0.0.clone())
    }

    /// A socket that is told of the end.
    pub(super) fn list<W: Told + Default>(self: &Arc<Self>) -> io::Result<Listed<W>> {
        let listed = Listed {
            life: self.clone(),
            waiting: Arc::<W>::default(),
            // Relaxed: the number only has to be unique.
            number: self.next.fetch_add(1, Ordering::Relaxed),
        };
        let waiting = listed.waiting.clone();
        self.lock().insert(listed.number, waiting);
        // After listing it: `end` sets the flag first and then looks at the list.
        self.check()?;
        Ok(listed)
    }

    /// Relaxed: after a waker was left, this read follows the lock on it, which `end` takes after its
    /// write, or [`KeptWaker::keep`](fourway_adapt::KeptWaker::keep). Elsewhere, seeing the flag a moment
    /// later is harmless.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Refused::ShutDown.error());
        }
        Ok(())
    }

    /// Calls the wakers here, as a shutdown that is over has told all
    /// (NE-4, sockets and the lives of runtimes). One that blocks, which no waker may
    /// ([no blocking in async code](fourway_core::contract#BL-2)), holds up the caller.
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let sockets = std::mem::take(&mut *self.lock());
        for waiting in sockets.into_values() {
            waiting.wake_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Arc<dyn Told>>> {
        // No user code runs under this lock, so it cannot be poisoned.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's place in the list.
#[derive(Debug)]
pub(super) struct Listed<W> {
    pub(super) life: Arc<Life>,
    pub(super) waiting: Arc<W>,
    number: usize,
}

impl<W> Drop for Listed<W> {
    fn drop(&mut self) {
        let waiting = self.life.lock().remove(&self.number);
        drop(waiting);
    }
}
