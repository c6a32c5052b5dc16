//! Errors beyond the system's: [`ConnectError`], and questions to errors.

use std::{error::Error, fmt, io, net::SocketAddr};

use crate::endpoint::NO_ADDRESS;

/// Why this crate, not the system, refused an operation. The inner error of an `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    ShutDown,
    Forked,
    #[cfg_attr(
        any(feature = "smol", feature = "std-thread"),
        allow(dead_code, reason = "there is a reactor for all")
    )]
    NoReactor,
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "it is what Tokio may lack")
    )]
    NoIoDriver,
    NoSystem,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShutDown => {
                "the runtime that the socket belongs to has been shut down: close its sockets \
                 before, or keep the runtime for as long as they are used"
            }
            Self::Forked => {
                "the socket's runtime or reactor is that of the parent process: in a forked child \
                 make sockets on a runtime of its own, and on one with a reactor of its own, such \
                 as Tokio"
            }
            Self::NoReactor => {
                "fourway-net was compiled without a reactor for this runtime: turn on its \
                 feature `tokio`, `smol` or `std-thread`, or the feature `net` of `fourway`"
            }
            Self::NoIoDriver => {
                "this Tokio runtime was built without I/O: call `enable_io` or `enable_all` on \
                 its builder"
            }
            Self::NoSystem => {
                "the sockets of this runtime are those of a network of its own, such as a \
                 simulated one, and have no descriptors: use TCP, UDP and names of `Net` alone"
            }
        })
    }
}

impl Error for Refused {}

impl Refused {
    #[cold]
    pub(crate) fn error(self) -> io::Error {
        let kind = match self {
            Self::ShutDown | Self::Forked => io::ErrorKind::Other,
            Self::NoReactor | Self::NoIoDriver | Self::NoSystem => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, self)
    }

    fn is(self, error: &io::Error) -> bool {
        inner::<Self>(error) == Some(&self)
    }
}

fn inner<E: Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref()?.downcast_ref()
}

/// Was the runtime of the socket shut down? Then every later use of the socket fails, too.
///
/// # Examples
///
/// ```
/// # use fourway_net::{TcpListener, is_shutdown};
/// # async fn example(listener: TcpListener) {
/// loop {
///     match listener.accept().await {
///         Ok((stream, peer)) => drop((stream, peer)),
///         Err(error) if is_shutdown(&error) => return,
///         Err(error) => eprintln!("{error}"), // and on: the next one waits if it has to
///     }
/// }
/// # }
/// ```
#[must_use]
pub fn is_shutdown(error: &io::Error) -> bool {
    Refused::ShutDown.is(error)
}

/// Is the socket, or the runtime that one was to be made on, from before a `fork`, and this process the
/// child ([forked children](fourway_core::contract#FK-1))? [`is_shutdown`] is false then: what the
/// runtime's other handles give says both.
#[must_use]
pub fn is_forked(error: &io::Error) -> bool {
    Refused::Forked.is(error)
}

/// Will each later `accept` of the same listener fail as well? The runtime is shut down
/// ([`is_shutdown`]), the listener is from before a `fork` ([`is_forked`]), or its socket does not
/// listen (`EBADF`, `EINVAL`, `ENOTSOCK`). An accept loop ends with such an error, and continues
/// after any other.
///
/// # Examples
///
/// ```
/// # use fourway_net::{TcpListener, TcpStream, is_final};
/// # use std::io;
/// async fn accept(listener: TcpListener, mut serve: impl FnMut(TcpStream)) -> io::Error {
///     loop {
///         match listener.accept().await {
///             Ok((stream, _)) => serve(stream),
///             Err(error) if is_final(&error) => return error,
///             Err(error) => eprintln!("{error}"), // the next one waits before it tries again
///         }
///     }
/// }
/// ```
#[must_use]
pub fn is_final(error: &io::Error) -> bool {
    // All Unix systems have the same numbers, except for the last.
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    const ENOTSOCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
        88
    } else if cfg!(any(target_os = "solaris", target_os = "illumos")) {
        95
    } else {
        38
    };
    is_shutdown(error)
        || is_forked(error)
        || matches!(error.raw_os_error(), Some(EBADF | EINVAL | ENOTSOCK))
}

/// Has the process or the system run out of descriptors or of memory for sockets (`EMFILE`,
/// `ENFILE`, `ENOBUFS`, `ENOMEM`)? This may pass: a connection that waits to be
/// accepted goes on waiting. Of a [`ConnectError`], did it happen with any of its addresses?
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    // The numbers are the same on all Unix systems, except the third.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
        105
    } else if cfg!(any(target_os = "solaris", target_os = "illumos")) {
        132
    } else {
        55
    };
    if let Some(error) = inner::<ConnectError>(error) {
        return error.attempts.iter().any(|(_, error)| is_exhausted(error));
    }
    matches!(
        error.raw_os_error(),
        Some(ENFILE | EMFILE | ENOMEM | ENOBUFS)
    )
}

