//! A small network for programs of several nodes in one simulation: [`Network`].

mod datagrams;
mod mailbox;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fourway_core::{Timer, task::Metadata};

use self::mailbox::Mailbox;
use crate::{Sim, Task, life::Life, random::Random, state::lock};

pub use self::{
    datagrams::Datagrams,
    streams::{Listener, Stream},
};

/// A network between the nodes of a simulation: datagrams and streams, with delay, loss,
/// reordering, partitions, and nodes that crash.
///
/// The faults and their times are drawn from the seed, apart from the schedule and the other
/// faults.
///
/// It is small on purpose. It has no bandwidth, no congestion, no limit on messages in flight, and
/// no look-up of names. Streams keep to the traits of `futures-io`, and are not the sockets of an
/// operating system. That is enough to test a protocol with messages that are late, lost or doubled
/// up by retries. It says nothing of the protocol's speed.
///
/// # Examples
///
/// ```
/// use fourway_core::Task;
/// use fourway_sim::net::Network;
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
///
/// fourway_sim::check(|rt| {
///     let network = Network::new(&rt);
///     let (client, server) = (network.node("client"), network.node("server"));
///     let echo = server.listen(7).unwrap();
///     let answers = server.spawn(async move {
///         let (mut stream, _from) = echo.accept().await.unwrap();
///         let mut buffer = [0; 16];
///         let length = stream.read(&mut buffer).await.unwrap();
///         stream.write_all(&buffer[..length]).await.unwrap();
///     });
///     let to = server.address(7);
///     let asks = client.spawn({
///         let client = client.clone();
///         async move {
///             let mut stream = client.connect(to).await.unwrap();
///             stream.write_all(b"hello").await.unwrap();
///             let mut buffer = [0; 16];
///             let length = stream.read(&mut buffer).await.unwrap();
///             assert_eq!(&buffer[..length], b"hello");
///         }
///     });
///     asks.wait().unwrap();
///     answers.wait().unwrap();
/// });
/// ```
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    sim: Sim,
    state: Mutex<State>,
}

struct State {
    random: Random,
    delay: (Duration, Duration),
    loss: u32,
    nodes: Vec<NodeState>,
    /// Pairs that do not reach each other, the smaller number first.
    parted: BTreeSet<(u32, u32)>,
    /// Data that streams have sent to the other side of a partition.
    held: Vec<Deliver>,
    datagrams: BTreeMap<Address, Mailbox<(Vec<u8>, Address)>>,
    listeners: BTreeMap<Address, Mailbox<(Stream, Address)>>,
}

/// Called with the time of arrival.
type Deliver = Box<dyn FnOnce(Instant) + Send>;

struct NodeState {
    name: String,
    life: Arc<Life>,
    /// The streams to reset when it crashes.
    streams: Vec<streams::Pipes>,
    next_port: u16,
}

/// A port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    node: u32,
    port: u16,
}

impl Address {
    /// The port.
    #[must_use]
    pub fn port(self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}:{}", self.node, self.port)
    }
}

