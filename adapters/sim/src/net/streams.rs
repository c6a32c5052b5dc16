use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{Address, Network, mailbox::Mailbox};
use crate::Sleep;

/// Accepts connections. Made by [`Node::listen`](super::Node::listen).
pub struct Listener {
    pub(super) network: Network,
    pub(super) address: Address,
    pub(super) mailbox: Mailbox<(Stream, Address)>,
}

impl Listener {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The next connection, and the address that asked for it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionReset`] if the node has crashed.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, it has accepted nothing.
    pub async fn accept(&self) -> io::Result<(Stream, Address)> {
        self.mailbox.receive(&self.network.shared.sim).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        // After a crash the port may have another owner.
        let known = state.listeners.get(&self.address);
        let gone = if known.is_some_and(|mailbox| mailbox.is(&self.mailbox)) {
            state.listeners.remove(&self.address)
        } else {
            None
        };
        drop(state);
        drop(gone);
        // Connections that were not accepted are reset.
        for (stream, _) in self.mailbox.close(io::ErrorKind::ConnectionRefused) {
            stream.reset();
        }
    }
}

/// Bytes, in order, to and fro, by the traits of `futures-io`. Dropping it ends what it sends; what was sent still arrives.
pub struct Stream {
    network: Network,
    from: Address,
    to: Address,
    incoming: Mailbox<Option<Vec<u8>>>,
    outgoing: Mailbox<Option<Vec<u8>>>,
    /// Data that has arrived and has not been read.
    unread: VecDeque<u8>,
    /// The timer of the data that has not arrived.
    sleep: Option<Sleep>,
    /// The other end sends nothing more.
    is_at_end: bool,
    /// This end sends nothing more.
    has_ended: bool,
    /// How many of the two ends are there.
    ends: Arc<AtomicUsize>,
}

/// Both directions of a connection.
#[derive(Clone)]
pub(super) struct Pipes {
    one: Mailbox<Option<Vec<u8>>>,
    other: Mailbox<Option<Vec<u8>>>,
    ends: Arc<AtomicUsize>,
}

impl Pipes {
    pub(super) fn is_open(&self) -> bool {
        self.ends.load(Relaxed) > 0
    }

    pub(super) fn reset(&self) {
        drop(self.one.close(io::ErrorKind::ConnectionReset));
        drop(self.other.close(io::ErrorKind::ConnectionReset));
    }
}

/// Both ends.
pub(super) fn connected(network: &Network, from: Address, to: Address) -> (Stream, Stream, Pipes) {
    let pipes = Pipes {
        one: Mailbox::new(),
        other: Mailbox::new(),
        ends: Arc::new(AtomicUsize::new(2)),
    };
    let end = |from, to, incoming: &Mailbox<_>, outgoing: &Mailbox<_>| Stream {
        network: network.clone(),
        from,
        to,
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        unread: VecDeque::new(),
        sleep: None,
        is_at_end: false,
        has_ended: false,
        ends: pipes.ends.clone(),
    };
    let mine = end(from, to, &pipes.one, &pipes.other);
    let theirs = end(to, from, &pipes.other, &pipes.one);
    (mine, theirs, pipes)
}

impl Stream {
    /// The address of the other end.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.to
    }

    /// Both ends see that it is gone.
    fn reset(&self) {
        drop(self.incoming.close(io::ErrorKind::ConnectionReset));
        drop(self.outgoing.close(io::ErrorKind::ConnectionReset));
    }

    fn send(&self, bytes: Option<Vec<u8>>) {
        let outgoing = self.outgoing.clone();
        self.network
            .deliver(self.from.node, self.to.node, move |at| {
                // After a reset it is lost.
                let _ = outgoing.send(at, true, bytes);
            });
    }
}

/// `Ok(0)`: the other end was closed or dropped. An error of the kind
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset): one of the two nodes has crashed, or the
/// listener was dropped and had not accepted it.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.unread.is_empty() && !this.is_at_end && !buffer.is_empty() {
            let sim = &this.network.shared.sim;
            match ready!(this.incoming.poll_receive(sim, &mut this.sleep, cx))? {
                Some(bytes) => this.unread.extend(bytes),
                None => this.is_at_end = true,
            }
        }
        let length = buffer.len().min(this.unread.len());
        for (to, byte) in buffer.iter_mut().zip(this.unread.drain(..length)) {
            *to = byte;
        }
        Poll::Ready(Ok(length))
    }
}

/// Never waits: there is no limit on data in flight.
impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outgoing.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.has_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.send(Some(bytes.to_vec()));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.send(None);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.ends.fetch_sub(1, Relaxed);
        if !self.has_ended {
            self.send(None);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
