//! A private NATS server, or three: [`Nats`], [`NatsCluster`].

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use crate::{
    ServerError, SmallDisk,
    keeper::{Keeper, User, free_port},
    nats_server,
    small_disk::small_disk_of,
};

/// A NATS server with JetStream.
///
/// Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Nats {
    keeper: Keeper,
    // After the keeper, which ends the server.
    disk: Option<SmallDisk>,
    port: u16,
}

impl Nats {
    /// Starts a server, and waits until it answers.
    ///
    /// # Errors
    ///
    /// If the program is not [installed](ServerError::is_not_installed), or does not work.
    pub fn start() -> Result<Self, ServerError> {
        let (folder, user) = User::with_folder()?;
        Self::start_in("one", &[], folder, &user, None)
    }

    /// Starts a server whose data are on a separate disk of this size, which [`fill`](Self::fill)
    /// fills. `None` if this process may not mount one.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_on_small_disk(megabytes: u32) -> Result<Option<Self>, ServerError> {
        nats_server()?;
        let (folder, user) = User::with_folder()?;
        let Some(disk) = SmallDisk::mount(&folder.join("disk"), megabytes) else {
            fs::remove_dir_all(folder)?;
            return Ok(None);
        };
        user.owns(disk.path())?;
        Self::start_in("one", &[], folder, &user, Some(disk)).map(Some)
    }

    fn start_in(
        name: &str,
        more: &[String],
        folder: PathBuf,
        user: &User,
        disk: Option<SmallDisk>,
    ) -> Result<Self, ServerError> {
        let program = nats_server()?;
        let port = free_port()?;
        let data = disk.as_ref().map_or(&*folder, SmallDisk::path).join("data");
        let mut server = Command::new(program);
        server.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        server.args(["--name", name, "-js", "-sd"]);
        server.arg(data).args(more);
        // On a full disk version 2.9.10 ignores SIGTERM, and its keeper would wait for ever.
        let stop = if disk.is_some() { "KILL" } else { "TERM" };
        let keeper = Keeper::new(folder, user, stop, &mut server)?;
        let mut this = Self { keeper, disk, port };
        this.start_again()?;
        Ok(this)
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it gracefully.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.keeper.order("TERM").map(drop)
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.keeper.order("KILL").map(drop)
    }

    /// Stops it by SIGSTOP: connections stay open without answers.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn pause(&mut self) -> Result<(), ServerError> {
        self.keeper.order("STOP").map(drop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn resume(&mut self) -> Result<(), ServerError> {
        self.keeper.order("CONT").map(drop)
    }

    /// Starts it again, with the data and the port that it had.
    ///
    /// # Errors
    ///
    /// If it does not answer within a minute.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        let port = self.port;
        self.keeper.start(|| greets(port).unwrap_or(false))
    }

    /// Hands it over, as [`Postgres::hand_over`](crate::Postgres::hand_over) does.
    #[must_use = "dropping it ends the server"]
    pub fn hand_over(self) -> OwnedFd {
        self.keeper.hand_over()
    }

    /// Leaves no room on its small disk.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn fill(&self) -> Result<(), ServerError> {
        small_disk_of(&self.disk)?.fill()
    }

    /// Frees the disk again and restarts the server after a SIGKILL: version 2.9.10 hangs when its
    /// disk is full, ignores SIGTERM, and does not go on by itself.
    ///
    /// # Errors
    ///
    /// If there is no small disk, or the server does not answer within a minute.
    pub fn free(&mut self) -> Result<(), ServerError> {
        small_disk_of(&self.disk)?.free()?;
        self.kill()?;
        self.start_again()
    }
}

/// Three NATS servers that are one cluster, for streams with three replicas.
///
/// They answer, but agree on a leader for JetStream only a moment later. A caller that makes a
/// stream with replicas must try again until then.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers, of which some may be killed.
    pub servers: Vec<Nats>,
}

impl NatsCluster {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub fn start() -> Result<Self, ServerError> {
        let routes = [free_port()?, free_port()?, free_port()?]
            .map(|port| format!("nats://127.0.0.1:{port}"));
        let servers = ["one", "two", "three"].iter().zip(&routes);
        let servers = servers.map(|(name, route)| {
            let more = [
                "--cluster_name".to_owned(),
                "fourway".to_owned(),
                "--cluster".to_owned(),
                route.clone(),
                "--routes".to_owned(),
                routes.join(","),
                // Clients know all servers already, perhaps by other addresses.
                "--no_advertise".to_owned(),
            ];
            let (folder, user) = User::with_folder()?;
            Nats::start_in(name, &more, folder, &user, None)
        });
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
        })
    }

    /// The addresses of all of them, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(Nats::url).collect();
        urls.join(",")
    }
}

/// The server sends its greeting at once to a new connection.
fn greets(port: u16) -> std::io::Result<bool> {
    let patience = Duration::from_secs(1);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.starts_with("INFO "))
}
