//! Connecting to the address that answers first: [`ConnectTcp`].

use std::{
    future::{Future, IntoFuture, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use fourway_core::{Runtime, time::Sleep};
use socket2::{Domain, Protocol, Socket, Type};

use super::TcpStream;
use crate::{
    ConnectError, Endpoint, Keepalive, Reactor,
    error::{is_forked, is_shutdown},
    io::Direction,
    options::buffer_size,
    provide::{Boxed, Stream},
};

/// A connection to be made. Made by [`Net::connect_tcp`](crate::Net::connect_tcp), and begun
/// when it is awaited.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// # use fourway_net::{Net, TcpStream};
/// # use std::{io, time::Duration};
/// async fn connect<R: Runtime>(rt: &R) -> io::Result<TcpStream> {
///     rt.connect_tcp("example.org:80")
///         .timeout(Duration::from_secs(5))
///         .nodelay(true)
///         .await
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is connected before it is awaited"]
pub struct ConnectTcp<R> {
    runtime: R,
    to: Endpoint,
    timeout: Option<Duration>,
    attempt_delay: Duration,
    options: Options,
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    from: Option<SocketAddr>,
    nodelay: bool,
    keepalive: Option<Keepalive>,
    recv_buffer: Option<usize>,
    send_buffer: Option<usize>,
}

impl<R: Runtime> ConnectTcp<R> {
    pub(crate) fn new(runtime: R, to: Endpoint) -> Self {
        Self {
            runtime,
            to,
            timeout: None,
            attempt_delay: Duration::from_millis(250),
            options: Options::default(),
        }
    }

    /// At most this long in all, for name and addresses, by the runtime's clock. Then it gives
    /// [`TimedOut`](io::ErrorKind::TimedOut). Default: the system's limit, on Linux two minutes for
    /// each address.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// After how long without an answer the next address is tried as well. Default: 250 ms.
    pub fn attempt_delay(mut self, time: Duration) -> Self {
        self.attempt_delay = time;
        self
    }

    /// The local address to connect from. Default: the system chooses. Only peer addresses of the
    /// same family are tried; without one, the error is
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    pub fn from(mut self, address: SocketAddr) -> Self {
        self.options.from = Some(address);
        self
    }

    /// Sets [`TcpStream::set_nodelay`]. Default: no.
    pub fn nodelay(mut self, yes: bool) -> Self {
        self.options.nodelay = yes;
        self
    }

    /// Sets [`TcpStream::set_keepalive`]. Default: none.
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.options.keepalive = Some(keepalive);
        self
    }

    /// Sets [`TcpStream::set_recv_buffer_size`], before it connects, so that the peer is told.
    pub fn recv_buffer_size(mut self, bytes: usize) -> Self {
        self.options.recv_buffer = Some(bytes);
        self
    }

    /// Sets [`TcpStream::set_send_buffer_size`].
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    async fn run(self) -> io::Result<TcpStream> {
        let reactor = Reactor::of(&self.runtime)?;
        let mut failed = Vec::new();
        let racing = race(
            &self.runtime,
            &reactor,
            self.to,
            self.options,
            self.attempt_delay,
            &mut failed,
        );
        match self.timeout {
            None => match racing.await {
                Ok(Some(stream)) => Ok(stream),
                Ok(None) => Err(ConnectError::failed(failed)),
                Err(error) => Err(error),
            },
            Some(time) => match self.runtime.timeout(time, racing).await {
                Ok(Ok(Some(stream))) => Ok(stream),
                Ok(Ok(None)) => Err(ConnectError::failed(failed)),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(ConnectError::timed_out(failed)),
            },
        }
    }
}

impl<R: Runtime> IntoFuture for ConnectTcp<R> {
    type Output = io::Result<TcpStream>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The error for a peer without an address that can be connected to from this one.
fn none_of_family(from: SocketAddr) -> io::Error {
    let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
    let problem = format!("the peer has no {family} address, as `from({from})` needs");
    io::Error::new(io::ErrorKind::AddrNotAvailable, problem)
}

/// The first of the addresses that is connected; `None` if all have failed.
async fn race<R: Runtime>(
    runtime: &R,
    reactor: &Reactor,
    to: Endpoint,
    options: Options,
    delay: Duration,
    failed: &mut Vec<(SocketAddr, io::Error)>,
) -> io::Result<Option<TcpStream>> {
    let mut addresses = to.resolve(runtime).await?;
    if let Some(from) = options.from {
        let had_any = !addresses.is_empty();
        addresses.retain(|address| address.is_ipv4() == from.is_ipv4());
        if had_any && addresses.is_empty() {
            return Err(none_of_family(from));
        }
    }
    let mut left = interleaved(addresses).into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    // Made only if there is a second address.
    let mut pause = pin!(None);
    loop {
        if let Some(address) = left.next() {
            match Attempt::start(reactor, address, &options) {
                Ok(attempt) => attempts.push(attempt),
                Err(error) if is_shutdown(&error) || is_forked(&error) => return Err(error),
                Err(error) => {
                    failed.push((address, error));
                    continue;
                }
            }
            if left.len() > 0 {
                pause.set(Some(runtime.sleep(delay)));
            }
        } else if attempts.is_empty() {
            return Ok(None);
        }
        let event = poll_fn(|cx| {
            for i in 0..attempts.len() {
                if let Poll::Ready(result) = attempts[i].poll(cx) {
                    return Poll::Ready(Some((attempts.swap_remove(i), result)));
                }
            }
            if left.len() > 0 && is_over(pause.as_mut(), cx) {
                return Poll::Ready(None);
            }
            Poll::Pending
        });
        match event.await {
            // The others are closed.
            Some((_, Ok(stream))) => return Ok(Some(stream)),
            Some((_, Err(error))) if is_shutdown(&error) || is_forked(&error) => {
                return Err(error);
            }
            Some((attempt, Err(error))) => failed.push((attempt.address, error)),
            None => {}
        }
    }
}

fn is_over<S: Sleep>(pause: Pin<&mut Option<S>>, cx: &mut Context<'_>) -> bool {
    let pause = pause.as_pin_mut();
    pause.is_none_or(|pause| pause.poll(cx).is_ready())
}

/// The families in turn, beginning with the one that the system prefers (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return addresses;
    };
    let preferred = first.is_ipv6();
    let (a, b): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|a| a.is_ipv6() == preferred);
    let mut interleaved = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        let pair = (a.next(), b.next());
        interleaved.extend(pair.0);
        interleaved.extend(pair.1);
        if pair == (None, None) {
            return interleaved;
        }
    }
}

