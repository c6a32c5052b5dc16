//! A socket that is registered with its runtime's reactor: [`Io`].

use std::{
    fmt,
    future::pending,
    io::{self, Read, Write},
    mem, net,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix,
    },
    sync::{OnceLock, atomic::AtomicBool},
    task::{Context, Poll},
};

use fourway_adapt::fork::ForgetInChild;
use socket2::{Domain, Type};

#[cfg(any(feature = "smol", feature = "std-thread"))]
use crate::reactor::async_io;
#[cfg(feature = "std-thread")]
use crate::reactor::std_thread;
#[cfg(feature = "tokio")]
use crate::reactor::tokio;
use crate::{
    budget::Budget,
    error::Refused,
    provide::{Datagrams, Listener, Stream},
};

/// The direction of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// A socket of the standard library, or another waitable object. It owns its descriptor and keeps
/// the same one as long as it lives; no operation by a shared reference changes it.
pub(crate) trait Socket: AsFd + AsRawFd + Sized {
    /// What a runtime with a network of its own has in its place.
    type Provided: ?Sized + fmt::Debug + Send + Sync;

    /// A read that gives less than requested has taken all there was. Not where the system ends a
    /// read before its time: the next read would wait for an event that came before.
    const SHORT_READ_IS_ALL: bool = false;

    /// A socket that is neither connected nor bound.
    fn placeholder() -> io::Result<Self> {
        Err(Refused::NoSystem.error())
    }
}

impl Socket for net::TcpStream {
    type Provided = dyn Stream;

    // Except at the mark of urgent data (RFC 6093): a read ends there. Only a peer that sends such
    // data can make its own connection wait for its next bytes, and asking for the mark would take
    // the system call that this saves.
    const SHORT_READ_IS_ALL: bool = true;

    fn placeholder() -> io::Result<Self> {
        placeholder(Type::STREAM).map(Into::into)
    }
}

impl Socket for net::TcpListener {
    type Provided = dyn Listener;

    fn placeholder() -> io::Result<Self> {
        placeholder(Type::STREAM).map(Into::into)
    }
}

impl Socket for net::UdpSocket {
    type Provided = dyn Datagrams;

