//! The tools of the cases: [`Scene`], and shared steps.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fourway_core::{AnyRuntime, BlockOn, Timer};
use futures_util::future::join;

use crate::network::{DatagramSocket, Network, Stream};

/// A network, and how long to wait for events that must happen.
pub(crate) struct Scene<'a> {
    pub(crate) net: &'a dyn Network,
    pub(crate) patience: Duration,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(net: &'a dyn Network, patience: Duration) -> Self {
        Self { net, patience }
    }

    pub(crate) fn rt(&self) -> &AnyRuntime {
        self.net.runtime()
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = self.rt().timeout(self.patience, future);
        self.rt().block_on(limited).expect("takes for ever")
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        self.net.connect(vec![to], self.patience).await
    }

    pub(crate) async fn pair(&self) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let listener = self.net.listen().await.unwrap();
        let (a, b) = join(self.connect(listener.address()), listener.accept()).await;
        (a.unwrap(), b.unwrap())
    }

    pub(crate) fn is_shutdown<T>(&self, result: &io::Result<T>) -> bool {
        let error = result.as_ref().err();
        error.is_some_and(|error| self.net.is_shutdown(error))
    }

    /// A moment, to see that an event does not happen.
    pub(crate) async fn moment(&self) {
        self.rt().sleep(Duration::from_millis(20)).await;
    }
}

/// Two datagram sockets.
pub(crate) async fn datagram_pair(
    scene: &Scene<'_>,
) -> (Box<dyn DatagramSocket>, Box<dyn DatagramSocket>) {
    let datagrams = scene.net.datagrams();
    let datagrams = datagrams.expect("the case is for those alone");
    (
        datagrams.bind().await.unwrap(),
        datagrams.bind().await.unwrap(),
    )
}

/// Polls it once, with the calling task's waker.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Polls it `times` times, with pauses for the awaited event.
pub(crate) async fn poll_times<F: Future + ?Sized>(
    rt: &AnyRuntime,
    mut future: Pin<&mut F>,
    times: usize,
) -> Option<F::Output> {
    for _ in 0..times {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        rt.sleep(Duration::from_millis(2)).await;
    }
    None
}

/// Records that it has been woken.
#[derive(Default)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Pairs with `until`'s load.
        self.0.store(true, Ordering::Release);
    }
}

impl Woken {
    pub(crate) fn poll<F: Future + ?Sized>(
        self: &Arc<Self>,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        let waker = Waker::from(self.clone());
        future.poll(&mut Context::from_waker(&waker))
    }

    pub(crate) async fn until(&self, rt: &AnyRuntime) {
        // The case has its deadline.
        while !self.0.load(Ordering::Acquire) {
            rt.sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The moments of the drop: before the first poll, while it waits, once it is ready, and after one
/// or more polls that could have given the result. `true`: it was woken before the first poll; only
/// then does the poll certainly find its event.
pub(crate) const POLLS: [(usize, bool); 8] = [
    (0, false),
    (1, false),
    (2, false),
    (0, true),
    (1, true),
    (2, true),
    (3, true),
    (1, true),
];

pub(crate) async fn write_all(stream: &mut dyn Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

pub(crate) async fn read_to_end(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            read => all.extend_from_slice(&buf[..read]),
        }
    }
}

/// Runs the future in an executor that belongs to no runtime.
pub(crate) fn elsewhere<F: Future>(future: F) -> F::Output {
    fourway_adapt::block_on(future, None).unwrap()
}