impl Network {
    /// A network of no nodes, on which a message takes 1 to 10 ms and none is lost.
    #[must_use]
    pub fn new(sim: &Sim) -> Self {
        let state = State {
            random: Random::new(sim.seed(), 2),
            delay: (Duration::from_millis(1), Duration::from_millis(10)),
            loss: 0,
            nodes: Vec::new(),
            parted: BTreeSet::new(),
            held: Vec::new(),
            datagrams: BTreeMap::new(),
            listeners: BTreeMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                sim: sim.clone(),
                state: Mutex::new(state),
            }),
        }
    }

    /// From now on a message takes between `shortest` and `longest`, each as long as the seed says:
    /// so datagrams overtake each other.
    pub fn set_delay(&self, shortest: Duration, longest: Duration) {
        self.lock().delay = (shortest, longest.max(shortest));
    }

    /// From now on so many of a thousand datagrams are lost. Streams lose nothing.
    pub fn set_loss(&self, chance: u32) {
        self.lock().loss = chance;
    }

    /// A new node. The name is for people; two may have the same one.
    #[must_use]
    pub fn node(&self, name: impl Into<String>) -> Node {
        let mut state = self.lock();
        let number = state.nodes.len() as u32;
        state.nodes.push(NodeState {
            name: name.into(),
            life: Arc::default(),
            streams: Vec::new(),
            next_port: 49152,
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
        drop(state);
        for deliver in held {
            let at = self.arrival();
            deliver(at);
        }
    }

    /// When a message arrives that is sent now.
    fn arrival(&self) -> Instant {
        let now = self.shared.sim.now();
        let mut state = self.lock();
        let (shortest, longest) = state.delay;
        let spread = longest.saturating_sub(shortest).as_nanos();
        let spread = usize::try_from(spread).unwrap_or(usize::MAX - 1);
        let more = state.random.below(spread + 1) as u64;
        now + shortest + Duration::from_nanos(more)
    }

    fn is_parted(&self, one: u32, other: u32) -> bool {
        self.lock().parted.contains(&pair(one, other))
    }

    /// Has `deliver` called with the time of arrival: now, or once the two are not parted any
    /// more.
    fn deliver(&self, from: u32, to: u32, deliver: impl FnOnce(Instant) + Send + 'static) {
        let parted = pair(from, to);
        let mut state = self.lock();
        if state.parted.contains(&parted) {
            state.held.push(Box::new(deliver));
            return;
        }
        drop(state);
        deliver(self.arrival());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

/// One of the machines of a [`Network`]. A clone is the same one.
#[derive(Clone)]
pub struct Node {
    network: Network,
    number: u32,
}

impl Node {
    /// Spawns a task that [goes](Self::crash) with the node. So does all work that it starts, by
    /// any handle: tasks, closures and threads.
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
        let sim = &self.network.shared.sim;
        sim.spawn_on(Some(life), metadata.named(name), future)
    }

    /// The address of one of its ports.
    #[must_use]
    pub fn address(&self, port: u16) -> Address {
        Address {
            node: self.number,
            port,
        }
    }

    /// Receives and sends datagrams at a port.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`].
    pub fn datagrams(&self, port: u16) -> io::Result<Datagrams> {
        let address = self.address(port);
        let mailbox = Mailbox::new();
        let mut state = self.network.lock();
        if state.datagrams.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.datagrams.insert(address, mailbox.clone());
        drop(state);
        Ok(Datagrams {
            network: self.network.clone(),
            address,
            mailbox,
        })
    }

    /// Accepts connections at a port.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`].
    pub fn listen(&self, port: u16) -> io::Result<Listener> {
        let address = self.address(port);
        let mailbox = Mailbox::new();
        let mut state = self.network.lock();
        if state.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.listeners.insert(address, mailbox.clone());
        drop(state);
        Ok(Listener {
            network: self.network.clone(),
            address,
            mailbox,
        })
    }

    /// Connects to a listener. While the two are [parted](Network::part), it asks again each
    /// second.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`] if there is no listener.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, it has not connected.
    pub async fn connect(&self, to: Address) -> io::Result<Stream> {
        let sim = &self.network.shared.sim;
        loop {
            let arrives = self.network.arrival();
            sim.sleep_until(arrives).await;
            if !self.network.is_parted(self.number, to.node) {
                break;
            }
            sim.sleep(Duration::from_secs(1)).await;
        }
        let mut state = self.network.lock();
        let listener = state.listeners.get(&to).cloned();
        let Some(listener) = listener else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let here = &mut state.nodes[self.number as usize];
        here.next_port = here.next_port.checked_add(1).unwrap_or(49152);
        let from = self.address(here.next_port);
        let (mine, theirs, pipes) = streams::connected(&self.network, from, to);
        here.add(pipes.clone());
        state.nodes[to.node as usize].add(pipes);
        drop(state);
        listener
            .send(sim.now(), true, (theirs, from))
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(mine)
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
    /// nothing can stop it. So does code on the threads of a sync nursery.
    pub fn crash(&self) {
        let mut state = self.network.lock();
        let here = &mut state.nodes[self.number as usize];
        let life = std::mem::take(&mut here.life);
        let pipes = std::mem::take(&mut here.streams);
        let ports = self.address(0)..=self.address(u16::MAX);
        let mut datagrams = Vec::new();
        let mut listeners = Vec::new();
        let keys: Vec<Address> = state
            .datagrams
            .range(ports.clone())
            .map(|(a, _)| *a)
            .collect();
        datagrams.extend(keys.iter().filter_map(|key| state.datagrams.remove(key)));
        let keys: Vec<Address> = state.listeners.range(ports).map(|(a, _)| *a).collect();
        listeners.extend(keys.iter().filter_map(|key| state.listeners.remove(key)));
        drop(state);
        // First, so that no stream that is dropped now is closed in good order.
        for pipe in pipes {
            pipe.reset();
        }
        for mailbox in datagrams {
            drop(mailbox.close(io::ErrorKind::ConnectionReset));
        }
        for mailbox in listeners {
            drop(mailbox.close(io::ErrorKind::ConnectionReset));
        }
        self.network.shared.sim.inner().crash(&life);
    }
}

impl NodeState {
    fn add(&mut self, pipes: streams::Pipes) {
        self.streams.retain(streams::Pipes::is_open);
        self.streams.push(pipes);
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
