//! Tells sockets when they are ready: [`Reactor`].

use std::{
    fmt,
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{Runtime, implement::fork::Process};

use crate::{
    error::Refused,
    io::{Io, Socket},
    provide::{self, Network},
};

#[cfg(any(feature = "smol", feature = "std-thread"))]
pub(crate) mod async_io;
#[cfg(feature = "tokio")]
mod kept;
#[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
mod life;
#[cfg(feature = "std-thread")]
pub(crate) mod std_thread;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;
#[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
mod waiting;

/// Tells the sockets of one runtime when they are ready.
///
/// Most callers do not need it: [`Net`](crate::Net) finds it by itself. A caller that makes many
/// sockets finds it once, and uses it to convert the standard library's sockets.
///
/// A runtime with [a network of its own](crate::provide) has one, too, which accepts no sockets of
/// the standard library.
///
/// It does not keep its runtime alive.
#[derive(Clone)]
pub struct Reactor {
    kind: Kind,
}

// One variant for each kind of reactor; each has a file that registers a socket and waits for it.
#[derive(Clone)]
enum Kind {
    Provided(Arc<dyn Network>),
    #[cfg(feature = "tokio")]
    Tokio(::tokio::runtime::Handle, Arc<life::Life>),
    #[cfg(feature = "std-thread")]
    StdThread(fourway_std_thread::reactor::Reactor),
    #[cfg(any(feature = "smol", feature = "std-thread"))]
    AsyncIo(Arc<life::Life>),
}

impl Reactor {
    /// The reactor of `runtime`.
    ///
    /// # Errors
    ///
    /// * The runtime is shut down: [`is_shutdown`](crate::is_shutdown).
    /// * The runtime is from before a `fork`, and this is the child: [`is_forked`](crate::is_forked).
    /// * [`Unsupported`](io::ErrorKind::Unsupported): this crate was compiled without a reactor for
    ///   it.
    /// * It is `async-io`'s, which belongs to the parent, and this is a forked child:
    ///   [`is_forked`](crate::is_forked).
    pub fn of<R: Runtime>(runtime: &R) -> io::Result<Self> {
        check(runtime)?;
        let extensions = runtime.extensions();
        if let Some(network) = extensions.as_ref().and_then(provide::in_extensions) {
            return Ok(Self {
                kind: Kind::Provided(network),
            });
        }
        #[cfg(feature = "tokio")]
        if let Some(handle) = extensions.as_ref().and_then(|them| them.get()) {
            let life = life::Life::of(extensions.as_ref())?;
            return Ok(Self {
                kind: Kind::Tokio(handle, life),
            });
        }
        #[cfg(feature = "std-thread")]
        if let Some(reactor) = extensions.as_ref().and_then(|them| them.get()) {
            return Ok(Self {
                kind: Kind::StdThread(reactor),
            });
        }
        #[cfg(any(feature = "smol", feature = "std-thread"))]
        {
            if Process::this().is_forked() {
                // The poller's descriptor is shared with the parent, and its thread is not here.
                return Err(Refused::Forked.error());
            }
            let life = life::Life::of(extensions.as_ref())?;
            Ok(Self {
                kind: Kind::AsyncIo(life),
            })
        }
        #[cfg(not(any(feature = "smol", feature = "std-thread")))]
        {
            Err(Refused::NoReactor.error())
        }
    }

    /// As `of`, for what needs the system: an error if the runtime has a network of its own.
    pub(crate) fn of_system<R: Runtime>(runtime: &R) -> io::Result<Self> {
        let reactor = Self::of(runtime)?;
        match reactor.network() {
            Some(_) => Err(Refused::NoSystem.error()),
            None => Ok(reactor),
        }
    }

    /// The runtime's own network, if that has one.
    pub(crate) fn network(&self) -> Option<&Arc<dyn Network>> {
        match &self.kind {
            Kind::Provided(network) => Some(network),
            #[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
            _ => None,
        }
    }

    /// Registers a socket of the system, which must be non-blocking.
    pub(crate) fn register<S: Socket>(&self, socket: S) -> io::Result<Io<S>> {
        match &self.kind {
            Kind::Provided(_) => {
                drop(socket);
                Err(Refused::NoSystem.error())
            }
            #[cfg(feature = "tokio")]
            Kind::Tokio(handle, life) => {
                tokio::Registered::new(handle, life, socket).map(Io::tokio)
            }
            #[cfg(feature = "std-thread")]
            Kind::StdThread(reactor) => {
                std_thread::Registered::new(reactor, socket).map(Io::std_thread)
            }
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Kind::AsyncIo(life) => async_io::Registered::new(life, socket).map(Io::async_io),
        }
    }
}

/// An error that says why, if `runtime` is over.
pub(crate) fn check<R: Runtime>(runtime: &R) -> io::Result<()> {
    if !runtime.is_shutdown() {
        return Ok(());
    }
    let refused = match is_inherited(runtime) {
        true => Refused::Forked,
        false => Refused::ShutDown,
    };
    Err(refused.error())
}

/// Is a runtime that says it is shut down one from before a `fork`?
fn is_inherited<R: Runtime>(runtime: &R) -> bool {
    // Work that is handed to it says why it is refused (FK-1, forked children); nothing else does.
    Process::this().is_forked()
        && match pin!(runtime.spawn(async {})).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result.is_err_and(|error| error.is_forked()),
            Poll::Pending => false,
        }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            Kind::Provided(_) => "Provided",
            #[cfg(feature = "tokio")]
            Kind::Tokio(..) => "Tokio",
            #[cfg(feature = "std-thread")]
            Kind::StdThread(_) => "StdThread",
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Kind::AsyncIo(_) => "AsyncIo",
        };
        f.debug_tuple("Reactor").field(&name).finish()
    }
}
