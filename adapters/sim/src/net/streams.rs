//! Connections: [`Connection`], and its two [ends](Stream).

use std::{
    collections::VecDeque,
    fmt, io,
    net::{Shutdown, SocketAddr},
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use fourway_core::implement::wake;
use fourway_net::provide::{self, shut_down};

use super::{
    Network,
    mailbox::{Mailbox, keep},
    place::Place,
};
use crate::state::lock;

/// Accepts connections.
pub(super) struct Listener {
    pub(super) network: Network,
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    pub(super) mailbox: Mailbox<Stream>,
}

impl provide::Listener for Listener {
    fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn provide::Stream>, SocketAddr)>> {
        let now = self.network.check(&self.place)?;
        let accepted = self.mailbox.poll_receive(now, cx, |_| true);
        if accepted.is_pending() {
            self.network.note(self.address);
        }
        let Some(stream) = ready!(accepted) else {
            return Poll::Ready(Err(shut_down()));
        };
        let peer = stream.peer().address;
        Poll::Ready(Ok((Box::new(stream), peer)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let sockets = &mut state.nodes[self.place.node as usize].listeners;
        // After a crash the port may have another owner.
        let is_ours = |mailbox: &Mailbox<Stream>| mailbox.is(&self.mailbox);
        let gone = match sockets.get(&self.address).is_some_and(is_ours) {
            true => sockets.remove(&self.address),
            false => None,
        };
        drop(state);
        drop(gone);
        // Connections that were not accepted are reset.
        for stream in self.mailbox.close() {
            lock(&stream.connection.sides)[stream.side].resets = true;
        }
    }
}

/// Bytes to and fro, in order.
pub(super) struct Connection {
    network: Network,
    number: u64,
    ends: [End; 2],
    sides: Mutex<[Side; 2]>,
}

/// Who is at an end.
pub(super) struct End {
    pub(super) node: u32,
    pub(super) address: SocketAddr,
}

/// The state of one end.
#[derive(Default)]
struct Side {
    /// What it receives, with the time at which it arrives.
    packets: VecDeque<(u64, Packet)>,
    /// When the last one arrives.
    last: u64,
    /// The bytes that the other end has sent and this one has not read, wherever they are.
    unread: usize,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
    /// It sends nothing more.
    has_ended: bool,
    /// It reads nothing more.
    is_deaf: bool,
    /// It was dropped.
    is_gone: bool,
    /// Dropping it resets the connection.
    resets: bool,
    /// A node of the two has crashed.
    is_broken: bool,
    /// It was the node of this end.
    is_crashed: bool,
    /// It was told that nobody is at the other end any more.
    is_answered: bool,
}

enum Packet {
    Data(VecDeque<u8>),
    End,
    Reset,
}

impl Connection {
    /// The two ends of a new connection; the first one is `from`.
    pub(super) fn open(network: &Network, number: u64, from: End, to: End) -> (Stream, Stream) {
        let connection = Arc::new(Self {
            network: network.clone(),
            number,
            ends: [from, to],
            sides: Mutex::default(),
        });
        let end = |side| Stream {
            connection: connection.clone(),
            side,
        };
        (end(0), end(1))
    }

    pub(super) fn is_of(&self, node: u32) -> bool {
        self.ends.iter().any(|end| end.node == node)
    }

    /// That node, one of the two, has crashed. What was on its way is lost.
    pub(super) fn break_off(&self, node: u32) {
        let mut sides = lock(&self.sides);
        for (side, end) in sides.iter_mut().zip(&self.ends) {
            side.is_broken = true;
            side.is_crashed |= end.node == node;
        }
        let lost = sides
            .each_mut()
            .map(|side| std::mem::take(&mut side.packets));
        drop(sides);
        drop(lost);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        let wakers = lock(&self.sides).each_mut().map(Side::take_wakers);
        wakers.into_iter().flatten().for_each(wake);
    }

    pub(super) fn wake_writers(&self) {
        let take = |side: &mut Side| std::mem::take(&mut side.writers);
        let wakers = lock(&self.sides).each_mut().map(take);
        wakers.into_iter().flatten().for_each(wake);
    }

    /// Sends something to an end.
    fn send(self: &Arc<Self>, to: usize, packet: Packet) {
        let connection = Arc::downgrade(self);
        let (from, target) = (self.ends[1 - to].node, self.ends[to].node);
        self.network.deliver(from, target, move |at| {
            // Nobody is there if it is gone.
            if let Some(connection) = connection.upgrade() {
                connection.arrive(to, at, packet);
            }
        });
    }

    fn arrive(self: &Arc<Self>, to: usize, at: u64, packet: Packet) {
        let mut sides = lock(&self.sides);
        let side = &mut sides[to];
        if side.is_broken {
            drop(sides);
            return;
        }
        // In the order in which they were sent.
        let at = at.max(side.last);
        side.last = at;
        side.packets.push_back((at, packet));
        drop(sides);
        let connection = Arc::downgrade(self);
        let arrives = Arrives {
            connection,
            side: to,
        };
        self.network.at(at, Waker::from(Arc::new(arrives)));
    }
}

impl Side {
    fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = std::mem::take(&mut self.readers);
        wakers.append(&mut self.writers);
        wakers
    }

    /// No node of the two has crashed.
    fn check(&self) -> io::Result<()> {
        match (self.is_crashed, self.is_broken) {
            (true, _) => Err(shut_down()),
            (false, true) => Err(io::ErrorKind::ConnectionReset.into()),
            (false, false) => Ok(()),
        }
    }

    /// Was the connection reset, as far as this end knows by now?
    fn is_reset(&self, now: u64) -> bool {
        let arrived = |(at, packet): &(u64, Packet)| *at <= now && matches!(packet, Packet::Reset);
        self.is_broken || self.packets.iter().any(arrived)
    }

    /// Copies bytes that have arrived, and gives how many; `None`: there are none, and may be some
    /// later.
    fn read(&mut self, now: u64, buf: &mut [u8], takes: bool) -> io::Result<Option<usize>> {
        self.check()?;
        let mut read = 0;
        let mut spent = 0;
        for (at, packet) in &mut self.packets {
            if *at > now || read == buf.len() {
                break;
            }
            match packet {
                Packet::Data(bytes) => {
                    let length = bytes.len().min(buf.len() - read);
                    for (to, byte) in buf[read..].iter_mut().zip(bytes.iter()) {
                        *to = *byte;
                    }
                    read += length;
                    if takes {
                        bytes.drain(..length);
                        spent += usize::from(bytes.is_empty());
                    }
                }
                // They stay, for the next ones to read.
                Packet::End if read == 0 => return Ok(Some(0)),
                Packet::Reset if read == 0 => return Err(io::ErrorKind::ConnectionReset.into()),
                Packet::End | Packet::Reset => break,
            }
        }
        if takes {
            self.packets.drain(..spent);
            self.unread -= read;
        }
        Ok((read > 0 || buf.is_empty() || self.is_deaf).then_some(read))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.network.lock().connections.remove(&self.number);
    }
}

/// Wakes those who wait at an end for the packet that arrives.
struct Arrives {
    connection: Weak<Connection>,
    side: usize,
}

impl Wake for Arrives {
    fn wake(self: Arc<Self>) {
        let Some(connection) = self.connection.upgrade() else {
            return;
        };
        let now = connection.network.now();
        let mut sides = lock(&connection.sides);
        let side = &mut sides[self.side];
        // A writer waits for room, unless there is nobody to make it.
        let wakers = match side.is_reset(now) {
            true => side.take_wakers(),
            false => std::mem::take(&mut side.readers),
        };
        drop(sides);
        wakers.into_iter().for_each(wake);
    }
}

/// An end of a connection.
pub(super) struct Stream {
    connection: Arc<Connection>,
    side: usize,
}

impl Stream {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn end(&self) -> &End {
        &self.connection.ends[self.side]
    }

    fn peer(&self) -> &End {
        &self.connection.ends[1 - self.side]
    }

    fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        takes: bool,
    ) -> Poll<io::Result<usize>> {
        let now = self.connection.network.check_run()?;
        // User code, and so not under the lock.
        let waker = cx.waker().clone();
        let mut sides = lock(&self.connection.sides);
        match sides[self.side].read(now, buf, takes).transpose() {
            Some(result) => {
                let writers = std::mem::take(&mut sides[1 - self.side].writers);
                drop(sides);
                // There is room now.
                writers.into_iter().for_each(wake);
                Poll::Ready(result)
            }
            None => {
                let known = keep(&mut sides[self.side].readers, waker);
                drop(sides);
                drop(known);
                self.connection.network.note(self.end().address);
                Poll::Pending
            }
        }
    }

    /// Ends writing, once.
    fn finish(&self) {
        let before =
            std::mem::replace(&mut lock(&self.connection.sides)[self.side].has_ended, true);
        if !before {
            self.connection.send(1 - self.side, Packet::End);
        }
    }
}

