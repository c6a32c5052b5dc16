//! A connection to a server that can be cut: [`Wire`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::ServerError;

/// A port that forwards to one of the loopback, as long as it is not cut.
///
/// Dropping it cuts it for good.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    over: bool,
    open: Vec<TcpStream>,
}

impl Wire {
    /// Forwards from a port of 127.0.0.1 to that one.
    ///
    /// # Errors
    ///
    /// If there is no port left.
    pub fn to(port: u16) -> Result<Self, ServerError> {
        Self::from(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// Forwards from a port of this address of the machine to that port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If there is no port left, or the machine does not have the address.
    pub fn from(address: IpAddr, port: u16) -> Result<Self, ServerError> {
        let listener = TcpListener::bind((address, 0))?;
        let shared = Arc::new(Shared {
            to: port,
            state: Mutex::default(),
        });
        let this = Self {
            address: listener.local_addr()?,
            shared: shared.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.state().over {
                    return;
                }
                // If the connection cannot be made, the other side is closed, like a refused
                // connection.
                let _ = stream.and_then(|stream| shared.join(stream));
            }
        });
        Ok(this)
    }

    /// Its own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its own address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; those that are made from now on end at once.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.cut = true;
        for stream in state.open.drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.shared.state().cut = false;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, near: TcpStream) -> io::Result<()> {
        if self.state().cut {
            return Ok(());
        }
        let far = TcpStream::connect(("127.0.0.1", self.to))?;
        let mut state = self.state();
        if state.cut {
            return Ok(());
        }
        state.open.extend([near.try_clone()?, far.try_clone()?]);
        drop(state);
        pass_on(near.try_clone()?, far.try_clone()?);
        pass_on(far, near);
        Ok(())
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // However it ends, the other side must see it.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.shared.state().over = true;
        // So that the thread wakes up and checks the flag.
        let _ = TcpStream::connect(self.address);
    }
}
