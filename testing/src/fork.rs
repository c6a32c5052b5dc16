//! Forked children: [`forked`] and [`told_by_a_child`].

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    process::abort,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use crate::AGES;

/// Forks, and waits for the child's end. The child consumes its copy of the value, and the parent goes
/// on with its own. Threads can be started in the child.
///
/// # Panics
///
/// If the child panics or is killed. If it takes longer than [`AGES`], the process ends.
pub fn forked<T>(value: T, child: impl FnOnce(T)) -> T {
    let mut parts = Some((value, child));
    for _ in 0..30 {
        let status = ended(|| {
            if !threads_can_be_started() {
                return NO_THREADS;
            }
            // Once in each child.
            let (value, child) = parts.take().expect("not taken yet in this process");
            let ended = catch_unwind(AssertUnwindSafe(|| child(value)));
            i32::from(ended.is_err())
        });
        if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != NO_THREADS {
            assert_eq!(status, 0, "in a forked child");
            return parts.expect("it is the child that takes them").0;
        }
    }
    panic!("in none of many children could a thread be started");
}

/// The code with which a child ends that can start no thread.
const NO_THREADS: i32 = 2;

/// The standard library takes a lock when a thread starts or ends. If one of another test did at the
/// moment of the fork, the child cannot start a thread.
fn threads_can_be_started() -> bool {
    let (started, has_started) = channel();
    thread::spawn(move || started.send(()));
    has_started.recv_timeout(Duration::from_secs(5)).is_ok()
}

/// Forks, and gives the status with which the child ends: normally the code that `child` gives.
fn ended(child: impl FnOnce() -> i32) -> libc::c_int {
    // SAFETY: the child runs more code than POSIX allows after a fork of a process with threads;
    // glibc, musl and macOS keep their own locks consistent. The child ends here.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "cannot fork");
    if id == 0 {
        let code = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: ends the process, without the parent's destructors.
        unsafe { libc::_exit(code.unwrap_or(1)) }
    }
    let (waiting, watcher) = channel::<()>();
    thread::spawn(move || {
        // A child that hangs.
        if watcher.recv_timeout(AGES) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the child takes for ever");
            abort();
        }
    });
    let mut status = 0;
    // SAFETY: waits for a child of ours, and writes into a number of ours.
    let ended = unsafe { libc::waitpid(id, &raw mut status, 0) };
    drop(waiting);
    assert_eq!(ended, id, "waiting for a forked child");
    status
}

/// What a forked child finds out, in so many bytes.
pub fn told_by_a_child<const N: usize>(find_out: impl FnOnce() -> [u8; N]) -> [u8; N] {
    let (mut read, write) = UnixStream::pair().expect("two sockets");
    // What a socket has room for at once: nobody reads before the child has ended.
    let write = forked(write, |mut write| {
        write.write_all(&find_out()).expect("the parent is there");
    });
    drop(write);
    let mut told = [0; N];
    read.read_exact(&mut told).expect("the child has told");
    told
}
