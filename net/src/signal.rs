//! Signals of the process, as futures and as a stream.
//!
//! ```no_run
//! use fourway_core::{AnyRuntime, BlockOn};
//! use fourway_net::signal;
//! use std::io;
//!
//! fn serve(rt: &AnyRuntime) -> io::Result<()> {
//!     let end = signal::termination(rt); // from here on a signal is not missed
//!     let server = rt.spawn_detached(async { /* .. */ });
//!     let signal = rt.block_on(end)?;
//!     println!("{signal}: finishing what was begun");
//!     Ok(())
//! }
//! # use fourway_core::Spawner;
//! ```
//!
//! Each [`Signals`] receives each signal, beside other receivers, also those of `signal-hook` (on
//! which this is built), Tokio or `async-signal`. It waits for a socket of the runtime, and the
//! rules for [sockets](crate#what-is-the-same-everywhere) hold: a dropped wait loses nothing; after
//! the runtime's shutdown there is an error at once ([`is_shutdown`](crate::is_shutdown)).
//!
//! The first [`Signals`] for a signal turns off the system's default action: the signal does not
//! end the process any more. This stays so after all are dropped; otherwise a signal that arrives
//! at that moment would end the process.

use std::{
    fmt,
    future::{Future, poll_fn},
    io::{self, Read},
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use fourway_adapt::fork::ForgetInChild;
use fourway_core::Runtime;
use futures_core::Stream;
use signal_hook::{SigId, consts, low_level};

use crate::{
    Reactor,
    io::{Direction, Io},
};

/// Waits for one Ctrl-C ([`SignalKind::INTERRUPT`]). Signals count from this call on.
///
/// To wait for several, use [`Signals`], which miss none in between.
///
/// # Errors
///
/// As [`Signals::new`] and [`Signals::recv`], when it is awaited.
///
/// # Cancel safety
///
/// Dropping it gives up.
pub fn ctrl_c<R: Runtime>(
    runtime: &R,
) -> impl Future<Output = io::Result<()>> + Send + Unpin + use<R> {
    let signals = Signals::new(runtime, [SignalKind::INTERRUPT]);
    First(signals.map_err(Some), |_| ())
}

/// Waits for one request to end the process: Ctrl-C, or [`SignalKind::TERMINATE`], which service
/// managers and containers send. Gives which one it was. Signals count from this call on.
///
/// # Errors
///
/// As [`ctrl_c`].
///
/// # Cancel safety
///
/// Dropping it gives up.
pub fn termination<R: Runtime>(
    runtime: &R,
) -> impl Future<Output = io::Result<SignalKind>> + Send + Unpin + use<R> {
    let both = [SignalKind::INTERRUPT, SignalKind::TERMINATE];
    First(Signals::new(runtime, both).map_err(Some), |kind| kind)
}

struct First<F>(Result<Signals, Option<io::Error>>, F);

impl<T, F: Fn(SignalKind) -> T + Unpin> Future for First<F> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.0 {
            Ok(signals) => signals.poll_recv(cx).map_ok(&this.1),
            Err(error) => {
                let error = error.take();
                Poll::Ready(Err(error.expect("it is polled until it is ready")))
            }
        }
    }
}

