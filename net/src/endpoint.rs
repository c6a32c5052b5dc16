//! Where to connect or listen: [`Endpoint`], and names to addresses: [`Resolve`].

use std::{
    fmt,
    future::{Future, IntoFuture},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs},
    pin::Pin,
};

use fourway_core::Runtime;

use crate::{error::Refused, provide};

/// Addresses, or a name for them. [`Net`](crate::Net)'s methods take it. It is made from
///
/// * addresses: [`SocketAddr`], `(IpAddr, u16)`, several in a slice or a `Vec`;
/// * a name and a port: `("example.org", 443)`;
/// * both in one: `"example.org:443"`, `"[::1]:443"`.
///
/// A name that is an address needs no resolution. A text without a port is an error of the
/// operation that uses the endpoint, and so is an empty list: to connect, to listen or to bind fails
/// with [`NotFound`](io::ErrorKind::NotFound). To resolve an empty list gives an empty list.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Addresses(Vec<SocketAddr>),
    Name(String, u16),
    Malformed(String),
}

impl Endpoint {
    pub(crate) async fn resolve<R: Runtime>(self, runtime: &R) -> io::Result<Vec<SocketAddr>> {
        let (name, port) = match self.0 {
            Kind::Addresses(addresses) => return Ok(addresses),
            Kind::Malformed(text) => {
                let problem = format!("`{text}` is not of the form `HOST:PORT`");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
            Kind::Name(name, port) => (name, port),
        };
        if let Some(network) = provide::of(runtime) {
            return network.resolve(&name, port).await;
        }
        let look_up = move || Ok((name.as_str(), port).to_socket_addrs()?.collect());
        let looked_up = runtime.offload(look_up).await;
        looked_up.unwrap_or_else(|error| {
            // First: of a handle from before a fork `is_shutdown` is true as well.
            if error.is_forked() {
                return Err(Refused::Forked.error());
            }
            if error.is_shutdown() {
                return Err(Refused::ShutDown.error());
            }
            Err(io::Error::other(error))
        })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Addresses(addresses) => f.debug_list().entries(addresses).finish(),
            Kind::Name(name, port) => write!(f, "{name}:{port}"),
            Kind::Malformed(text) => f.write_str(text),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self(Kind::Addresses(vec![address]))
    }
}

impl From<Vec<SocketAddr>> for Endpoint {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self(Kind::Addresses(addresses))
    }
}

impl From<&[SocketAddr]> for Endpoint {
    fn from(addresses: &[SocketAddr]) -> Self {
        Self(Kind::Addresses(addresses.to_vec()))
    }
}

macro_rules! from_what_is_an_address {
    ($($type:ty,)*) => {$(
        impl From<$type> for Endpoint {
            fn from(address: $type) -> Self {
                Self::from(SocketAddr::from(address))
            }
        }
    )*};
}

from_what_is_an_address! {
    SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16), ([u8; 4], u16),
}

impl From<(&str, u16)> for Endpoint {
    fn from((host, port): (&str, u16)) -> Self {
        // As in an address, an IPv6 host may be in brackets.
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => Self::from((address, port)),
            Err(_) => Self(Kind::Name(host.to_owned(), port)),
        }
    }
}

impl From<(String, u16)> for Endpoint {
    fn from((host, port): (String, u16)) -> Self {
        Self::from((host.as_str(), port))
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::from(address);
        }
        let parts = text.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) if !host.is_empty() && !host.contains(':') => {
                Self::from((host, port))
            }
            _ => Self(Kind::Malformed(text.to_owned())),
        }
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// The error of an operation that has no address to use.
pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, NO_ADDRESS)
}

pub(crate) const NO_ADDRESS: &str = "no address is given, or the name has none";

/// Names to addresses. Made by [`Net::resolve`](crate::Net::resolve).
#[derive(Debug)]
#[must_use = "nothing is looked up before it is awaited"]
pub struct Resolve<R> {
    pub(crate) runtime: R,
    pub(crate) endpoint: Endpoint,
}

impl<R: Runtime> IntoFuture for Resolve<R> {
    type Output = io::Result<Vec<SocketAddr>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.endpoint.resolve(&self.runtime).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let of = |text: &str| format!("{:?}", Endpoint::from(text));
        assert_eq!(of("127.0.0.1:80"), "[127.0.0.1:80]");
        assert_eq!(of("[::1]:80"), "[[::1]:80]");
        assert_eq!(of("example.org:80"), "example.org:80");
        for text in [
            "",
            ":",
            ":80",
            "example.org",
            "example.org:",
            "a:b:80",
            "::1:80",
            "x:65536",
        ] {
            assert_eq!(Endpoint::from(text).0, Kind::Malformed(text.to_owned()));
        }
        assert_eq!(Endpoint::from(("::1", 80)), Endpoint::from(("[::1]", 80)));
    }
}
