//! A private PostgreSQL: [`Postgres`].

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    ServerError, SmallDisk,
    keeper::{Keeper, User, free_port},
    postgres_programs,
    small_disk::small_disk_of,
};

/// A PostgreSQL server with an empty database, configured as Debian's packages do except for the
/// address. Any process that can reach the loopback may use it.
///
/// Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    keeper: Keeper,
    // After the keeper, which ends the server.
    disk: Option<SmallDisk>,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts a server, and waits until it answers.
    ///
    /// # Errors
    ///
    /// If the programs are not [installed](ServerError::is_not_installed), or do not work.
    pub fn start() -> Result<Self, ServerError> {
        let programs = postgres_programs()?;
        let (folder, user) = User::with_folder()?;
        Self::start_in(programs, folder, user, None)
    }

    /// Starts a server whose data are on a separate disk of this size, which [`fill`](Self::fill)
    /// fills. `None` if this process may not mount one.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_on_small_disk(megabytes: u32) -> Result<Option<Self>, ServerError> {
        let programs = postgres_programs()?;
        let (folder, user) = User::with_folder()?;
        let Some(disk) = SmallDisk::mount(&folder.join("disk"), megabytes) else {
            fs::remove_dir_all(folder)?;
            return Ok(None);
        };
        user.owns(disk.path())?;
        Self::start_in(programs, folder, user, Some(disk)).map(Some)
    }

    fn start_in(
        programs: PathBuf,
        folder: PathBuf,
        user: User,
        disk: Option<SmallDisk>,
    ) -> Result<Self, ServerError> {
        let port = free_port()?;
        let data = disk.as_ref().map_or(&*folder, SmallDisk::path).join("data");
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        // No socket files: their folder belongs to the machine's own server.
        server.args(["-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories="]);
        // First, as it removes the folder even if a later step fails.
        let keeper = Keeper::new(folder, &user, "INT", &mut server)?;

        let mut init = Command::new(programs.join("initdb"));
        init.arg("-D").arg(&data).args(["-U", "postgres"]);
        init.args(["--auth=trust", "--encoding=UTF8", "--locale=C"]);
        // The new files need not survive a loss of power.
        init.arg("--no-sync").current_dir(keeper.folder());
        user.applied_to(&mut init);
        let output = init.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(ServerError::failed(format!("initdb failed: {said}")));
        }
        let mut this = Self {
            keeper,
            disk,
            programs,
            port,
        };
        this.start_again()?;
        Ok(this)
    }

    /// Its address, with the database `postgres` and a superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its data are, with its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.keeper.folder()
    }

    /// Where its programs are, such as `pgbench`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Ends it gracefully, but does not wait for its clients: their connections end.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.keeper.order("INT").map(drop)
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    ///
    /// If its keeper has died.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.keeper.order("KILL").map(drop)
    }

    /// Stops it by SIGSTOP to each of its processes: connections stay open without
    /// answers.
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
        let ready = self.ready();
        self.keeper.start(ready)
    }

    /// Hands it over: it ends and removes its data when the last copy of this is closed, in any
    /// process. A child gets it as its standard input, which it must not read.
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

    /// Frees the disk again, and starts the server if it has given up meanwhile.
    ///
    /// # Errors
    ///
    /// If there is no small disk, or the server does not answer within a minute.
    pub fn free(&mut self) -> Result<(), ServerError> {
        small_disk_of(&self.disk)?.free()?;
        let ready = self.ready();
        self.keeper.keep_running(ready)
    }

    fn ready(&self) -> impl FnMut() -> bool + use<> {
        let (programs, port) = (self.programs.clone(), self.port);
        move || {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            ask.status().is_ok_and(|status| status.success())
        }
    }
}