/// One address that is being connected to.
struct Attempt {
    address: SocketAddr,
    way: Way,
    options: Options,
}

enum Way {
    /// Empty once it is connected.
    System(Option<TcpStream>),
    Provided(Boxed<Box<dyn Stream>>),
}

impl Attempt {
    fn start(reactor: &Reactor, address: SocketAddr, options: &Options) -> io::Result<Self> {
        let way = match reactor.network() {
            Some(network) => Way::Provided(network.connect(address, options.from)),
            None => Way::System(Some(begin(reactor, address, options)?)),
        };
        let options = *options;
        Ok(Self {
            address,
            way,
            options,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        match &mut self.way {
            Way::System(stream) => {
                let connecting = stream.as_ref().expect("it is polled until it is ready");
                ready!(poll_connected(connecting, cx))?;
                let connected = stream.take();
                Poll::Ready(Ok(connected.expect("it is polled until it is ready")))
            }
            Way::Provided(connecting) => {
                let stream = TcpStream::provided(ready!(connecting.as_mut().poll(cx))?);
                Poll::Ready(self.options.set(&stream).map(|()| stream))
            }
        }
    }
}

impl Options {
    /// For a provided one, which has no time before it connects.
    fn set(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.nodelay)?;
        if self.keepalive.is_some() {
            stream.set_keepalive(self.keepalive)?;
        }
        if let Some(bytes) = self.recv_buffer {
            stream.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            stream.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }
}

fn begin(reactor: &Reactor, address: SocketAddr, options: &Options) -> io::Result<TcpStream> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = options.keepalive {
        socket.set_tcp_keepalive(&keepalive.to_socket2())?;
    }
    if let Some(bytes) = options.recv_buffer {
        socket.set_recv_buffer_size(buffer_size(bytes))?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(buffer_size(bytes))?;
    }
    if let Some(from) = options.from {
        socket.bind(&from.into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if is_in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    // Registered once it connects: before, the poller would report a hang-up.
    let io = reactor.register(socket.into())?;
    Ok(TcpStream { io })
}

fn poll_connected(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    stream.io.poll(cx, Direction::Write, |stream| {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            // A spurious report of the poller: it is not connected yet.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            other => other.map(drop),
        }
    })
}

/// `EINPROGRESS`, for which the standard library has no stable kind.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
        115
    } else if cfg!(any(target_os = "solaris", target_os = "illumos")) {
        150
    } else {
        36
    };
    error.raw_os_error() == Some(EINPROGRESS) || error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            let addresses = text.split_whitespace();
            addresses.map(|a| a.parse().unwrap()).collect()
        };
        assert_eq!(
            interleaved(parse("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1")),
            parse("[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1")
        );
        assert_eq!(
            interleaved(parse("1.1.1.1:1 2.2.2.2:1 [::1]:1")),
            parse("1.1.1.1:1 [::1]:1 2.2.2.2:1")
        );
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }
}
