//! How a child is started: [`Command`].

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::{ExitStatus, Output, Stdio},
};

use fourway_core::Runtime;

use super::Child;
use crate::Reactor;

/// Starts child processes of the standard library, which wait by a runtime's reactor.
///
/// Options without a method here are set on [`as_std_mut`](Self::as_std_mut), or before
/// ([`From`]).
#[derive(Debug)]
pub struct Command {
    std: std::process::Command,
    is_set: IsSet,
    kill_on_drop: bool,
}

/// Which of the three were set here. The standard library does not tell.
#[derive(Debug, Default)]
struct IsSet {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Command {
    /// As [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std::process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.std.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.std.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.std.env(key, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        self.std.envs(variables);
        self
    }

    /// Does not pass on this variable.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.std.env_remove(key);
        self
    }

    /// Passes on only the variables that are set here.
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// The directory in which it starts.
    pub fn current_dir(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.std.current_dir(path);
        self
    }

    /// Its input. By default that of this process, and nothing for
    /// [`output`](Self::output).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.is_set.stdin = true;
        self.std.stdin(stdin);
        self
    }

    /// Its output. By default that of this process, and a pipe for
    /// [`output`](Self::output).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.is_set.stdout = true;
        self.std.stdout(stdout);
        self
    }

    /// Its error output. By default that of this process, and a pipe for
    /// [`output`](Self::output).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.is_set.stderr = true;
        self.std.stderr(stderr);
        self
    }

    /// Is the child killed when its [`Child`] is dropped before it has ended, also by a dropped
    /// future? Default: no, it goes on.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Starts it. It waits by `runtime`'s reactor.
    ///
    /// It keeps the calling thread while the system makes a process: about a millisecond, and more
    /// in a process with much memory. A caller that cannot spare that offloads it.
    ///
    /// Where the system has no `pidfd` (Linux before 5.3, some sandboxes, other systems) it handles
    /// `SIGCHLD`, so that a process that ignored this signal ignores it no longer.
    ///
    /// # Errors
    ///
    /// * As [`Reactor::of`]: nothing was started.
    /// * The system's error: the program was not found, there are no descriptors. If the child was
    ///   started by then, it was killed.
    pub fn spawn<R: Runtime>(&mut self, runtime: &R) -> io::Result<Child> {
        let reactor = Reactor::of_system(runtime)?;
        Child::adopt(&reactor, self.std.spawn()?, self.kill_on_drop)
    }

    /// Starts it, and waits for its end. It closes its ends of the pipes of a stream that is
    /// [`piped`](Stdio::piped), as nobody reads or writes them: the child may end by that, but does
    /// not wait for ever.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    ///
    /// # Cancel safety
    ///
    /// It is started at the first poll. Dropped after that, the future drops the child: see
    /// [`kill_on_drop`](Self::kill_on_drop).
    pub async fn status<R: Runtime>(&mut self, runtime: &R) -> io::Result<ExitStatus> {
        let mut child = self.spawn(runtime)?;
        drop((child.stdout.take(), child.stderr.take()));
        child.wait().await
    }

    /// Starts it, and gives its output when it has ended. The streams that were not set here are
    /// those of this process again when the command is used next.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    ///
    /// # Cancel safety
    ///
    /// As [`status`](Self::status). The output read so far is lost.
    pub async fn output<R: Runtime>(&mut self, runtime: &R) -> io::Result<Output> {
        if !self.is_set.stdin {
            self.std.stdin(Stdio::null());
        }
        if !self.is_set.stdout {
            self.std.stdout(Stdio::piped());
        }
        if !self.is_set.stderr {
            self.std.stderr(Stdio::piped());
        }
        let spawned = self.spawn(runtime);
        // The command may be started again, by a caller who does not read pipes that he did not ask
        // for.
        if !self.is_set.stdin {
            self.std.stdin(Stdio::inherit());
        }
        if !self.is_set.stdout {
            self.std.stdout(Stdio::inherit());
        }
        if !self.is_set.stderr {
            self.std.stderr(Stdio::inherit());
        }
        spawned?.wait_with_output().await
    }

    /// The standard library's command, to read.
    #[must_use]
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// The standard library's command, to set options without a method here: users, process groups.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }
}

/// It is unknown which of its three streams were set. [`output`](Command::output) sets those
/// that were not set here, and afterwards sets them to this process' own.
impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Self {
        Self {
            std,
            is_set: IsSet::default(),
            kill_on_drop: false,
        }
    }
}
