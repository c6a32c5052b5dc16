//! Takes the exit statuses of children without a waiter: [`adopt`].

use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use fourway_adapt::fork::PerProcess;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::exit::Exit;

/// Takes its exit status when it has ended, so that it leaves no zombie. Does not block.
///
/// One thread waits for all of them; it exists as long as there are any.
pub(super) fn adopt(mut child: Child) {
    // An error means that another caller has waited for it.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    static REAPER: PerProcess<Mutex<Reaper>> = PerProcess::new();
    let reaper = REAPER.get_or_init(Mutex::default);
    let mut state = lock(reaper);
    state.arrived.push(child);
    if state.has_thread {
        if let Some(bell) = &mut state.bell {
            // Full, it rings anyway.
            let _ = bell.write(&[0]);
        }
        return;
    }
    // Without descriptors the thread has no ear, and looks now and then.
    let (ear, bell) = pair().ok().unzip();
    let thread = thread::Builder::new()
        .name("fourway-reaper".to_owned())
        .spawn(move || reap(reaper, ear.as_ref()));
    // Otherwise the next adopted child starts a thread for this one, too.
    if thread.is_ok() {
        state.has_thread = true;
        state.bell = bell;
    }
}

#[derive(Default)]
struct Reaper {
    arrived: Vec<Child>,
    has_thread: bool,
    /// Tells the thread that there are more. Empty: the thread finds out by itself.
    bell: Option<UnixStream>,
}

fn lock(reaper: &Mutex<Reaper>) -> MutexGuard<'_, Reaper> {
    // No code that panics runs under this lock.
    reaper.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (ear, bell) = UnixStream::pair()?;
    ear.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    Ok((ear, bell))
}

/// The life of the thread.
fn reap(reaper: &Mutex<Reaper>, ear: Option<&UnixStream>) {
    let mut children: Vec<(Child, Option<Exit>)> = Vec::new();
    loop {
        {
            let mut state = lock(reaper);
            let arrived = std::mem::take(&mut state.arrived);
            children.extend(arrived.into_iter().map(|child| {
                let exit = Exit::of(&child).ok();
                (child, exit)
            }));
        }
        children.retain_mut(|(child, exit)| {
            if let Some(exit) = exit {
                let _ = exit.drain();
            }
            matches!(child.try_wait(), Ok(None))
        });
        if children.is_empty() {
            let mut state = lock(reaper);
            if state.arrived.is_empty() {
                // Under the lock: the next caller starts another thread.
                state.has_thread = false;
                state.bell = None;
                return;
            }
            continue;
        }
        let exits = children.iter().filter_map(|(_, exit)| exit.as_ref());
        let mut watched: Vec<_> = exits
            .map(|exit| PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN))
            .collect();
        // A child without a descriptor must be polled now and then, and so must new ones if they
        // cannot ring.
        let blind = watched.len() < children.len() || ear.is_none();
        let pause = blind.then_some(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        });
        watched.extend(ear.map(|ear| PollFd::new(ear, PollFlags::IN)));
        match poll(&mut watched, pause.as_ref()) {
            // Interrupted: a look at the children does no harm.
            Ok(_) | Err(Errno::INTR) => {}
            // No memory, or more children than the process may have descriptors. Either may pass,
            // but no event tells when; trying again at once would use a whole processor. Ended
            // children wait at most this long, and this thread has no other work.
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
        if let Some(mut ear) = ear {
            while matches!(ear.read(&mut [0; 64]), Ok(1..)) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use fourway_testing::eventually;
    use rustix::process::{Pid, test_kill_process};

    use super::*;

    /// The thread began when there was no descriptor for an ear, and has one for each child by now.
    #[test]
    fn without_an_ear_it_looks_for_new_children() {
        // Ends with its input, also if this test fails.
        let mut waits = Command::new("cat");
        waits.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut waits = waits.spawn().unwrap();
        let input = waits.stdin.take();
        let reaper = Mutex::new(Reaper {
            arrived: vec![waits],
            has_thread: true,
            bell: None,
        });
        let has_taken_all = || lock(&reaper).arrived.is_empty();
        thread::scope(|scope| {
            // Moved here, so that it is dropped before the thread is joined.
            let input = input;
            scope.spawn(|| reap(&reaper, None));
            eventually("the first child is taken", has_taken_all);
            let ended = Command::new("true").spawn().unwrap();
            let pid = Pid::from_child(&ended);
            lock(&reaper).arrived.push(ended);
            eventually("the second child is taken", has_taken_all);
            // A zombie would still be there.
            eventually("its status is taken", || test_kill_process(pid).is_err());
            drop(input);
        });
        assert!(!lock(&reaper).has_thread);
    }
}
