//! A descriptor that can be read when a child has ended: [`Exit`].

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::Child,
};

use crate::io::Socket;

/// Readable when a child has ended; may also be readable at other times.
#[derive(Debug)]
pub(super) enum Exit {
    /// The child's own, on Linux since 5.3.
    #[cfg(target_os = "linux")]
    Pidfd(OwnedFd),
    /// Gets a byte for the end of any child.
    Signal(UnixStream, signal_hook::SigId),
    /// Readable from the start.
    #[cfg(target_os = "linux")]
    Ended(UnixStream),
}

impl Exit {
    /// The caller must check the child afterwards, as it may have ended before.
    pub(super) fn of(child: &Child) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Pid, PidfdFlags, pidfd_open};
            match pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
                Ok(fd) => return Ok(Self::Pidfd(fd)),
                // It has ended, and the system has taken its status: the process ignores `SIGCHLD`.
                // Not by `by_signal`, which would end that for the whole process.
                Err(rustix::io::Errno::SRCH) => return Self::ended(),
                // The system has no `pidfd`, or a sandbox forbids it.
                Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let _ = child;
        Self::by_signal()
    }

    #[cfg(target_os = "linux")]
    fn ended() -> io::Result<Self> {
        // Without its peer it has an end to read.
        let (read, _) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        Ok(Self::Ended(read))
    }

    fn by_signal() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let id = signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, write)?;
        Ok(Self::Signal(read, id))
    }

    /// Makes it wait for the next signal. Called before a check of the child.
    pub(super) fn drain(&self) -> io::Result<()> {
        let Self::Signal(stream, _) = self else {
            return Ok(());
        };
        loop {
            match (&mut &*stream).read(&mut [0; 64]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        if let Self::Signal(_, id) = self {
            signal_hook::low_level::unregister(*id);
        }
    }
}

impl Socket for Exit {
    type Provided = dyn crate::provide::Stream;
}

impl AsFd for Exit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pidfd(fd) => fd.as_fd(),
            #[cfg(target_os = "linux")]
            Self::Ended(stream) => stream.as_fd(),
            Self::Signal(stream, _) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Exit {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Direction, Io};
    use fourway_testing::{each, run};
    use std::{future::poll_fn, process::Command};

    /// As where `SIGCHLD` is ignored: the system has taken its status before anybody looked.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_whose_status_was_taken_has_ended() {
        each(|rt| {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            let reactor = crate::Reactor::of(&rt).unwrap();
            let exit: Io<Exit> = reactor.register(Exit::of(&child).unwrap()).unwrap();
            let mut has_waited = false;
            run(
                &rt,
                poll_fn(|cx| {
                    exit.poll(cx, Direction::Read, |exit| {
                        exit.drain()?;
                        let is_first = !std::mem::replace(&mut has_waited, true);
                        (!is_first)
                            .then_some(())
                            .ok_or(io::ErrorKind::WouldBlock.into())
                    })
                }),
            )
            .unwrap();
        });
    }

    /// As on systems without `pidfd`.
    #[test]
    fn a_signal_tells_as_well() {
        each(|rt| {
            let reactor = crate::Reactor::of(&rt).unwrap();
            for script in ["exit 3", "sleep 0.1; exit 3"] {
                let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
                let exit: Io<Exit> = reactor.register(Exit::by_signal().unwrap()).unwrap();
                let ended = run(&rt, async {
                    if let Some(status) = child.try_wait().unwrap() {
                        return status;
                    }
                    poll_fn(|cx| {
                        exit.poll(cx, Direction::Read, |exit| {
                            exit.drain()?;
                            child.try_wait()?.ok_or(io::ErrorKind::WouldBlock.into())
                        })
                    })
                    .await
                    .unwrap()
                });
                assert_eq!(ended.code(), Some(3));
            }
        });
    }
}
