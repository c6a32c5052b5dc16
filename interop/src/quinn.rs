//! quinn's runtime: [`Quinn`].

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket as StdSocket},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use fourway_core::{Runtime, time::Sleep};
use fourway_net::UdpSocket;
use pin_project_lite::pin_project;
use quinn::{
    AsyncTimer, AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A runtime as `quinn::Runtime`: its tasks, its timers, and `fourway-net`'s sockets on the
/// runtime's reactor. Only on Unix, as those sockets.
///
/// quinn's drivers are detached tasks, which end with its endpoint. Datagrams are sent and received
/// many at a time where the system can (GSO, GRO), by quinn's own `quinn-udp`. From the runtime's
/// shutdown on the endpoint's driver gets an error at once, and its connections end.
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_interop::quinn::Quinn;
/// use quinn::{Endpoint, EndpointConfig, ServerConfig};
/// use std::{io, net::UdpSocket, sync::Arc};
///
/// fn listen<R: Runtime>(rt: R, tls: ServerConfig) -> io::Result<Endpoint> {
///     let socket = UdpSocket::bind("127.0.0.1:0")?;
///     let runtime = Arc::new(Quinn::new(rt));
///     Endpoint::new(EndpointConfig::default(), Some(tls), socket, runtime)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Quinn<R> {
    runtime: R,
}

impl<R> Quinn<R> {
    /// Wraps `runtime`.
    pub fn new(runtime: R) -> Self {
        Self { runtime }
    }

    /// The runtime underneath.
    pub fn get_ref(&self) -> &R {
        &self.runtime
    }
}

impl<R: Runtime> quinn::Runtime for Quinn<R> {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let sleep = self.runtime.sleep_until(deadline);
        Box::pin(QuinnTimer { sleep })
    }

    /// Of the clock of the timers: quinn computes their deadlines from it.
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    #[track_caller]
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.runtime.spawn_detached(future);
    }

    fn wrap_udp_socket(&self, socket: StdSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = UdpSocket::from_std(&self.runtime, socket)?;
        Ok(Arc::new(QuinnSocket { io, state }))
    }
}

pin_project! {
    struct QuinnTimer<S> {
        #[pin]
        sleep: S,
    }
}

impl<S: Sleep + Send + 'static> AsyncTimer for QuinnTimer<S> {
    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.project().sleep.reset(deadline);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl<S> fmt::Debug for QuinnTimer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuinnTimer").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct QuinnSocket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl AsyncUdpSocket for QuinnSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self,
            waiting: Mutex::new(None),
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.send((&self.io).into(), transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Only the endpoint's driver receives, so one waker is enough.
        let recv = |socket: &StdSocket| self.state.recv(socket.into(), bufs, meta);
        self.io.poll_recv_by(cx, recv)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Waits until there is room to send; each of many tasks has its own.
struct Writable {
    socket: Arc<QuinnSocket>,
    /// Never locked: it only makes the future `Sync`, which is never polled by a shared reference.
    waiting: Mutex<Option<Waiting>>,
}

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waiting = this.waiting.get_mut();
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let future = waiting.get_or_insert_with(|| {
            let socket = this.socket.clone();
            Box::pin(async move { socket.io.send_by(is_writable).await })
        });
        let result = future.as_mut().poll(cx);
        if result.is_ready() {
            // It is polled again, after another `try_send`.
            *waiting = None;
        }
        result
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

/// Asks the system whether it is writable now. The reactor only reports changes, and it does not
/// see that `try_send` had no room.
fn is_writable(socket: &StdSocket) -> io::Result<()> {
    let mut asked = [PollFd::new(socket, PollFlags::OUT)];
    match poll(&mut asked, Some(&Timespec::default()))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}
