//! Machines of a small network: [`Host`].

use std::{
    ffi::OsStr,
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::ServerError;

/// A machine for tests: a network namespace of Linux with one cable to this machine, which can be
/// cut.
///
/// Its processes have addresses, ports and a loopback of their own. They reach [`here`](Self::here)
/// and nothing else, and they are reached at [`address`](Self::address). They share everything but
/// the network with this machine.
///
/// Dropping it removes it. End its processes first. It stays if this process is killed.
#[derive(Debug)]
pub struct Host {
    /// Of the namespace, and of the cable's near end.
    name: String,
    here: Ipv4Addr,
    there: Ipv4Addr,
}

impl Host {
    /// Whether this process may make one: `ip` of iproute2 makes it, with the rights of root. If not,
    /// it prints a line on standard error that says why.
    #[must_use]
    pub fn is_possible_or_not_run() -> bool {
        let host = Self::new();
        if let Err(error) = &host {
            eprintln!("NOT RUN: machines of their own, by network namespaces: {error}");
        }
        host.is_ok()
    }

    /// So many machines; `None`, with a line on standard error, if this process may not make one.
    ///
    /// # Panics
    ///
    /// If it may make one, and not so many.
    #[must_use]
    pub fn several<const N: usize>() -> Option<[Self; N]> {
        if !Self::is_possible_or_not_run() {
            return None;
        }
        Some([(); N].map(|()| Self::new().expect("one more machine")))
    }

    /// # Errors
    ///
    /// If this process may not make one, or cannot reach it.
    fn new() -> Result<Self, ServerError> {
        // Another process may have come to the same address.
        let another = || Self::make().or_else(|_taken| Self::make());
        Self::make().or_else(|_taken| another())
    }

    fn make() -> Result<Self, ServerError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        // At most 15 bytes.
        let name = format!("fw{:x}h{number:x}", process::id());
        let far = format!("{name}f");
        // Each cable is a network of four addresses in 198.18.0.0/15, which is set aside for
        // such tests (RFC 2544). Two processes may come to the same one: then the look at the end
        // fails.
        let net = 0xC612_0000 | (((process::id().wrapping_mul(97) + number) & 0x7FFF) << 2);
        let this = Self {
            here: Ipv4Addr::from_bits(net + 1),
            there: Ipv4Addr::from_bits(net + 2),
            name: name.clone(),
        };
        // From here on dropping it removes what there is.
        ip(["netns", "add", &name])?;
        ip([
            "link", "add", &name, "type", "veth", "peer", "name", &far, "netns", &name,
        ])?;
        ip(["address", "add", &format!("{}/30", this.here), "dev", &name])?;
        ip(["link", "set", &name, "up"])?;
        let address = format!("{}/30", this.there);
        ip(["-n", &name, "address", "add", &address, "dev", &far])?;
        ip(["-n", &name, "link", "set", &far, "up"])?;
        ip(["-n", &name, "link", "set", "lo", "up"])?;
        this.look()?;
        Ok(this)
    }

    /// Whether this machine is reached from there.
    fn look(&self) -> Result<(), ServerError> {
        let listener = TcpListener::bind((self.here, 0))?;
        let port = listener.local_addr()?.port();
        let connect = format!("exec 3<>/dev/tcp/{}/{port}", self.here);
        let mut shell = self.command("timeout");
        let output = shell.args(["10", "bash", "-c", &connect]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(ServerError::failed("a new one does not reach this machine"))
    }

    /// This machine's address, as it is seen from there.
    #[must_use]
    pub fn here(&self) -> IpAddr {
        self.here.into()
    }

    /// Its address, as it is seen from here.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.there.into()
    }

    /// A command to run a program there. The child is the program itself, so that killing it is
    /// killing the program.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command.arg(program.as_ref());
        command
    }

    /// Cuts the cable: what is sent is lost from now on, in both directions. Connections stay, and
    /// nobody is told.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn cut(&self) -> Result<(), ServerError> {
        ip(["link", "set", &self.name, "down"])
    }

    /// Mends the cable.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn mend(&self) -> Result<(), ServerError> {
        ip(["link", "set", &self.name, "up"])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The cable goes with one of its ends at once; with the namespace it would go later, when
        // the system has time.
        let _ = ip(["link", "del", &self.name]);
        let _ = ip(["netns", "del", &self.name]);
    }
}

fn ip<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<(), ServerError> {
    let output = Command::new("ip")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ServerError::failed("there is no program `ip`"),
            _ => error.into(),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(ServerError::failed(said.trim()))
}
