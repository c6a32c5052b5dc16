//! Connecting to a Unix socket: [`ConnectUnix`].

use std::{
    future::{Future, IntoFuture},
    io,
    os::unix::net,
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use fourway_core::Runtime;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{UnixStream, check_path};
use crate::{Reactor, reactor};

/// A connection to be made. Made by [`Net::connect_unix`](crate::Net::connect_unix), and begun
/// when it is awaited.
#[derive(Debug)]
#[must_use = "nothing is connected before it is awaited"]
pub struct ConnectUnix<R> {
    runtime: R,
    path: PathBuf,
    timeout: Option<Duration>,
}

impl<R: Runtime> ConnectUnix<R> {
    pub(crate) fn new(runtime: R, path: PathBuf) -> Self {
        Self {
            runtime,
            path,
            timeout: None,
        }
    }

    /// At most this long, by the runtime's clock. Then it gives
    /// [`TimedOut`](io::ErrorKind::TimedOut). Default: as long as the listener's queue is full.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    async fn run(self) -> io::Result<UnixStream> {
        match self.timeout {
            None => self.try_often().await,
            Some(time) => match self.runtime.timeout(time, self.try_often()).await {
                Ok(result) => result,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    async fn try_often(&self) -> io::Result<UnixStream> {
        let reactor = Reactor::of_system(&self.runtime)?;
        check_path(&self.path)?;
        let address = SockAddr::unix(&self.path)?;
        let mut pause = Duration::from_millis(1);
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address) {
                Ok(()) => {
                    let stream = net::UnixStream::from(std::os::fd::OwnedFd::from(socket));
                    return UnixStream::with_reactor(&reactor, stream);
                }
                // The listener's queue is full. There is no event to wait for: the socket itself
                // counts as ready, and the system does not report free room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.runtime.sleep(pause).await;
            // The timers may outlive the runtime. Nobody tells this loop, so it asks.
            reactor::check(&self.runtime)?;
            pause = (pause * 2).min(Duration::from_millis(64));
        }
    }
}

impl<R: Runtime> IntoFuture for ConnectUnix<R> {
    type Output = io::Result<UnixStream>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