impl provide::Stream for Stream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_bytes(cx, buf, true)
    }

    fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_bytes(cx, buf, false)
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let network = &self.connection.network;
        let now = network.check_run()?;
        let limit = network.lock().buffer;
        // User code, and so not under the lock.
        let waker = cx.waker().clone();
        let mut sides = lock(&self.connection.sides);
        let side = &mut sides[self.side];
        side.check()?;
        if side.is_reset(now) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if side.has_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let peer = &mut sides[1 - self.side];
        if peer.is_gone {
            let was_answered = std::mem::replace(&mut sides[self.side].is_answered, true);
            drop(sides);
            // The answer to these bytes, and to those after them: one resets the connection.
            if !was_answered {
                self.connection.send(self.side, Packet::Reset);
            }
            return Poll::Ready(Ok(buf.len()));
        }
        let room = limit.saturating_sub(peer.unread);
        if room == 0 && !buf.is_empty() {
            let known = keep(&mut sides[self.side].writers, waker);
            drop(sides);
            drop(known);
            network.note(self.end().address);
            return Poll::Pending;
        }
        let bytes = &buf[..room.min(buf.len())];
        peer.unread += bytes.len();
        drop(sides);
        let (first, second) = bytes.split_at(network.cut(bytes.len()));
        for piece in [first, second] {
            if !piece.is_empty() {
                let data = piece.iter().copied().collect();
                self.connection.send(1 - self.side, Packet::Data(data));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.connection.network.check_run()?;
        if lock(&self.connection.sides)[self.side].is_crashed {
            return Err(shut_down());
        }
        if how != Shutdown::Write {
            let mut sides = lock(&self.connection.sides);
            let side = &mut sides[self.side];
            side.is_deaf = true;
            let readers = std::mem::take(&mut side.readers);
            drop(sides);
            readers.into_iter().for_each(wake);
        }
        if how != Shutdown::Read {
            self.finish();
        }
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.end().address)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer().address)
    }

    fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        lock(&self.connection.sides)[self.side].resets = time == Some(Duration::ZERO);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut sides = lock(&self.connection.sides);
        let side = &mut sides[self.side];
        side.is_gone = true;
        let resets = side.resets || side.unread > 0;
        let packets = std::mem::take(&mut side.packets);
        // Nobody waits at this end any more (WA-3, lost tasks are destroyed).
        let wakers = side.take_wakers();
        drop(sides);
        drop((packets, wakers));
        if resets {
            self.connection.send(1 - self.side, Packet::Reset);
        } else {
            self.finish();
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
            .field("from", &self.end().address)
            .field("to", &self.peer().address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fourway_net::provide::Stream as _;

    use super::*;
    use crate::Sim;

    #[test]
    fn nobody_resets_a_connection_once_only() {
        Sim::new(1).run(|rt| {
            let network = Network::of(&rt);
            let end = || End {
                node: 0,
                address: ([127, 0, 0, 1], 1).into(),
            };
            let (mine, theirs) = Connection::open(&network, 0, end(), end());
            drop(theirs);
            for _ in 0..3 {
                let mut cx = Context::from_waker(Waker::noop());
                assert!(mine.poll_write(&mut cx, b"x").is_ready());
            }
            let sides = lock(&mine.connection.sides);
            let packets = sides[0].packets.iter().map(|(_, packet)| packet);
            let resets = packets.filter(|packet| matches!(packet, Packet::Reset));
            assert_eq!(resets.count(), 1);
        });
    }
}
