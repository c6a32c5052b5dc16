//! Readiness of descriptors: [`Reactor`].
//!
//! It has no thread. A worker that would otherwise sleep waits in the poller, one at a time, and
//! busy workers look there now and then; see `IDLE.md` beside this file. There is no poller, and no
//! descriptor, before the first source is registered.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{Ordering, fence},
    },
    thread,
    time::Duration,
};

use fourway_adapt::fork::ForgetInChild;
use mio::{Events, Interest, Poll, Registry, Token, Waker, unix::SourceFd};

use crate::{
    executor::Executor,
    poller::{Poller, Ready},
};

/// Reports ready descriptors, on the workers of a [`StdThread`](crate::StdThread). It is among the
/// runtime's [`extensions`](fourway_core::Spawner::extensions), for crates like `fourway-net`,
/// which builds sockets on it.
///
/// It does not keep its runtime from ending.
#[derive(Clone)]
pub struct Reactor {
    executor: Arc<Executor>,
}

/// Is told that a source is ready.
///
/// Both methods are called on a worker, or by the thread that shuts the runtime down, under no
/// lock. They must only wake: other sources wait meanwhile.
pub trait Listener: Send + Sync {
    /// Something has come, or there is room for something, since the last call: one call for one
    /// change. It may be called for no reason.
    fn ready(&self, readiness: Readiness);

    /// The runtime is shut down: no more calls come.
    fn closed(&self);
}

/// The directions that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Reading may not say "would block": there is something, an end or an error.
    pub readable: bool,
    /// Writing may not say "would block": there is room, or an error.
    pub writable: bool,
    /// An end or an error follows the data. It is reported with the data and not again: a reader
    /// that has read less than it had room for must read once more.
    pub read_closed: bool,
    /// Writing fails, from now on or once.
    pub write_closed: bool,
}

impl Reactor {
    pub(crate) fn new(executor: Arc<Executor>) -> Self {
        Self { executor }
    }

    /// Watches a source, which must be non-blocking, and whose descriptor stays the same.
    ///
    /// # Errors
    ///
    /// The system's error: no descriptors for a poller, a source that cannot be watched. Also if
    /// the runtime is shut down, or is that of a parent process: [`is_closed`](Self::is_closed).
    pub fn watch<S: AsFd>(&self, source: S, listener: Arc<dyn Listener>) -> io::Result<Watched<S>> {
        if self.is_closed() {
            return Err(closed());
        }
        let shared = self.executor.sources.open(&self.executor)?;
        let key = shared.list(listener)?;
        let watched = Watched {
            listed: ForgetInChild::new(Listed {
                shared: shared.clone(),
                key,
                is_registered: false,
            }),
            source: Some(source),
        };
        watched.register()
    }

    /// Is its runtime shut down, or that of a parent process?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.executor.is_inherited() || self.executor.is_closing()
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

#[cold]
fn closed() -> io::Error {
    io::Error::other("the runtime has been shut down")
}

/// A source that is watched. Made by [`Reactor::watch`].
///
/// In a forked child it is the source, and nothing more: the parent goes on watching its own
/// ([forked children](fourway_core::contract#FK-1)).
#[derive(Debug)]
pub struct Watched<S: AsFd> {
    // In a child the lock of the list may be held for ever.
    listed: ForgetInChild<Listed>,
    /// Empty once it is taken out.
    source: Option<S>,
}

#[derive(Debug)]
struct Listed {
    shared: Arc<Shared>,
    key: usize,
    is_registered: bool,
}

impl<S: AsFd> Watched<S> {
    fn register(mut self) -> io::Result<Self> {
        let fd = self.get_ref().as_fd().as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = &self.listed.shared.registry;
        registry.register(&mut SourceFd(&fd), Token(self.listed.key), both)?;
        self.listed.is_registered = true;
        Ok(self)
    }

    /// The source.
    ///
    /// # Panics
    ///
    /// Never: only [`into_inner`](Self::into_inner) takes it out, and consumes this.
    pub fn get_ref(&self) -> &S {
        self.source.as_ref().expect("it is taken out at the end")
    }

    /// The source, which is not watched any more.
    ///
    /// # Errors
    ///
    /// The system's error.
    ///
    /// # Panics
    ///
    /// Never.
    pub fn into_inner(mut self) -> io::Result<S> {
        self.unregister()?;
        Ok(self.source.take().expect("it is taken out once"))
    }

    fn unregister(&mut self) -> io::Result<()> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        if ForgetInChild::is_inherited(&self.listed) {
            // The poller is shared with the parent: this would take off the parent's source.
            return Ok(());
        }
        if std::mem::take(&mut self.listed.is_registered) {
            let fd = source.as_fd().as_raw_fd();
            let registry = &self.listed.shared.registry;
            registry.deregister(&mut SourceFd(&fd))?;
        }
        Ok(())
    }
}

