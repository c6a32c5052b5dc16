//! The network of a run: [`Network`].

mod datagrams;
mod mailbox;
mod place;
mod sockets;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use fourway_core::{
    implement::{Extensions, wake},
    task::Metadata,
};
use fourway_net::provide::{self, shut_down};

use self::{
    datagrams::Message,
    mailbox::Mailbox,
    place::{EPHEMERAL, HOST, Place, ip_of},
    streams::{Connection, Stream},
};
use crate::{
    Sim, Sleep, Task, Wait,
    block_on::note,
    life::Life,
    random::Random,
    state::{Due, Inner, lock},
    timer::nanos,
};

/// The network of a run: of the sockets of [`fourway_net`], which work on a [`Sim`] as on any other
/// runtime.
///
/// A library that connects, listens and resolves names by [`Net`](fourway_net::Net) runs here
/// unchanged, in virtual time. All its connections and datagrams stay in the simulation, with delay,
/// loss, reordering, partitions, and [nodes](Node) that crash. The faults and their times are drawn
/// from the seed, apart from the schedule and the other faults.
///
/// # Nodes
///
/// A program needs none: the main closure, and all work that is on no other node, is on a
/// [node of its own](Self::host), and connects with itself by `127.0.0.1`. A test of several machines
/// makes [nodes](Self::node), and spawns a program on each. The sockets that a task, a closure or a
/// thread makes are those of its node.
///
/// The nodes have the addresses `10.0.0.1` (the host), `10.0.0.2` and so on, in the order in which
/// they are made. Their names can be resolved, at once, and so can `localhost`.
///
/// # What it is like
///
/// * A message takes the time that [`set_delay`](Self::set_delay) says, also within a node.
/// * Streams lose nothing, and keep the order. What is written arrives in one piece or in two, and
///   what has arrived is read in as few pieces as the reader's buffer allows. A stream holds
///   [so many](Self::set_buffer) bytes that are not read; then writing waits.
/// * To connect takes the time of one message. While the two nodes are [parted](Self::part), it waits,
///   without an end of its own: time limits are the caller's. If nothing else can happen, it is
///   reported as a deadlock. At an address without a listener it is refused; at one without a node
///   the host is unreachable.
/// * An end that is dropped before all was read resets the connection, and so does a crash of one of
///   the nodes.
/// * Datagrams are lost, and overtake each other, as the seed has it. Those within a node are not lost.
///
/// # What it is not
///
/// It is small on purpose: it has no bandwidth and no congestion, no limit of connections that wait
/// to be accepted, or of datagrams. It has no IPv6 but `::` and `::1`, no broadcast and no groups, and
/// sends no message back for a datagram that nobody receives. Options of sockets have no effect. That
/// is enough to test a protocol with messages that are late, lost or doubled up by retries. It says
/// nothing of the protocol's speed.
///
/// Sockets of the system are not part of a run. To make one from a descriptor, Unix sockets, child
/// processes and signals give [`Unsupported`](io::ErrorKind::Unsupported). [Outside of a
/// run](crate#outside-of-a-run) a `Sim` has the sockets of the system.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, Runtime, Task};
/// use fourway_net::Net;
/// use fourway_sim::net::Network;
/// use futures_util::{AsyncReadExt, AsyncWriteExt, io::copy};
/// use std::io;
///
/// // A library that knows nothing of simulations.
/// async fn echo<R: Runtime>(rt: R) -> io::Result<()> {
///     let listener = rt.listen_tcp("0.0.0.0:7").await?;
///     let (stream, _from) = listener.accept().await?;
///     let (read, mut write) = stream.into_split();
///     copy(read, &mut write).await.map(drop)
/// }
///
/// async fn ask<R: Runtime>(rt: R, server: &str) -> io::Result<String> {
///     let mut stream = rt.connect_tcp((server, 7)).await?;
///     stream.write_all(b"hello").await?;
///     stream.close().await?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer).await?;
///     Ok(answer)
/// }
///
/// fourway_sim::check(|rt| {
///     let network = Network::of(&rt);
///     let server = network.node("server").spawn(echo(rt.clone()));
///     let client = network.node("client");
///     let inner = rt.clone();
///     let answer = client.spawn(async move {
///         loop {
///             match ask(inner.clone(), "server").await {
///                 // It does not listen yet.
///                 Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
///                 result => return result,
///             }
///         }
///     });
///     assert_eq!(answer.wait().unwrap().unwrap(), "hello");
///     server.wait().unwrap().unwrap();
/// });
/// ```
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<Inner>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    delay: (u64, u64),
    loss: u32,
    buffer: usize,
    nodes: Vec<NodeState>,
    /// Pairs that do not reach each other, the smaller number first.
    parted: BTreeSet<(u32, u32)>,
    /// What streams have sent to the other side of a partition.
    held: Vec<Deliver>,
    connections: BTreeMap<u64, Weak<Connection>>,
    /// Of those who wait for the time at which they connect, and for the shutdown.
    waits: BTreeMap<u64, Waker>,
    /// Of those who connect across a partition.
    connects: BTreeMap<u64, Waker>,
    next: u64,
    /// The runtime is shut down.
    is_over: bool,
}

