//! The cases' view of a network: [`Network`].

use std::{future::Future, io, net::SocketAddr, pin::Pin, process::ExitStatus, time::Duration};

use fourway_core::AnyRuntime;

/// A future of an operation.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Sockets on a runtime.
///
/// Each case has a network and a runtime for itself, and may shut that down.
pub trait Network: Send + Sync {
    /// The runtime of the sockets. Cases also run their other work on it.
    fn runtime(&self) -> &AnyRuntime;

    /// Listens on a free port of the loopback.
    fn listen(&self) -> Boxed<'static, Box<dyn Listener>>;

    /// Connects to the first address that answers, within `time`.
    fn connect(&self, to: Vec<SocketAddr>, time: Duration) -> Boxed<'static, Box<dyn Stream>>;

    /// Does the error say that the runtime was shut down? By default as
    /// [`fourway_net::is_shutdown`].
    fn is_shutdown(&self, error: &io::Error) -> bool {
        fourway_net::is_shutdown(error)
    }

    /// Does the error say that the process has no descriptors left? By default as
    /// [`fourway_net::is_exhausted`].
    fn is_exhausted(&self, error: &io::Error) -> bool {
        fourway_net::is_exhausted(error)
    }

    /// Child processes and signals, if it has them. By default it has none, and the
    /// cases about them are left out ([children and signals are waited for like
    /// sockets](fourway_core::contract#NE-5)).
    fn processes(&self) -> Option<&dyn Processes> {
        None
    }

    /// Datagram sockets, if it has them. By default it has none, and the cases about them are left
    /// out.
    fn datagrams(&self) -> Option<&dyn Datagrams> {
        None
    }
}

/// Accepts connections.
pub trait Listener: Send + Sync {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The next connection. Any number of tasks may wait.
    fn accept(&self) -> Boxed<'_, Box<dyn Stream>>;
}

/// A connection.
pub trait Stream: Send {
    /// Reads something; 0 is the end.
    fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize>;

    /// As `read`, but does not take the bytes.
    fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Boxed<'a, usize>;

    /// Writes something.
    fn write<'a>(&'a mut self, buf: &'a [u8]) -> Boxed<'a, usize>;

    /// Ends writing: the peer reads an end once it has read what came before.
    fn end(&mut self) -> Boxed<'_, ()>;

    /// Resets it: the peer reads an error.
    fn reset(self: Box<Self>);

    /// As the standard library's.
    ///
    /// # Errors
    ///
    /// If that is impossible.
    fn into_std(self: Box<Self>) -> io::Result<std::net::TcpStream>;
}

/// Datagram sockets on a runtime.
pub trait Datagrams: Send + Sync {
    /// A socket on a free port of the loopback.
    fn bind(&self) -> Boxed<'static, Box<dyn DatagramSocket>>;
}

/// A socket that sends and receives datagrams.
pub trait DatagramSocket: Send + Sync {
    /// Its address.
    fn address(&self) -> SocketAddr;

    /// Sends a datagram.
    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Boxed<'a, usize>;

    /// Receives a datagram: its length in `buf`, and its sender.
    fn recv_from<'a>(&'a self, buf: &'a mut [u8]) -> Boxed<'a, (usize, SocketAddr)>;
}

/// Child processes and signals on a runtime.
pub trait Processes: Send + Sync {
    /// Starts a shell with this script, which reads and writes nothing. Dropped, it is killed if
    /// `kill_on_drop`, and goes on otherwise.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    fn start(&self, script: &str, kill_on_drop: bool) -> io::Result<Box<dyn Child>>;

    /// Receives each `SIGUSR1` from now on.
    ///
    /// # Errors
    ///
    /// If signals cannot be received.
    fn signals(&self) -> io::Result<Box<dyn Signals>>;
}

/// A child process.
pub trait Child: Send {
    /// Its number in the system.
    fn id(&self) -> u32;

    /// Waits for its end.
    fn wait(&mut self) -> Boxed<'_, ExitStatus>;
}

/// Receives a signal.
pub trait Signals: Send {
    /// Waits for the next signal.
    fn recv(&mut self) -> Boxed<'_, ()>;
}
