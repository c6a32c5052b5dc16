//! Nodes, addresses and ports: [`Place`], and which socket is at an address.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use crate::life::Life;

/// The node of work that is on none.
pub(super) const HOST: u32 = 0;

/// The node of a unit, or a socket.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) node: u32,
    /// Of the node at that time. Work that is on no node has none.
    pub(super) life: Option<Arc<Life>>,
}

impl Place {
    pub(super) fn is_over(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.is_over())
    }

    /// The node at an address, as seen from this one.
    pub(super) fn route(&self, to: IpAddr) -> Option<u32> {
        match to {
            to if to.is_loopback() || to.is_unspecified() => Some(self.node),
            IpAddr::V4(to) => u32::from(to).checked_sub(u32::from(FIRST)),
            IpAddr::V6(_) => None,
        }
    }

    /// May this node listen there?
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip.is_unspecified() || ip == ip_of(self.node)
    }

    /// Its address as that of a socket which sends to `to`.
    pub(super) fn ip_towards(&self, to: IpAddr) -> IpAddr {
        if to.is_loopback() {
            to
        } else {
            ip_of(self.node)
        }
    }
}

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

pub(super) fn ip_of(node: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(FIRST) + node).into()
}

/// The address that is meant: IPv4 as such, and the loopback where a system understands the
/// unspecified address as that.
pub(super) fn meant(to: SocketAddr) -> SocketAddr {
    let ip = match to.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, to.port())
}

/// The socket at an address: that of the address itself, or else of any.
pub(super) fn find<T>(sockets: &BTreeMap<SocketAddr, T>, at: SocketAddr) -> Option<&T> {
    let any_v4 = at.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into());
    let ips = [Some(at.ip()), any_v4, Some(Ipv6Addr::UNSPECIFIED.into())];
    let mut ips = ips.into_iter().flatten();
    ips.find_map(|ip| sockets.get(&SocketAddr::new(ip, at.port())))
}

/// The address for a new socket: on port 0, a free one from `next` on.
pub(super) fn bind<T>(
    sockets: &BTreeMap<SocketAddr, T>,
    on: SocketAddr,
    next: &mut u16,
) -> io::Result<SocketAddr> {
    let is_taken = |port: u16| {
        let same = |known: &SocketAddr| {
            let any = known.ip().is_unspecified() || on.ip().is_unspecified();
            known.port() == port && (any || known.ip() == on.ip())
        };
        sockets.keys().any(same)
    };
    if on.port() != 0 {
        return match is_taken(on.port()) {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => Ok(on),
        };
    }
    for _ in EPHEMERAL..=u16::MAX {
        let port = take_port(next);
        if !is_taken(port) {
            return Ok(SocketAddr::new(on.ip(), port));
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The first of the ports that nobody asks for by number.
pub(super) const EPHEMERAL: u16 = 49152;

pub(super) fn take_port(next: &mut u16) -> u16 {
    let port = *next;
    *next = next.checked_add(1).unwrap_or(EPHEMERAL);
    port
}
