//! Messages that may be lost, or overtake each other: [`Datagrams`].

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Mutex,
    task::{Context, Poll, ready},
};

use fourway_net::provide::{self, shut_down};

use super::{
    Network,
    mailbox::Mailbox,
    place::{Place, meant},
};
use crate::state::lock;

/// A message, and its sender.
pub(super) type Message = (Vec<u8>, SocketAddr);

/// A UDP socket.
pub(super) struct Datagrams {
    pub(super) network: Network,
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) peer: Mutex<Option<SocketAddr>>,
}

impl Datagrams {
    /// It can be used. Gives the time.
    fn check(&self) -> io::Result<u64> {
        // After a crash of the host its place is not over: work that is on no node goes on.
        if self.mailbox.is_closed() {
            return Err(shut_down());
        }
        self.network.check(&self.place)
    }

    fn received(
        &self,
        message: Poll<Option<Message>>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        if message.is_pending() {
            self.network.note(self.address);
        }
        let message = ready!(message);
        Poll::Ready(message.map(|it| copy(&it, buf)).ok_or_else(shut_down))
    }

    /// Receives from that peer alone, if there is one.
    fn is_wanted(&self) -> impl Fn(&Message) -> bool + use<> {
        let peer = *lock(&self.peer);
        move |(_, from)| peer.is_none_or(|peer| peer == *from)
    }
}

impl provide::Datagrams for Datagrams {
    fn poll_send(
        &self,
        _: &mut Context<'_>,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        let sent = self.check().and_then(|_| {
            let to = to.map_or_else(|| self.peer_addr(), Ok)?;
            self.network.send(self, datagram, to);
            Ok(datagram.len())
        });
        Poll::Ready(sent)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let now = self.check()?;
        let message = self.mailbox.poll_receive(now, cx, self.is_wanted());
        self.received(message, buf)
    }

    fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let now = self.check()?;
        let message = self.mailbox.poll_peek(now, cx, self.is_wanted());
        self.received(message, buf)
    }

    fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.check()?;
        // As the senders of messages are: what it means, and not what the caller has written.
        *lock(&self.peer) = Some(meant(peer));
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.peer).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What does not fit is cut off.
fn copy((bytes, from): &Message, buf: &mut [u8]) -> (usize, SocketAddr) {
    let length = bytes.len().min(buf.len());
    buf[..length].copy_from_slice(&bytes[..length]);
    (length, *from)
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let sockets = &mut state.nodes[self.place.node as usize].datagrams;
        // After a crash the port may have another owner.
        let is_ours = |mailbox: &Mailbox<Message>| mailbox.is(&self.mailbox);
        let gone = match sockets.get(&self.address).is_some_and(is_ours) {
            true => sockets.remove(&self.address),
            false => None,
        };
        drop(state);
        drop(gone);
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
