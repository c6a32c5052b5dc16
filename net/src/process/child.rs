//! A child that was started: [`Child`].

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    process::{ExitStatus, Output},
    task::{Context, Poll, ready},
};

use fourway_adapt::fork::ForgetInChild;
use futures_io::AsyncRead;

use super::{ChildStderr, ChildStdin, ChildStdout, exit::Exit, reaper};
use crate::{
    Reactor,
    error::Refused,
    io::{Direction, Io},
};

/// A child process. Made by [`Command::spawn`](super::Command::spawn).
///
/// Dropped, it goes on, or is killed if
/// [`kill_on_drop`](super::Command::kill_on_drop) was asked for; see the [module](super).
#[derive(Debug)]
pub struct Child {
    /// Its input, if that was [`piped`](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// Its output, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// Its error output, if that was piped.
    pub stderr: Option<ChildStderr>,
    /// In a forked child it is neither killed nor waited for: it belongs to the parent.
    running: ForgetInChild<Running>,
}

#[derive(Debug)]
struct Running {
    /// Empty only in the destructor.
    child: Option<std::process::Child>,
    exit: Io<Exit>,
    kill_on_drop: bool,
}

impl Child {
    pub(super) fn adopt(
        reactor: &Reactor,
        child: std::process::Child,
        kill_on_drop: bool,
    ) -> io::Result<Self> {
        // Errors from here on drop it.
        let mut child = Unregistered(Some(child));
        let exit = reactor.register(Exit::of(child.get())?)?;
        let [stdin, stdout, stderr] = {
            let child = child.get();
            let stdin = child.stdin.take().map(Into::into);
            let stdout = child.stdout.take().map(Into::into);
            [stdin, stdout, child.stderr.take().map(Into::into)]
        };
        Ok(Self {
            stdin: stdin.map(|it| ChildStdin::new(reactor, it)).transpose()?,
            stdout: stdout.map(|it| ChildStdout::new(reactor, it)).transpose()?,
            stderr: stderr.map(|it| ChildStderr::new(reactor, it)).transpose()?,
            running: ForgetInChild::new(Running {
                child: child.0.take(),
                exit,
                kill_on_drop,
            }),
        })
    }

    /// Its process id. Once its end was seen here, the id may belong to another process.
    #[must_use]
    pub fn id(&self) -> u32 {
        let child = self.running.child.as_ref();
        child.map_or(0, std::process::Child::id)
    }

    /// Waits for its end. Closes its [`stdin`](Self::stdin) first, so that the two do not wait for
    /// each other. A further call gives the same status.
    ///
    /// # Errors
    ///
    /// * The runtime is shut down, and the child has not ended:
    ///   [`is_shutdown`](crate::is_shutdown). The child goes on.
    /// * The child is that of a parent process: [`is_forked`](crate::is_forked).
    /// * The system's error: `ECHILD` if another caller has waited for it, or if the process ignores
    ///   `SIGCHLD`, so that the system has taken its status.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: the next call gives the status.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        // A child that has ended needs no wait and no reactor.
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        let Running { child, exit, .. } = &mut *self.running;
        let child = child.as_mut().ok_or(io::ErrorKind::NotFound)?;
        poll_fn(|cx| {
            exit.poll(cx, Direction::Read, |exit| {
                exit.drain()?;
                child.try_wait()?.ok_or(io::ErrorKind::WouldBlock.into())
            })
        })
        .await
    }

    /// Its status, if it has ended. Does not close its [`stdin`](Self::stdin).
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); but it needs no runtime.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.own()?.try_wait()
    }

    /// Waits for its end, and gives its output on [`stdout`](Self::stdout) and
    /// [`stderr`](Self::stderr), as far as they are piped.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and those of reading.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the child; what was read is lost.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let mut stdout = Collected::of(self.stdout.take());
        let mut stderr = Collected::of(self.stderr.take());
        // Both at a time: the child may fill one pipe while the other is being read.
        poll_fn(|cx| {
            let (out, err) = (stdout.poll(cx)?, stderr.poll(cx)?);
            ready!(out);
            ready!(err);
            Poll::Ready(io::Result::Ok(()))
        })
        .await?;
        Ok(Output {
            status: self.wait().await?,
            stdout: stdout.bytes,
            stderr: stderr.bytes,
        })
    }

    /// Kills it (`SIGKILL`). Does not wait: [`wait`](Self::wait) then gives that it was killed, or
    /// its status if it had ended before. Has no effect if its end was seen.
    ///
    /// # Errors
    ///
    /// The child is that of a parent process: [`is_forked`](crate::is_forked); and the system's
    /// error, possible if the child has another user's rights.
    pub fn kill(&mut self) -> io::Result<()> {
        self.own()?.kill()
    }

    /// The child, if it belongs to this process.
    fn own(&mut self) -> io::Result<&mut std::process::Child> {
        if ForgetInChild::is_inherited(&self.running) {
            return Err(Refused::Forked.error());
        }
        let child = self.running.child.as_mut();
        child.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if self.kill_on_drop {
            // It may have another user's rights; then it goes on.
            let _ = child.kill();
        }
        reaper::adopt(child);
    }
}

/// A child that is not registered: its end would go unnoticed.
struct Unregistered(Option<std::process::Child>);

impl Unregistered {
    fn get(&mut self) -> &mut std::process::Child {
        self.0.as_mut().expect("it is taken out at the end")
    }
}

impl Drop for Unregistered {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            reaper::adopt(child);
        }
    }
}

/// All that can be read from a pipe.
struct Collected<P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
    /// How many bytes were read; the rest is free space.
    read: usize,
}

impl<P: AsyncRead + Unpin> Collected<P> {
    fn of(pipe: Option<P>) -> Self {
        Self {
            pipe,
            bytes: Vec::new(),
            read: 0,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// The smallest size of a pipe on any system.
        const ROOM: usize = 4096;
        while let Some(pipe) = &mut self.pipe {
            if self.bytes.len() - self.read < ROOM {
                self.bytes.resize(ROOM.max(2 * self.bytes.len()), 0);
            }
            let read = ready!(Pin::new(pipe).poll_read(cx, &mut self.bytes[self.read..]))?;
            self.read += read;
            if read == 0 {
                self.bytes.truncate(self.read);
                self.pipe = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}