/// Called with the time of arrival.
type Deliver = Box<dyn FnOnce(u64) + Send>;

struct NodeState {
    name: String,
    life: Arc<Life>,
    listeners: BTreeMap<SocketAddr, Mailbox<Stream>>,
    datagrams: BTreeMap<SocketAddr, Mailbox<Message>>,
    next_port: u16,
}

impl Network {
    /// The network of the run. At its beginning it has no nodes but the [host](Self::host), a message
    /// takes 1 to 10 ms, and none is lost.
    ///
    /// # Panics
    ///
    /// Outside of a [run](Sim::run), and after its shutdown: an open simulation has the sockets of
    /// the system.
    #[must_use]
    pub fn of(sim: &Sim) -> Self {
        let network = sim.inner().extensions.get();
        network.expect("a simulated network is there in a run alone, until its shutdown")
    }

    /// Makes the network of a run that begins.
    pub(crate) fn begin(inner: &Arc<Inner>) {
        let state = State {
            random: Random::new(inner.config.seed, 2),
            delay: (1_000_000, 10_000_000),
            loss: 0,
            buffer: 1 << 16,
            nodes: Vec::new(),
            parted: BTreeSet::new(),
            held: Vec::new(),
            connections: BTreeMap::new(),
            waits: BTreeMap::new(),
            connects: BTreeMap::new(),
            next: 0,
            is_over: false,
        };
        let network = Self {
            shared: Arc::new(Shared {
                inner: inner.clone(),
                state: Mutex::new(state),
            }),
        };
        let _host = network.node("host");
        // They go when the run is shut down. Until then network and simulation have each other.
        let extensions: &Extensions = &inner.extensions;
        provide::install(extensions, sockets::Sockets(network.clone()));
        extensions.get_or_insert_with(|| network);
    }

    /// From now on a message takes between `shortest` and `longest`, each as long as the seed says:
    /// so datagrams overtake each other.
    pub fn set_delay(&self, shortest: Duration, longest: Duration) {
        self.lock().delay = (nanos(shortest), nanos(longest.max(shortest)));
    }

    /// From now on so many of a thousand datagrams are lost. Streams lose nothing.
    pub fn set_loss(&self, chance: u32) {
        self.lock().loss = chance;
    }

    /// From now on writing to a stream waits while so many bytes, at least one, are on their way or
    /// unread in that direction. At the beginning: 64 KiB.
    pub fn set_buffer(&self, bytes: usize) {
        let mut state = self.lock();
        state.buffer = bytes.max(1);
        let connections = state.connections();
        drop(state);
        // There may be room now.
        for connection in connections {
            connection.wake_writers();
        }
    }

    /// The node of the main closure, and of all other work that was not spawned on a node.
    ///
    /// When it [crashes](Node::crash), its sockets are gone, and the tasks that were spawned by
    /// [`Node::spawn`] on it. The main closure, and the work that is on no node, goes on.
    #[must_use]
    pub fn host(&self) -> Node {
        Node {
            network: self.clone(),
            number: HOST,
        }
    }