    // One that can send would let a datagram out of a simulation: `AsFd` lends it, and needs no
    // connection to send. So it is connected to itself, which others cannot send to, and then shut
    // down. Not for reading as well, which makes it readable for ever: a loop that waits for its
    // descriptor would spin.
    fn placeholder() -> io::Result<Self> {
        let socket = placeholder(Type::DGRAM)?;
        socket.bind(&net::SocketAddr::from((net::Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.connect(&socket.local_addr()?)?;
        socket.shutdown(net::Shutdown::Write)?;
        Ok(socket.into())
    }
}

// No network provides these.

// A read ends where a descriptor was sent (`SCM_RIGHTS`), whatever follows: so a short one is not all.
impl Socket for unix::net::UnixStream {
    type Provided = dyn Stream;
}

impl Socket for unix::net::UnixListener {
    type Provided = dyn Listener;
}

impl Socket for unix::net::UnixDatagram {
    type Provided = dyn Datagrams;
}

fn placeholder(kind: Type) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::IPV4, kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A non-blocking socket of the standard library and its registration with a reactor, or the socket
/// of a runtime's own network.
pub(crate) struct Io<S: Socket> {
    // In a forked child neither is dropped: removing a descriptor from a poller that is shared with
    // the parent would remove the parent's. Empty once `into_socket` has taken it.
    registered: ForgetInChild<Option<Registered<S>>>,
}

enum Registered<S: Socket> {
    #[cfg(feature = "tokio")]
    Tokio(tokio::Registered<S>),
    #[cfg(feature = "std-thread")]
    StdThread(std_thread::Registered<S>),
    #[cfg(any(feature = "smol", feature = "std-thread"))]
    AsyncIo(async_io::Registered<S>),
    // Boxed, as it is the rare one, so that it adds nothing to the size of the others.
    Provided(Box<Provided<S>>),
}

/// A socket without a descriptor.
pub(crate) struct Provided<S: Socket> {
    pub(crate) socket: Box<S::Provided>,
    /// A network may have every operation ready, as no poll takes any of its time.
    budget: Budget,
    /// What has a descriptor: for options, which are kept and have no effect. Made when it is
    /// needed.
    placeholder: OnceLock<S>,
    /// Apart, because nearly every program sets this one: it needs no descriptor.
    pub(crate) nodelay: AtomicBool,
}

impl<S: Socket> Provided<S> {
    /// Polls an operation, unless it is time to yield.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        op: impl FnOnce(&S::Provided, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.budget.is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = op(&self.socket, cx);
        if polled.is_pending() {
            self.budget.rest();
        }
        polled
    }

    fn placeholder(&self) -> io::Result<&S> {
        if let Some(placeholder) = self.placeholder.get() {
            return Ok(placeholder);
        }
        let made = S::placeholder()?;
        Ok(self.placeholder.get_or_init(|| made))
    }
}

impl<S: Socket> Io<S> {
    #[cfg(feature = "tokio")]
    pub(crate) fn tokio(registered: tokio::Registered<S>) -> Self {
        Self::new(Registered::Tokio(registered))
    }

    #[cfg(feature = "std-thread")]
    pub(crate) fn std_thread(registered: std_thread::Registered<S>) -> Self {
        Self::new(Registered::StdThread(registered))
    }

    #[cfg(any(feature = "smol", feature = "std-thread"))]
    pub(crate) fn async_io(registered: async_io::Registered<S>) -> Self {
        Self::new(Registered::AsyncIo(registered))
    }

    /// One of a runtime's own network.
    pub(crate) fn provide(socket: Box<S::Provided>) -> Self {
        Self::new(Registered::Provided(Box::new(Provided {
            socket,
            budget: Budget::default(),
            placeholder: OnceLock::new(),
            nodelay: AtomicBool::new(false),
        })))
    }

    fn new(registered: Registered<S>) -> Self {
        // A fork must be noticed even if no fourway runtime was made.
        fourway_adapt::fork::watch();
        Self {
            registered: ForgetInChild::new(Some(registered)),
        }
    }

    fn registered(&self) -> &Registered<S> {
        let registered = self.registered.as_ref();
        registered.expect("it is taken out when this ends")
    }

    /// The socket, to change it or its connection.
    ///
    /// In a forked child both are still the parent's: the descriptors are copies, but what they
    /// refer to is shared. So it refuses there what would close the parent's connection, set its
    /// options or take its errors.
    pub(crate) fn own(&self) -> io::Result<&S> {
        self.check_fork()?;
        self.socket()
    }

    /// The system's socket itself, to look at; of a provided one, its placeholder. Changes go
    /// through [`own`](Self::own).
    pub(crate) fn socket(&self) -> io::Result<&S> {
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => Ok(registered.socket()),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => Ok(registered.socket()),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => Ok(registered.socket()),
            Registered::Provided(provided) => provided.placeholder(),
        }
    }

    /// The socket of the runtime's own network, if it is one.
    #[inline]
    pub(crate) fn provided(&self) -> Option<&S::Provided> {
        match self.registered() {
            Registered::Provided(provided) => Some(&provided.socket),
            #[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
            _ => None,
        }
    }

    /// As `provided`, for an operation that waits or changes it: an error in a forked child.
    #[inline]
    pub(crate) fn waiting(&self) -> io::Result<Option<&Provided<S>>> {
        match self.registered() {
            Registered::Provided(provided) => {
                self.check_fork()?;
                Ok(Some(provided))
            }
            #[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
            _ => Ok(None),
        }
    }

    /// Where a provided socket keeps whether bytes are sent at once.
    pub(crate) fn provided_nodelay(&self) -> Option<&AtomicBool> {
        match self.registered() {
            Registered::Provided(provided) => Some(&provided.nodelay),
            #[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
            _ => None,
        }
    }

    /// The socket, without its registration. It is still non-blocking.
    pub(crate) fn into_socket(mut self) -> io::Result<S> {
        self.check_fork()?;
        let registered = self.registered.take();
        match registered.expect("it is taken out once") {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.into_socket(),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.into_socket(),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.into_socket(),
            Registered::Provided(_) => Err(Refused::NoSystem.error()),
        }
    }

    #[inline]
    pub(crate) fn check_fork(&self) -> io::Result<()> {
        if ForgetInChild::is_inherited(&self.registered) {
            return Err(Refused::Forked.error());
        }
        Ok(())
    }

    /// Tries `op` until it does not say "would block", waiting in between. Keeps the last
    /// waker of each direction.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_drained(cx, direction, op, |_| false)
    }

