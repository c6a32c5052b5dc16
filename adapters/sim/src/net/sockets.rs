//! What `fourway-net` asks a runtime for that has a network of its own: [`Sockets`].

use std::{
    future::ready,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use fourway_net::provide::{self, Boxed};

use super::{
    Network,
    datagrams::Datagrams,
    mailbox::Mailbox,
    place::{self, HOST, Place, ip_of, meant, take_port},
    streams::{Connection, End, Listener, Stream},
};

/// The sockets of a run.
pub(super) struct Sockets(pub(super) Network);

impl provide::Network for Sockets {
    fn connect(&self, to: SocketAddr, from: Option<SocketAddr>) -> Boxed<Box<dyn provide::Stream>> {
        let network = self.0.clone();
        let place = network.here();
        Box::pin(async move {
            let stream = network.connect(place, meant(to), from).await?;
            Ok(Box::new(stream) as _)
        })
    }

    fn listen(&self, on: SocketAddr) -> io::Result<Box<dyn provide::Listener>> {
        let network = self.0.clone();
        let (place, on) = network.own(on)?;
        let mailbox = Mailbox::new();
        let mut state = network.lock();
        let here = &mut state.nodes[place.node as usize];
        let address = place::bind(&here.listeners, on, &mut here.next_port)?;
        here.listeners.insert(address, mailbox.clone());
        drop(state);
        Ok(Box::new(Listener {
            network,
            place,
            address,
            mailbox,
        }))
    }

    fn bind(&self, on: SocketAddr) -> io::Result<Box<dyn provide::Datagrams>> {
        let network = self.0.clone();
        let (place, on) = network.own(on)?;
        let mailbox = Mailbox::new();
        let mut state = network.lock();
        let here = &mut state.nodes[place.node as usize];
        let address = place::bind(&here.datagrams, on, &mut here.next_port)?;
        here.datagrams.insert(address, mailbox.clone());
        drop(state);
        Ok(Box::new(Datagrams {
            network,
            place,
            address,
            mailbox,
            peer: Mutex::new(None),
        }))
    }

    fn resolve(&self, name: &str, port: u16) -> Boxed<Vec<SocketAddr>> {
        Box::pin(ready(self.0.resolve(name, port)))
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Network {
    /// The node of the running code.
    fn here(&self) -> Place {
        let inner = &self.shared.inner;
        let mut state = inner.lock();
        inner.check_foreign(&mut state);
        let unit = inner.current_unit(&state);
        let life = unit.and_then(|unit| state.lives.get(&unit.0)).cloned();
        drop(state);
        let node = life.as_ref().map_or(HOST, |life| life.node());
        Place { node, life }
    }

    /// The node of the running code, and one of its addresses.
    fn own(&self, on: SocketAddr) -> io::Result<(Place, SocketAddr)> {
        let place = self.here();
        self.check(&place)?;
        let on = SocketAddr::new(on.ip().to_canonical(), on.port());
        if !place.has(on.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok((place, on))
    }

    async fn connect(
        &self,
        place: Place,
        to: SocketAddr,
        from: Option<SocketAddr>,
    ) -> io::Result<Stream> {
        if from.is_some_and(|from| !place.has(from.ip().to_canonical())) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let target = loop {
            self.pause(self.arrival()).await?;
            self.check(&place)?;
            let target = self.route(&place, to);
            let target = target.ok_or_else(|| unreachable(to))?;
            if !self.is_parted(place.node, target) {
                break target;
            }
            // Not by a timer, as a system does, which asks again and again: a partition that nobody
            // heals would be no deadlock.
            self.reaches(&place, target, to).await?;
        };
        let mut state = self.lock();
        let number = state.number();
        let there = &state.nodes[target as usize];
        let listener = place::find(&there.listeners, to).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let from = from.unwrap_or_else(|| SocketAddr::new(place.ip_towards(to.ip()), 0));
        let ip = match from.ip().to_canonical() {
            ip if ip.is_unspecified() => place.ip_towards(to.ip()),
            ip => ip,
        };
        let port = match from.port() {
            0 => take_port(&mut state.nodes[place.node as usize].next_port),
            port => port,
        };
        let near = End {
            node: place.node,
            address: SocketAddr::new(ip, port),
        };
        let far = End {
            node: target,
            address: to,
        };
        let (mine, theirs) = Connection::open(self, number, near, far);
        let weak = Arc::downgrade(mine.connection());
        state.connections.insert(number, weak);
        drop(state);
        match listener.send(self, self.now(), theirs) {
            Ok(()) => Ok(mine),
            // It is being closed.
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Sends a datagram, which may be lost.
    pub(super) fn send(&self, socket: &Datagrams, message: &[u8], to: SocketAddr) {
        let to = meant(to);
        let here = &socket.place;
        let Some(target) = self.route(here, to) else {
            return;
        };
        let mut state = self.lock();
        let loss = state.loss;
        let is_lost = target != here.node
            && (state.random.per_mille(loss)
                || state.parted.contains(&super::pair(here.node, target)));
        let mailbox = place::find(&state.nodes[target as usize].datagrams, to).cloned();
        drop(state);
        let arrives = self.arrival();
        let from = match socket.address.ip() {
            ip if ip.is_unspecified() => here.ip_towards(to.ip()),
            ip => ip,
        };
        let from = SocketAddr::new(from, socket.address.port());
        if let Some(mailbox) = mailbox.filter(|_| !is_lost) {
            // A closed mailbox loses it.
            let _ = mailbox.send(self, arrives, (message.to_vec(), from));
        }
    }

    /// The node with that address, if there is one.
    fn route(&self, from: &Place, to: SocketAddr) -> Option<u32> {
        let nodes = self.lock().nodes.len();
        let target = from.route(to.ip());
        target.filter(|target| (*target as usize) < nodes)
    }

    fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.check_run()?;
        if name == "localhost" {
            return Ok(vec![([127, 0, 0, 1], port).into()]);
        }
        let state = self.lock();
        let nodes = (0..).zip(&state.nodes);
        let named = nodes.filter(|(_, node)| node.name == name);
        let addresses: Vec<_> = named
            .map(|(number, _)| SocketAddr::new(ip_of(number), port))
            .collect();
        if addresses.is_empty() {
            let problem = format!("no node of the simulated network is called `{name}`");
            return Err(io::Error::new(io::ErrorKind::NotFound, problem));
        }
        Ok(addresses)
    }
}

fn unreachable(to: SocketAddr) -> io::Error {
    match to {
        SocketAddr::V4(_) => io::ErrorKind::HostUnreachable.into(),
        SocketAddr::V6(_) => io::ErrorKind::NetworkUnreachable.into(),
    }
}