impl<S: AsFd> Drop for Watched<S> {
    fn drop(&mut self) {
        // If other code has closed it, it is off the poller already.
        let _ = self.unregister();
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let listener = self.shared.lock().remove(self.key);
        drop(listener);
    }
}

/// The executor's part of its reactor: empty, until there is a source.
#[derive(Default)]
pub(crate) struct Sources {
    opening: Mutex<()>,
    // In a forked child it is not dropped: to take something off a poller that is shared with the
    // parent would take off the parent's.
    shared: OnceLock<ForgetInChild<Arc<Shared>>>,
}

impl Sources {
    fn open(&self, executor: &Executor) -> io::Result<&Arc<Shared>> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        {
            // One poller, made by the first thread that comes here. It takes a few system calls.
            let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            if self.shared.get().is_none() {
                let (shared, system) = Shared::new()?;
                let _ = self.shared.set(ForgetInChild::new(shared));
                executor.idle.place.open(Box::new(system));
                executor.idle.notify_poller();
            }
        }
        // Pairs with the fence in `close`: either this sees that the executor is closing, or that
        // sees the sources.
        fence(Ordering::SeqCst);
        if executor.is_closing() {
            self.close();
        }
        let shared = self.shared.get();
        Ok(shared.expect("it has just been opened"))
    }

    /// The executor is closing.
    pub(crate) fn close(&self) {
        fence(Ordering::SeqCst);
        if let Some(shared) = self.shared.get() {
            let listeners = shared.lock().close();
            listeners.iter().for_each(|listener| listener.closed());
        }
    }
}

struct Shared {
    registry: Registry,
    listeners: Mutex<Listeners>,
}

impl Shared {
    fn new() -> io::Result<(Arc<Self>, System)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let shared = Arc::new(Self {
            registry: poll.registry().try_clone()?,
            listeners: Mutex::default(),
        });
        let events = Events::with_capacity(AT_ONCE);
        let system = System(ForgetInChild::new(Inner {
            poll: Mutex::new((poll, events)),
            waker,
            shared: shared.clone(),
        }));
        Ok((shared, system))
    }

    fn list(&self, listener: Arc<dyn Listener>) -> io::Result<usize> {
        self.lock().add(listener).ok_or_else(closed)
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // No user code runs under it, so that nothing can poison it.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The listeners by their keys. A key goes to the next source once its own is gone: that source may
/// then get an older event, which is for no reason and does no harm.
#[derive(Default)]
struct Listeners {
    them: Vec<Option<Arc<dyn Listener>>>,
    free: Vec<usize>,
    closed: bool,
}

impl Listeners {
    fn add(&mut self, listener: Arc<dyn Listener>) -> Option<usize> {
        if self.closed {
            return None;
        }
        if let Some(key) = self.free.pop() {
            self.them[key] = Some(listener);
            return Some(key);
        }
        self.them.push(Some(listener));
        Some(self.them.len() - 1)
    }

    fn remove(&mut self, key: usize) -> Option<Arc<dyn Listener>> {
        let listener = self.them.get_mut(key)?.take()?;
        self.free.push(key);
        Some(listener)
    }

    fn get(&self, key: usize) -> Option<&Arc<dyn Listener>> {
        self.them.get(key)?.as_ref()
    }

    fn close(&mut self) -> Vec<Arc<dyn Listener>> {
        self.closed = true;
        self.free.clear();
        std::mem::take(&mut self.them)
            .into_iter()
            .flatten()
            .collect()
    }
}

/// How many events are taken from the system at once.
const AT_ONCE: usize = 1024;

const WAKER: Token = Token(usize::MAX);

/// The system's poller.
struct System(ForgetInChild<Inner>);

struct Inner {
    /// Locked only by the thread that has the place in the poller.
    poll: Mutex<(Poll, Events)>,
    waker: Waker,
    shared: Arc<Shared>,
}

impl Poller for System {
    fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        let Inner { poll, shared, .. } = &*self.0;
        let mut poll = poll.lock().unwrap_or_else(PoisonError::into_inner);
        let (poll, events) = &mut *poll;
        if let Err(error) = poll.poll(events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                // Other code has closed its descriptor. No listener is told any more; the tasks go
                // on.
                thread::park_timeout(timeout.unwrap_or(Duration::from_millis(1)));
            }
            return;
        }
        let listeners = shared.lock();
        for event in events.iter() {
            if let Some(listener) = listeners.get(event.token().0) {
                let read_closed = event.is_error() || event.is_read_closed();
                let write_closed = event.is_error() || event.is_write_closed();
                ready.push(Ready {
                    listener: listener.clone(),
                    readiness: Readiness {
                        readable: read_closed || event.is_readable(),
                        writable: write_closed || event.is_writable(),
                        read_closed,
                        write_closed,
                    },
                });
            }
        }
    }

    fn interrupt(&self) {
        // It fails if the counter is full, when the wait returns anyway.
        let _ = self.0.waker.wake();
    }
}