    /// A new node. Its name can be resolved; if several have the same one, to all of their
    /// addresses.
    #[must_use]
    pub fn node(&self, name: impl Into<String>) -> Node {
        let name = name.into();
        let mut state = self.lock();
        let number = state.nodes.len() as u32;
        state.nodes.push(NodeState {
            name,
            life: Arc::new(Life::of_node(number)),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            next_port: EPHEMERAL,
        });
        drop(state);
        Node {
            network: self.clone(),
            number,
        }
    }

    /// From now on the two do not reach each other: datagrams are lost; the data of streams, and
    /// new connections, wait until it is [healed](Self::heal). Messages that are on their way
    /// arrive.
    pub fn part(&self, one: &Node, other: &Node) {
        self.lock().parted.insert(pair(one.number, other.number));
    }

    /// All reach each other again.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.parted.clear();
        let held = std::mem::take(&mut state.held);
        let connects = std::mem::take(&mut state.connects);
        drop(state);
        for deliver in held {
            deliver(self.arrival());
        }
        connects.into_values().for_each(wake);
    }

    /// When a message arrives that is sent now.
    fn arrival(&self) -> u64 {
        let now = self.now();
        let mut state = self.lock();
        let (shortest, longest) = state.delay;
        let spread = usize::try_from(longest - shortest).unwrap_or(usize::MAX - 1);
        let more = state.random.below(spread.saturating_add(1)) as u64;
        now.saturating_add(shortest).saturating_add(more)
    }

    /// Where to cut so many bytes in two.
    fn cut(&self, length: usize) -> usize {
        let mut state = self.lock();
        if length < 2 || !state.random.per_mille(250) {
            return length;
        }
        1 + state.random.below(length - 1)
    }

    /// Has `deliver` called with the time of arrival: now, or once the two are not parted any
    /// more.
    fn deliver(&self, from: u32, to: u32, deliver: impl FnOnce(u64) + Send + 'static) {
        let mut state = self.lock();
        if state.is_over {
            drop(state);
            return;
        }
        if state.parted.contains(&pair(from, to)) {
            state.held.push(Box::new(deliver));
            return;
        }
        drop(state);
        deliver(self.arrival());
    }

    fn is_parted(&self, one: u32, other: u32) -> bool {
        self.lock().parted.contains(&pair(one, other))
    }

    /// The time on the virtual clock.
    fn now(&self) -> u64 {
        self.shared.inner.lock().clock
    }

    /// Wakes it at that time.
    fn at(&self, time: u64, waker: Waker) {
        let mut state = self.shared.inner.lock();
        if time > state.clock {
            state.at(time, Due::Wake(waker));
            return;
        }
        drop(state);
        wake(waker);
    }

    /// The running unit waits at a socket: for the report of a deadlock.
    fn note(&self, address: SocketAddr) {
        // Not while the tasks of a deadlock are polled once more, on the thread of another unit.
        if !self.shared.inner.lock().closed {
            note(&self.shared.inner, Wait::Socket(address));
        }
    }

    /// As [`check_run`](Self::check_run); and the node has not crashed.
    fn check(&self, place: &Place) -> io::Result<u64> {
        if place.is_over() {
            return Err(shut_down());
        }
        self.check_run()
    }

    /// The runtime is not shut down. Gives the time.
    fn check_run(&self) -> io::Result<u64> {
        if self.lock().is_over {
            return Err(shut_down());
        }
        Ok(self.now())
    }

    /// Waits until that time, or until the shutdown.
    async fn pause(&self, until: u64) -> io::Result<()> {
        let number = self.lock().number();
        let _forgets = Waits(self, number);
        let mut sleep = Sleep::simulated(&self.shared.inner, until);
        poll_fn(|cx| {
            // User code, and so not under the lock.
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.is_over {
                drop(state);
                return Poll::Ready(Err(shut_down()));
            }
            let before = state.waits.insert(number, waker);
            drop(state);
            drop(before);
            Pin::new(&mut sleep).poll(cx).map(Ok)
        })
        .await
    }

    /// Waits until the node of `place` reaches that one, or until the shutdown. `to` is for the report
    /// of a deadlock.
    async fn reaches(&self, place: &Place, target: u32, to: SocketAddr) -> io::Result<()> {
        let number = self.lock().number();
        let _forgets = Waits(self, number);
        poll_fn(|cx| {
            // User code, and so not under the lock.
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.is_over || place.is_over() {
                drop(state);
                return Poll::Ready(Err(shut_down()));
            }
            if !state.parted.contains(&pair(place.node, target)) {
                return Poll::Ready(Ok(()));
            }
            let before = state.connects.insert(number, waker);
            drop(state);
            drop(before);
            self.note(to);
            Poll::Pending
        })
        .await
    }

    /// The runtime is shut down.
    fn close(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let held = std::mem::take(&mut state.held);
        let waits = std::mem::take(&mut state.waits);
        let connects = std::mem::take(&mut state.connects);
        let connections = state.connections();
        let nodes = state.nodes.iter_mut();
        let sockets: Vec<_> = nodes.map(NodeState::take_sockets).collect();
        drop(state);
        drop(held);
        waits
            .into_values()
            .chain(connects.into_values())
            .for_each(wake);
        for connection in connections {
            connection.wake_all();
        }
        for (listeners, datagrams) in sockets {
            close_all(listeners);
            close_all(datagrams);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Drop them outside of the lock.
    fn connections(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.values();
        connections.filter_map(Weak::upgrade).collect()
    }
}

type Mailboxes<M> = BTreeMap<SocketAddr, Mailbox<M>>;

impl NodeState {
    fn take_sockets(&mut self) -> (Mailboxes<Stream>, Mailboxes<Message>) {
        let listeners = std::mem::take(&mut self.listeners);
        (listeners, std::mem::take(&mut self.datagrams))
    }
}

fn close_all<M: Send + 'static>(mailboxes: Mailboxes<M>) {
    for mailbox in mailboxes.into_values() {
        drop(mailbox.close());
    }
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

/// A wait for the shutdown or for a partition's end, which ends when this is dropped.
struct Waits<'a>(&'a Network, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let wakers = (state.waits.remove(&self.1), state.connects.remove(&self.1));
        drop(state);
        drop(wakers);
    }
}