/// The kind of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// `SIGALRM`: a timer of the system's.
    pub const ALARM: Self = Self(consts::SIGALRM);
    /// `SIGCHLD`: a child process has ended.
    pub const CHILD: Self = Self(consts::SIGCHLD);
    /// `SIGHUP`: the terminal is gone; to many services, "read your configuration again".
    pub const HANGUP: Self = Self(consts::SIGHUP);
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: Self = Self(consts::SIGINT);
    /// `SIGPIPE`: a write without a reader. Rust programs ignore it.
    pub const PIPE: Self = Self(consts::SIGPIPE);
    /// `SIGQUIT`: Ctrl-\.
    pub const QUIT: Self = Self(consts::SIGQUIT);
    /// `SIGTERM`: the process is asked to end.
    pub const TERMINATE: Self = Self(consts::SIGTERM);
    /// `SIGUSR1`.
    pub const USER1: Self = Self(consts::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER2: Self = Self(consts::SIGUSR2);
    /// `SIGWINCH`: the terminal's window has another size.
    pub const WINDOW_CHANGE: Self = Self(consts::SIGWINCH);

    /// By its number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Its name, `SIGTERM`, or its number.
impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match low_level::signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Signals of some kinds, since this was made.
///
/// Signals of one kind that arrive before the first of them was received count as one, as
/// they do in the system.
///
/// As a [`Stream`] it has no end: after the shutdown it gives [`is_shutdown`](crate::is_shutdown)
/// again and again.
#[derive(Debug)]
#[must_use = "it is told of signals while it is there"]
pub struct Signals {
    // In a forked child it is left alone: another thread may have held the registry's lock.
    inner: ForgetInChild<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Gets a byte with each signal.
    io: Io<UnixStream>,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    kind: SignalKind,
    /// Has it arrived? Set before the byte is sent.
    arrived: Arc<AtomicBool>,
    ids: [Option<SigId>; 2],
}

impl Signals {
    /// For signals of these kinds, of which there is at least one. One that is named twice is
    /// watched once.
    ///
    /// # Errors
    ///
    /// * [`InvalidInput`](io::ErrorKind::InvalidInput): no kind at all; a signal that cannot be
    ///   waited for (`SIGKILL`, `SIGSTOP`, and those of faults), or that does not exist.
    /// * As [`Reactor::of`], and the system's error.
    pub fn new<R: Runtime>(
        runtime: &R,
        kinds: impl IntoIterator<Item = SignalKind>,
    ) -> io::Result<Self> {
        let reactor = Reactor::of_system(runtime)?;
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let io = reactor.register(read)?;
        let watched = Vec::new();
        // Errors from here on drop it.
        let mut inner = Inner { io, watched };
        for kind in kinds {
            // Watched twice, each signal of it would be given twice.
            if !inner.watched.iter().any(|watched| watched.kind == kind) {
                inner.watch(kind, &write)?;
            }
        }
        if inner.watched.is_empty() {
            // No signal could arrive, and without a writer each wait would end with an error.
            let problem = "there is no kind of signal to wait for";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        Ok(Self {
            inner: ForgetInChild::new(inner),
        })
    }

    /// The next one.
    ///
    /// # Errors
    ///
    /// The runtime is shut down: [`is_shutdown`](crate::is_shutdown); this is a forked child:
    /// [`is_forked`](crate::is_forked).
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses none: the next call gives it.
    pub async fn recv(&mut self) -> io::Result<SignalKind> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv). Wakes the last waker.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SignalKind>> {
        let Inner { io, watched } = &*self.inner;
        io.poll(cx, Direction::Read, |mut stream| {
            loop {
                // Relaxed: the flag carries no other data.
                let mut them = watched.iter();
                if let Some(one) = them.find(|one| one.arrived.swap(false, Ordering::Relaxed)) {
                    return Ok(one.kind);
                }
                // The flag is set before the byte is sent. So after a byte the flags must be
                // checked again; after "would block" they need not.
                if stream.read(&mut [0; 64])? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        })
    }
}

impl Inner {
    fn watch(&mut self, kind: SignalKind, write: &UnixStream) -> io::Result<()> {
        if consts::FORBIDDEN.contains(&kind.0) {
            let problem = format!("{kind} cannot be waited for");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let arrived = Arc::<AtomicBool>::default();
        let flag = signal_hook::flag::register(kind.0, arrived.clone())?;
        self.watched.push(Watched {
            kind,
            arrived,
            ids: [Some(flag), None],
        });
        let byte = low_level::pipe::register(kind.0, write.try_clone()?)?;
        if let Some(watched) = self.watched.last_mut() {
            watched.ids[1] = Some(byte);
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for id in self.ids.into_iter().flatten() {
            low_level::unregister(id);
        }
    }
}

impl Stream for Signals {
    type Item = io::Result<SignalKind>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Some)
    }
}
