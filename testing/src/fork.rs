//! Forked children: [`forked`] and [`told_by_a_child`].

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    process::abort,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
};

use crate::AGES;

/// Forks, and waits for the child's end. The child consumes its copy of the value, and the parent goes
/// on with its own.
///
/// # Panics
///
/// If the child panics or is killed. If it takes longer than [`AGES`], the process ends.
pub fn forked<T>(value: T, child: impl FnOnce(T)) -> T {
    // SAFETY: the child runs more code than POSIX allows after a fork of a process with threads;
    // glibc, musl and macOS keep their own locks consistent. The child ends here.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "cannot fork");
    if id == 0 {
        let ended = catch_unwind(AssertUnwindSafe(|| child(value)));
        // SAFETY: ends the process, without the parent's destructors.
        unsafe { libc::_exit(i32::from(ended.is_err())) }
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
    assert_eq!((ended, status), (id, 0), "in a forked child");
    value
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