/// No address could be connected to. The inner error of the `io::Error` that
/// [`Net::connect_tcp`](crate::Net::connect_tcp) gives.
///
/// The [`kind`](io::Error::kind) of that error tells the reasons apart:
/// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if a machine answered and has no
/// listener; [`HostUnreachable`](io::ErrorKind::HostUnreachable) and
/// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable) if no machine can be reached;
/// [`TimedOut`](io::ErrorKind::TimedOut) if the time of the caller or of the system was over. For
/// several addresses it is the most specific reason: the answer of a machine comes before the lack
/// of a route. [`reason`](Self::reason) gives that address' error, which no `source` repeats: the text
/// has each.
///
/// # Examples
///
/// ```
/// # use fourway_net::ConnectError;
/// # fn example(error: std::io::Error) {
/// if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<ConnectError>()) {
///     for (address, reason) in error.attempts() {
///         eprintln!("{address}: {reason}");
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectError {
    attempts: Vec<(SocketAddr, io::Error)>,
    timed_out: bool,
}

impl ConnectError {
    pub(crate) fn failed(attempts: Vec<(SocketAddr, io::Error)>) -> io::Error {
        let timed_out = false;
        Self {
            attempts,
            timed_out,
        }
        .into()
    }

    pub(crate) fn timed_out(attempts: Vec<(SocketAddr, io::Error)>) -> io::Error {
        let timed_out = true;
        Self {
            attempts,
            timed_out,
        }
        .into()
    }

    /// Each address that failed, with its reason, in the order of the failures. After a timeout,
    /// the addresses that had failed by then.
    #[must_use]
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        &self.attempts
    }

    fn kind(&self) -> io::ErrorKind {
        if self.timed_out {
            return io::ErrorKind::TimedOut;
        }
        let reason = self.reason().map(io::Error::kind);
        reason.unwrap_or(io::ErrorKind::NotFound)
    }

    /// The most specific of the errors; `None` if there was no address, or no time for one to fail.
    #[must_use]
    pub fn reason(&self) -> Option<&io::Error> {
        let errors = || self.attempts.iter().map(|(_, error)| error).rev();
        let says_little = |error: &io::Error| {
            use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
            matches!(
                error.kind(),
                AddrNotAvailable | HostUnreachable | NetworkUnreachable
            )
        };
        let said = errors().find(|error| !says_little(error));
        said.or_else(|| errors().next())
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.timed_out, self.attempts.is_empty()) {
            (true, true) => "the connection was not made in time",
            (true, false) => "the connection was not made in time; until then",
            (false, true) => NO_ADDRESS,
            (false, false) => "cannot connect",
        })?;
        for (i, (address, error)) in self.attempts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma} to {address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(codes: &[i32]) -> io::ErrorKind {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let attempts = codes
            .iter()
            .map(|code| (address, io::Error::from_raw_os_error(*code)));
        ConnectError::failed(attempts.collect()).kind()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_reason_that_says_the_most_counts() {
        const REFUSED: i32 = 111;
        const NETWORK_UNREACHABLE: i32 = 101;
        const HOST_UNREACHABLE: i32 = 113;
        assert_eq!(kind_of(&[REFUSED]), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            kind_of(&[REFUSED, NETWORK_UNREACHABLE]),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(
            kind_of(&[NETWORK_UNREACHABLE, HOST_UNREACHABLE]),
            io::ErrorKind::HostUnreachable
        );
        assert_eq!(kind_of(&[]), io::ErrorKind::NotFound);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn exhaustion_is_known_by_its_number() {
        let exhausted = |code| is_exhausted(&io::Error::from_raw_os_error(code));
        assert!([12, 23, 24, 105].into_iter().all(exhausted));
        assert!(!exhausted(111));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connect_is_exhausted_if_one_of_its_attempts_is() {
        let attempts = |codes: &[i32]| {
            let address = SocketAddr::from(([127, 0, 0, 1], 80));
            let codes = codes.iter().copied();
            let errors = codes.map(io::Error::from_raw_os_error);
            errors.map(|error| (address, error)).collect()
        };
        assert!(is_exhausted(&ConnectError::failed(attempts(&[24, 111]))));
        assert!(is_exhausted(&ConnectError::timed_out(attempts(&[23]))));
        assert!(!is_exhausted(&ConnectError::failed(attempts(&[111, 101]))));
        let error = ConnectError::failed(attempts(&[111, 101]));
        let reason = inner::<ConnectError>(&error).unwrap().reason();
        assert_eq!(reason.and_then(io::Error::raw_os_error), Some(111));
        // A report that follows the sources says it once.
        assert!(error.source().is_none());
        let error = ConnectError::failed(Vec::new());
        assert!(inner::<ConnectError>(&error).unwrap().reason().is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_stays_is_known() {
        let stays = |code| is_final(&io::Error::from_raw_os_error(code));
        assert!([9, 22, 88].into_iter().all(stays));
        assert!(![12, 23, 24, 103].into_iter().any(stays));
        assert!(is_final(&Refused::ShutDown.error()));
        assert!(is_final(&Refused::Forked.error()));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(is_shutdown(&Refused::ShutDown.error()));
        assert!(!is_shutdown(&Refused::Forked.error()));
        assert!(is_forked(&Refused::Forked.error()));
        assert!(!is_shutdown(&io::Error::other("something else")));
    }
}
