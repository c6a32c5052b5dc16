//! Sockets with a place for each bug: [`Broken`].

use std::{
    future::{Future, pending},
    io,
    net::SocketAddr,
    pin::Pin,
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{AnyRuntime, Shutdown, Timer, yield_now};
use fourway_net::{is_exhausted, is_shutdown};

use fourway_net_acceptance::{
    Boxed, Child, DatagramSocket, Datagrams, Listener, Network, Processes, Signals, Sockets, Stream,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    AcceptLosesConnections,
    ReadLosesBytes,
    PeekTakes,
    DroppedWriteSends,
    DroppedConnectLeaks,
    DroppedPeekTakes,
    ReceiveLosesDatagrams,
    NoEnd,
    EndOfBoth,
    EndOvertakes,
    ResetIsAnEnd,
    AllErrorsAreOne,
    UnreachableIsRefused,
    RestIsADatagram,
    NeverTooLate,
    OnlyTheFirstAddress,
    OneAfterTheOther,
    OneHoldsUpAll,
    KeepsTheThread,
    OneAcceptAtATime,
    LooksAllTheTime,
    GivesUpWithoutDescriptors,
    SpinsWithoutDescriptors,
    TellsNotWhy,
    LooksNowAndThen,
    WakesAnother,
    HangsAfterShutdown,
    EndsAfterShutdown,
    ToldByTheLastPoll,
    HangsElsewhere,
    DropBlocks,
    WaitLosesTheStatus,
    WaitLosesSignals,
    OneIsTold,
    DropKills,
    DropForgets,
}

pub(crate) struct Broken {
    ours: Sockets,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    rt: AnyRuntime,
    /// Streams that should be closed.
    kept: Mutex<Vec<Box<dyn Stream>>>,
    /// A write is running.
    busy: AtomicBool,
    /// A receiver of signals exists.
    hears: AtomicBool,
    /// A read that waits ends.
    ends_another: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Broken {
    pub(crate) fn new(rt: AnyRuntime, fault: Fault) -> Self {
        let shared = Shared {
            fault,
            rt: rt.clone(),
            kept: Mutex::default(),
            busy: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            ends_another: AtomicBool::new(false),
            waiting: Mutex::default(),
        };
        Self {
            ours: Sockets::new(rt),
            shared: Arc::new(shared),
        }
    }
}

impl Shared {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn wrap(self: &Arc<Self>, stream: Box<dyn Stream>) -> Box<dyn Stream> {
        Box::new(BrokenStream {
            inner: Some(stream),
            shared: self.clone(),
            unsent: Vec::new(),
            peeked: None,
        })
    }

    /// Once it has ended, another one that waits ends as well.
    async fn with_another<T>(
        &self,
        operation: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut operation = std::pin::pin!(operation);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = operation.as_mut().poll(cx) {
                self.ends_another.store(true, Ordering::Release);
                let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
                waiting.into_iter().for_each(Waker::wake);
                return Poll::Ready(result);
            }
            if self.ends_another.swap(false, Ordering::AcqRel) {
                return Poll::Ready(Err(io::Error::other("it was another")));
            }
            self.waiting.lock().unwrap().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Applies the faults that any operation may have.
    async fn tell<T>(&self, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        if self.has(Fault::HangsElsewhere) && AnyRuntime::current().is_none() {
            pending::<()>().await;
        }
        if self.has(Fault::LooksAllTheTime) {
            let mut operation = std::pin::pin!(operation);
            return std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                operation.as_mut().poll(cx)
            })
            .await;
        }
        if self.has(Fault::LooksNowAndThen) {
            let mut operation = std::pin::pin!(operation);
            let pause = Duration::from_millis(1);
            loop {
                if let Ok(result) = self.rt.timeout(pause, operation.as_mut()).await {
                    return result;
                }
            }
        }
        match operation.await {
            Err(error) if is_exhausted(&error) && self.has(Fault::GivesUpWithoutDescriptors) => {
                pending().await
            }
            Err(error) if is_exhausted(&error) && self.has(Fault::TellsNotWhy) => {
                Err(io::Error::other("it failed"))
            }
            Err(error) if is_shutdown(&error) && self.has(Fault::HangsAfterShutdown) => {
                pending().await
            }
            Err(error) if is_shutdown(&error) && self.has(Fault::EndsAfterShutdown) => {
                Err(io::ErrorKind::NotConnected.into())
            }
            Err(error) if is_shutdown(&error) && self.has(Fault::ToldByTheLastPoll) => {
                while self.rt.status().executor.busy != Some(0) {
                    yield_now().await;
                }
                Err(error)
            }
            Err(_) if self.has(Fault::AllErrorsAreOne) => Err(io::Error::other("it failed")),
            result => result,
        }
    }
}

impl Network for Broken {
    fn runtime(&self) -> &AnyRuntime {
        self.ours.runtime()
    }

    fn listen(&self) -> Boxed<'static, Box<dyn Listener>> {
        let (listen, shared) = (self.ours.listen(), self.shared.clone());
        Box::pin(async move {
            let inner = listen.await?;
            Ok(Box::new(BrokenListener {
                inner,
                shared,
                waits: AtomicBool::new(false),
            }) as _)
        })
    }

    fn connect(&self, mut to: Vec<SocketAddr>, time: Duration) -> Boxed<'static, Box<dyn Stream>> {
        let shared = self.shared.clone();
        if shared.has(Fault::OnlyTheFirstAddress) {
            to.truncate(1);
        }
        let time = if shared.has(Fault::NeverTooLate) {
            Duration::from_secs(3600)
        } else {
            time
        };
        if shared.has(Fault::OneAfterTheOther) {
            let one = |address| self.ours.connect(vec![address], time);
            let each: Vec<_> = to.into_iter().map(one).collect();
            return Box::pin(async move {
                let mut last = io::Error::other("no address");
                for connect in each {
                    match connect.await {
                        Ok(stream) => return Ok(shared.wrap(stream)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            });
        }
        let connect = self.ours.connect(to, time);
        Box::pin(async move {
            if shared.has(Fault::DroppedConnectLeaks) {
                let stream = connect.await?;
                shared.kept.lock().unwrap().push(stream);
                yield_now().await;
                let stream = shared.kept.lock().unwrap().pop();
                return Ok(shared.wrap(stream.unwrap()));
            }
            let is_unreachable = |error: &io::Error| {
                use io::ErrorKind::{HostUnreachable, NetworkUnreachable};
                matches!(error.kind(), HostUnreachable | NetworkUnreachable)
            };
            match shared.tell(connect).await {
                Ok(stream) => Ok(shared.wrap(stream)),
                Err(error) if shared.has(Fault::UnreachableIsRefused) && is_unreachable(&error) => {
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn processes(&self) -> Option<&dyn Processes> {
        Some(self)
    }

    fn datagrams(&self) -> Option<&dyn Datagrams> {
        Some(self)
    }
}

struct BrokenListener {
    inner: Box<dyn Listener>,
    shared: Arc<Shared>,
    waits: AtomicBool,
}

impl Listener for BrokenListener {
    fn address(&self) -> SocketAddr {
        self.inner.address()
    }

    fn accept(&self) -> Boxed<'_, Box<dyn Stream>> {
        Box::pin(async {
            if self.shared.has(Fault::OneAcceptAtATime) && self.waits.swap(true, Ordering::AcqRel) {
                pending::<()>().await;
            }
            if self.shared.has(Fault::SpinsWithoutDescriptors) {
                // As a loop around the system's `accept` would be told, without a pause.
                if let Err(error) = std::fs::File::open("/dev/null") {
                    yield_now().await;
                    return Err(error);
                }
            }
            let stream = self.shared.tell(self.inner.accept()).await?;
            if self.shared.has(Fault::AcceptLosesConnections) {
                yield_now().await;
            }
            self.waits.store(false, Ordering::Release);
            Ok(self.shared.wrap(stream))
        })
    }
}

struct BrokenStream {
    inner: Option<Box<dyn Stream>>,
    shared: Arc<Shared>,
    unsent: Vec<u8>,
    /// What a peek took, for the next read.
    peeked: Option<u8>,
}

impl BrokenStream {
    fn parts(&mut self) -> (&mut Box<dyn Stream>, &Shared, &mut Vec<u8>) {
        let inner = self.inner.as_mut().expect("it is taken once");
        (inner, &self.shared, &mut self.unsent)
    }
}

/// Holds the only place, until it is dropped.
struct Place<'a>(&'a AtomicBool);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Stream for BrokenStream {
    fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize> {
        if let Some(peeked) = self.peeked.take() {
            buf[0] = peeked;
            return Box::pin(async { Ok(1) });
        }
        let (inner, shared, _) = self.parts();
        Box::pin(async move {
            if shared.has(Fault::KeepsTheThread) {
                // Polls again at once, without waiting to be woken.
                let mut read = inner.read(buf);
                let mut cx = std::task::Context::from_waker(Waker::noop());
                loop {
                    if let Poll::Ready(read) = Pin::new(&mut read).poll(&mut cx) {
                        return read;
                    }
                }
            }
            let read = shared.tell(inner.read(buf));
            let read = if shared.has(Fault::WakesAnother) {
                shared.with_another(read).await
            } else {
                read.await
            };
            if shared.has(Fault::ReadLosesBytes) {
                yield_now().await;
            }
            match read {
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionReset
                        && shared.has(Fault::ResetIsAnEnd) =>
                {
                    Ok(0)
                }
                read => read,
            }
        })
    }

    fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize> {
        if self.shared.has(Fault::DroppedPeekTakes) {
            return Box::pin(async {
                let read = self.parts().0.read(&mut buf[..1]).await?;
                yield_now().await;
                self.peeked = Some(buf[0]);
                Ok(read)
            });
        }
        let (inner, shared, _) = self.parts();
        if shared.has(Fault::PeekTakes) {
            return inner.read(buf);
        }
        Box::pin(shared.tell(inner.peek(buf)))
    }

    fn write<'a>(&'a mut self, buf: &'a [u8]) -> Boxed<'a, usize> {
        let (inner, shared, unsent) = self.parts();
        Box::pin(async move {
            if shared.has(Fault::EndOvertakes) {
                // Takes more than it sends, for later.
                let (now, later) = buf.split_at(buf.len().div_ceil(2));
                unsent.extend_from_slice(later);
                let written = inner.write(now).await?;
                return Ok(written + later.len().min(buf.len() - now.len()));
            }
            let mut _place = None;
            if shared.has(Fault::OneHoldsUpAll) {
                while shared.busy.swap(true, Ordering::AcqRel) {
                    yield_now().await;
                }
                _place = Some(Place(&shared.busy));
            }
            let written = shared.tell(inner.write(buf)).await?;
            if shared.has(Fault::DroppedWriteSends) {
                yield_now().await;
            }
            Ok(written)
        })
    }

    fn end(&mut self) -> Boxed<'_, ()> {
        let (inner, shared, _) = self.parts();
        Box::pin(async move {
            if shared.has(Fault::NoEnd) {
                return Ok(());
            }
            inner.end().await?;
            if shared.has(Fault::EndOfBoth) {
                // Reads the input, and discards it.
                inner.read(&mut [0; 64]).await?;
            }
            Ok(())
        })
    }

    fn reset(mut self: Box<Self>) {
        self.inner.take().expect("it is taken once").reset();
    }

    fn into_std(mut self: Box<Self>) -> io::Result<std::net::TcpStream> {
        self.inner.take().expect("it is taken once").into_std()
    }
}

impl Drop for BrokenStream {
    fn drop(&mut self) {
        if self.shared.has(Fault::DropBlocks) {
            if let Some(stream) = self.inner.take().and_then(|it| it.into_std().ok()) {
                // The system then waits until all is sent.
                let linger = Some(Duration::from_secs(3600));
                let _ = socket2::SockRef::from(&stream).set_linger(linger);
            }
        }
    }
}

impl Datagrams for Broken {
    fn bind(&self) -> Boxed<'static, Box<dyn DatagramSocket>> {
        let ours = self.ours.datagrams().expect("ours have them").bind();
        let shared = self.shared.clone();
        Box::pin(async move {
            Ok(Box::new(BrokenDatagrams {
                inner: ours.await?,
                shared,
                rest: Mutex::default(),
            }) as _)
        })
    }
}

struct BrokenDatagrams {
    inner: Box<dyn DatagramSocket>,
    shared: Arc<Shared>,
    /// What did not fit, and its sender.
    rest: Mutex<Option<(Vec<u8>, SocketAddr)>>,
}

impl DatagramSocket for BrokenDatagrams {
    fn address(&self) -> SocketAddr {
        self.inner.address()
    }

    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Boxed<'a, usize> {
        self.inner.send_to(datagram, to)
    }

    fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Boxed<'a, (usize, SocketAddr)> {
        Box::pin(async {
            if !self.shared.has(Fault::RestIsADatagram) {
                let received = self.shared.tell(self.inner.recv_from(buf)).await;
                if self.shared.has(Fault::ReceiveLosesDatagrams) {
                    yield_now().await;
                }
                return received;
            }
            let rest = self.rest.lock().unwrap().take();
            let (datagram, from) = match rest {
                Some(rest) => rest,
                None => {
                    let mut large = vec![0; 1 << 16];
                    let (received, from) = self.inner.recv_from(&mut large).await?;
                    large.truncate(received);
                    (large, from)
                }
            };
            let (now, later) = datagram.split_at(datagram.len().min(buf.len()));
            buf[..now.len()].copy_from_slice(now);
            if !later.is_empty() {
                *self.rest.lock().unwrap() = Some((later.to_vec(), from));
            }
            Ok((now.len(), from))
        })
    }
}

impl Processes for Broken {
    fn start(&self, script: &str, kill_on_drop: bool) -> io::Result<Box<dyn Child>> {
        let kill_on_drop = kill_on_drop || self.shared.has(Fault::DropKills);
        let child = self.ours.start(script, kill_on_drop)?;
        Ok(Box::new(BrokenChild {
            inner: Some(child),
            shared: self.shared.clone(),
            is_told: false,
        }))
    }

    fn signals(&self) -> io::Result<Box<dyn Signals>> {
        let is_deaf =
            self.shared.has(Fault::OneIsTold) && self.shared.hears.swap(true, Ordering::AcqRel);
        Ok(Box::new(BrokenSignals {
            inner: self.ours.signals()?,
            shared: self.shared.clone(),
            is_deaf,
        }))
    }
}

struct BrokenChild {
    inner: Option<Box<dyn Child>>,
    shared: Arc<Shared>,
    is_told: bool,
}

impl Child for BrokenChild {
    fn id(&self) -> u32 {
        self.inner.as_ref().expect("it is taken once").id()
    }

    fn wait(&mut self) -> Boxed<'_, ExitStatus> {
        Box::pin(async {
            let inner = self.inner.as_mut().expect("it is taken once");
            if !self.shared.has(Fault::WaitLosesTheStatus) {
                return self.shared.tell(inner.wait()).await;
            }
            if self.is_told {
                pending::<()>().await;
            }
            let status = inner.wait().await;
            self.is_told = true;
            yield_now().await;
            status
        })
    }
}

impl Drop for BrokenChild {
    fn drop(&mut self) {
        if self.shared.has(Fault::DropForgets) {
            std::mem::forget(self.inner.take());
        }
    }
}

struct BrokenSignals {
    inner: Box<dyn Signals>,
    shared: Arc<Shared>,
    is_deaf: bool,
}

impl Signals for BrokenSignals {
    fn recv(&mut self) -> Boxed<'_, ()> {
        Box::pin(async {
            if self.is_deaf {
                pending::<()>().await;
            }
            let told = self.shared.tell(self.inner.recv()).await;
            if self.shared.has(Fault::WaitLosesSignals) {
                yield_now().await;
            }
            told
        })
    }
}
