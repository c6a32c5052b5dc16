//! One connection, from its first byte to its end: [`Connection`].

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_net::TcpStream;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::{
    Request, Response, Version,
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::server::conn::auto;

use super::{
    OnMalformed, OnTimeout, Timeout,
    connections::One,
    pieces::{Answering, Paced},
    refusal::refuse,
    streams::{Noted, StreamExecutor, Streams},
    watched::{Remains, Watched},
};
use crate::Io;

pub(super) struct Connection<R, S> {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) service: S,
    pub(super) limits: Arc<Limits<R>>,
    pub(super) end: CancellationToken,
    pub(super) one: Arc<One>,
}

/// The common settings of all connections.
#[derive(Clone)]
pub(super) struct Limits<R> {
    pub(super) runtime: R,
    pub(super) builder: auto::Builder<StreamExecutor<R>>,
    pub(super) first_byte: Option<Duration>,
    pub(super) head: Option<Duration>,
    pub(super) send: Option<Duration>,
    pub(super) send_rate: u32,
    /// How long a peer of HTTP/2 may take to answer a ping, if it gets any.
    pub(super) ping: Option<Duration>,
    /// After this long without a sign of it, it gets a ping.
    pub(super) ping_interval: Duration,
    pub(super) nodelay: bool,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) on_malformed: Option<OnMalformed>,
}

/// The longest time that hyper gets.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl<R: Runtime> Limits<R> {
    /// With all times of `builder` set to those of `self`, whatever they were set to before: hyper adds
    /// each to the present time, which panics if the sum is no `Instant`.
    pub(super) fn applied(mut self) -> Self {
        let head = self.head.map(|time| time.min(LONGEST));
        self.builder.http1().header_read_timeout(head);
        let (interval, ping) = (self.ping_interval.min(LONGEST), self.ping);
        let mut http2 = self.builder.http2();
        http2.keep_alive_interval(ping.map(|_| interval));
        http2.keep_alive_timeout(ping.unwrap_or(LONGEST).min(LONGEST));
        self
    }
}

impl<R: Runtime, S> Connection<R, S> {
    pub(super) async fn run<B, T, H>(self, shake_hands: &(impl Fn(TcpStream) -> H + Sync))
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Future<Output = io::Result<T>>,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limits = self.limits;
        if limits.nodelay {
            // This fails if the peer has closed the stream already. The read below reports that.
            let _ = self.stream.set_nodelay(true);
        }
        let first = self.end.run_until_cancelled(async {
            self.stream.readable().await?;
            shake_hands(self.stream).await
        });
        let first = match limits.first_byte {
            Some(time) => limits.runtime.timeout(time, first).await,
            None => Ok(first.await),
        };
        // The connection was late, failed, or had to end before its first request.
        let Ok(Ok(Ok(stream))) = first else { return };
        let noted = Arc::<Noted>::default();
        let (stream, remains) = Watched::new(stream, &limits.runtime, limits.send, &noted);
        let streams = Arc::<OnceLock<Arc<Streams>>>::default();
        let service = Noting {
            service: self.service,
            noted: noted.clone(),
            peer: self.peer,
            limits: limits.clone(),
            streams: streams.clone(),
            one: self.one,
        };
        let builder = &limits.builder;
        let connection = builder.serve_connection_with_upgrades(Io::new(stream), service);
        // Dropped before this future ends, as the drop returns the stream.
        let mut connection = pin!(Some(connection));
        // hyper's own header timer begins when it knows the version. It does not run before the
        // first byte behind TLS, nor after a first byte that two versions share.
        let too_late = limits.head.map(|time| limits.runtime.sleep(time));
        let mut too_late = pin!(too_late);
        let mut ending = pin!(Some(self.end.cancelled()));
        let mut cut = pin!(None);
        let end = poll_fn(|cx| {
            let mut serving = connection.as_mut().as_pin_mut().expect("it is served here");
            let is_ending = ending
                .as_mut()
                .as_pin_mut()
                .is_some_and(|it| it.poll(cx).is_ready());
            if is_ending {
                ending.set(None);
                serving.as_mut().graceful_shutdown();
            }
            // Polled before the timer, so that bytes that have arrived by now count.
            if let Poll::Ready(served) = serving.poll(cx) {
                return Poll::Ready(served.map_or_else(End::of, |()| End::Other));
            }
            // Relaxed: set in this task by the poll above, so there is nothing to order.
            if noted.has_asked.load(Ordering::Relaxed) {
                too_late.set(None);
            }
            if let (None, Some(streams)) = (cut.as_ref().get_ref(), streams.get()) {
                cut.set(Some(streams.cut.cancelled()));
            }
            if cut
                .as_mut()
                .as_pin_mut()
                .is_some_and(|it| it.poll(cx).is_ready())
            {
                return Poll::Ready(End::Other);
            }
            let too_late = too_late.as_mut().as_pin_mut();
            too_late.map_or(Poll::Pending, |it| it.poll(cx).map(|()| End::Late))
        });
        let end = end.await;
        connection.set(None);
        if let (End::Malformed(error), Some(tell)) = (&end, &limits.on_malformed) {
            tell(self.peer, error);
        }
        // None if the connection was upgraded: the stream has another owner.
        let Some(remains) = remains.take() else {
            return;
        };
        let tell = |timeout| {
            if let Some(tell) = &limits.on_timeout {
                tell(self.peer, timeout);
            }
        };
        match remains {
            Remains { is_stalled, .. } if is_stalled => tell(Timeout::Send),
            Remains { stream, heard, .. } if matches!(end, End::Late) && heard.is_in_a_head() => {
                tell(Timeout::Head);
                refuse(&limits.runtime, stream).await;
            }
            // The connection ended by itself, or was idle.
            _ => {}
        }
    }
}

/// Why a connection has ended.
enum End {
    /// The head of a request took too long, or did not begin.
    Late,
    /// It cannot be read.
    Malformed(hyper::Error),
    /// By itself, or by a failure that concerns only the peer.
    Other,
}

impl End {
    fn of(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<hyper::Error>() {
            Ok(error) if error.is_timeout() => Self::Late,
            Ok(error) if error.is_parse() => Self::Malformed(*error),
            _ => Self::Other,
        }
    }
}

/// A service that records that it was called, and watches the streams of HTTP/2.
struct Noting<R, S> {
    service: S,
    noted: Arc<Noted>,
    peer: SocketAddr,
    limits: Arc<Limits<R>>,
    /// Set by the first request of HTTP/2.
    streams: Arc<OnceLock<Arc<Streams>>>,
    one: Arc<One>,
}

impl<R, S, B> Service<Request<Incoming>> for Noting<R, S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<Paced<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.noted.has_asked.store(true, Ordering::Relaxed);
        let is_stream = request.version() == Version::HTTP_2;
        let one = is_stream.then(|| self.one.clone());
        let limit = self.limits.send.filter(|_| is_stream);
        let streams = limit.map(|limit| {
            let streams = self.streams.get_or_init(|| {
                Arc::new(Streams::new(
                    limit,
                    self.limits.send_rate,
                    self.peer,
                    self.limits.on_timeout.clone(),
                    self.noted.clone(),
                ))
            });
            streams.clone()
        });
        let future = self.service.call(request);
        Answering {
            future,
            streams,
            one,
        }
    }
}