/// One of the machines of a [`Network`]. A clone is the same one.
#[derive(Clone)]
pub struct Node {
    network: Network,
    number: u32,
}

impl Node {
    /// Spawns a task that [goes](Self::crash) with the node. So does all work that it starts, by
    /// any handle: tasks, closures and threads. All of it has the node's sockets.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let metadata = Metadata::caller();
        let state = self.network.lock();
        let here = &state.nodes[self.number as usize];
        let (name, life) = (here.name.clone(), here.life.clone());
        drop(state);
        let inner = &self.network.shared.inner;
        Sim::spawn_on(inner, Some(life), metadata.named(name), future)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        let state = self.network.lock();
        state.nodes[self.number as usize].name.clone()
    }

    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        ip_of(self.number)
    }

    /// The address of one of its ports.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// The machine loses its power, and is there again at once. Before this returns, its tasks, and
    /// its closures that have not begun, are dropped. The messages on their way to its sockets are
    /// lost, its ports are free, and the other ends of its streams are reset, those that were never
    /// accepted included. The handles of its tasks say that they were shut down.
    ///
    /// Running work, such as a closure, or the task that crashes its own node, can start nothing
    /// any more. It ends, by a panic without a message, at its next operation of the simulation:
    /// where it spawns, offloads, begins to block, or at a [`point`](crate::point). A task ends
    /// with its poll at the latest. A closure without such an operation runs to its end, because
    /// nothing can stop it. So does code on the threads of a sync nursery. Its sockets say that the
    /// runtime is [shut down](fourway_net::is_shutdown).
    pub fn crash(&self) {
        let mut state = self.network.lock();
        let here = &mut state.nodes[self.number as usize];
        let life = std::mem::replace(&mut here.life, Arc::new(Life::of_node(self.number)));
        let (listeners, datagrams) = here.take_sockets();
        let mut connections = state.connections();
        drop(state);
        connections.retain(|connection| connection.is_of(self.number));
        // First, so that no stream that is dropped now is closed in good order.
        for connection in connections {
            connection.break_off(self.number);
        }
        close_all(datagrams);
        close_all(listeners);
        self.network.shared.inner.crash(&life);
        // A closure of the node that connects across a partition learns of it. The others wait again.
        let connects = std::mem::take(&mut self.network.lock().connects);
        connects.into_values().for_each(wake);
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