    /// As `poll`; `is_drained` tells from an output that a further `op` would give "would block".
    fn poll_drained<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
        is_drained: impl FnMut(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        self.check_fork()?;
        let op = uninterrupted(op);
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.poll(cx, direction, op, is_drained),
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.poll(cx, direction, op, is_drained),
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.poll(cx, direction, op, is_drained),
            // Operations of sockets do not come here, but a caller's own on the system's socket.
            Registered::Provided(_) => {
                let _ = (cx, direction, op, is_drained);
                Poll::Ready(Err(Refused::NoSystem.error()))
            }
        }
    }

    /// As `poll`, for any number of tasks at a time.
    ///
    /// Cancel safety: `op` runs in a poll whose result is given at once, so that dropping it
    /// loses nothing.
    pub(crate) async fn run<T>(
        &self,
        direction: Direction,
        op: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        self.check_fork()?;
        let op = uninterrupted(op);
        match self.registered() {
            #[cfg(feature = "tokio")]
            Registered::Tokio(registered) => registered.run(direction, op).await,
            #[cfg(feature = "std-thread")]
            Registered::StdThread(registered) => registered.run(direction, op).await,
            #[cfg(any(feature = "smol", feature = "std-thread"))]
            Registered::AsyncIo(registered) => registered.run(direction, op).await,
            Registered::Provided(_) => {
                let _ = (direction, op);
                Err(Refused::NoSystem.error())
            }
        }
    }
}

/// Repeats a call that a signal interrupted.
fn uninterrupted<S, T>(mut op: impl FnMut(&S) -> io::Result<T>) -> impl FnMut(&S) -> io::Result<T> {
    move |socket| {
        loop {
            match op(socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// For pauses.
impl<S: Socket> Io<S> {
    /// As [`refused`](Self::refused), for one task: it keeps the last waker of the direction.
    pub(crate) fn poll_refused(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self.poll(cx, Direction::Write, at_the_second_look()) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }

    /// Waits for the reason why a listener cannot be used any more, such as the shutdown of its
    /// runtime.
    ///
    /// It waits until there is room to write, which a listener never has.
    pub(crate) async fn refused(&self) -> io::Error {
        match self.run(Direction::Write, at_the_second_look()).await {
            Err(error) => error,
            // The system reports the end of a listener so.
            Ok(()) => pending().await,
        }
    }
}

/// Gives "would block" once, so that the reactor is asked.
fn at_the_second_look<S>() -> impl FnMut(&S) -> io::Result<()> {
    let mut has_looked = false;
    move |_| match mem::replace(&mut has_looked, true) {
        false => Err(io::ErrorKind::WouldBlock.into()),
        true => Ok(()),
    }
}

/// For streams.
impl<S> Io<S>
where
    S: Socket<Provided = dyn Stream>,
    for<'a> &'a S: Read + Write,
{
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let provided = self.waiting()?;
        if buf.is_empty() {
            self.check_fork()?;
            // As the system has it for a stream. A reactor would wait for bytes first.
            return Poll::Ready(Ok(0));
        }
        if let Some(provided) = provided {
            return provided.poll(cx, |socket, cx| socket.poll_read(cx, buf));
        }
        let room = buf.len();
        let drained = move |read: &usize| S::SHORT_READ_IS_ALL && 0 < *read && *read < room;
        let read = |mut socket: &S| socket.read(buf);
        self.poll_drained(cx, Direction::Read, read, drained)
    }

    pub(crate) fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let provided = self.waiting()?;
        let Some(first) = bufs.iter_mut().find(|buf| !buf.is_empty()) else {
            self.check_fork()?;
            return Poll::Ready(Ok(0));
        };
        if let Some(provided) = provided {
            return provided.poll(cx, |socket, cx| socket.poll_read(cx, first));
        }
        self.poll(cx, Direction::Read, |mut socket| socket.read_vectored(bufs))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(provided) = self.waiting()? {
            return provided.poll(cx, |socket, cx| socket.poll_write(cx, buf));
        }
        let drained = |written: &usize| 0 < *written && *written < buf.len();
        let write = |mut socket: &S| socket.write(buf);
        self.poll_drained(cx, Direction::Write, write, drained)
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(provided) = self.waiting()? {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            let buf = first.map_or(&[][..], |buf| buf);
            return provided.poll(cx, |socket, cx| socket.poll_write(cx, buf));
        }
        let write = |mut socket: &S| socket.write_vectored(bufs);
        self.poll(cx, Direction::Write, write)
    }
}

impl<S: Socket> AsFd for Io<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let socket = self.socket();
        // A provided one without a placeholder, alone.
        socket.expect("the process has no descriptor left").as_fd()
    }
}

impl<S: Socket + fmt::Debug> fmt::Debug for Io<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provided) = self.provided() {
            return provided.fmt(f);
        }
        match self.socket() {
            Ok(socket) => socket.fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}
