//! Forking, for the cases about forks: [`in_child`].

#![allow(unsafe_code, reason = "there is no safe wrapper for `fork`")]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use fourway_suite::panic_message;

use crate::util::must;

/// Forks, and runs `check` in the child. Fails if it panics there, hangs, or ends the child.
#[track_caller]
pub(crate) fn in_child(check: impl FnOnce()) {
    let mut check = Some(check);
    for _ in 0..20 {
        let end = forked(|| {
            if !threads_can_be_started() {
                return NO_THREADS;
            }
            // Once in each child.
            check.take().expect("not called yet in this process")();
            0
        });
        match end {
            Ok(0) => return,
            Ok(_) => {}
            Err(why) => panic!("in a forked child: {why}"),
        }
    }
    panic!("in none of many children could a thread be started");
}

const NO_THREADS: i32 = 2;

/// The standard library takes a lock when a thread starts or ends. If one did at the moment of the
/// fork, the child cannot start a thread.
fn threads_can_be_started() -> bool {
    let (started, has_started) = mpsc::channel();
    thread::spawn(move || started.send(()));
    has_started.recv_timeout(Duration::from_secs(5)).is_ok()
}

/// Forks, and gives the exit code of the child, or how it failed.
fn forked(check: impl FnOnce() -> i32) -> Result<i32, String> {
    let (mut told, tell) = UnixStream::pair().expect("two sockets");
    // SAFETY: the child runs more code than POSIX allows after a fork of a process with threads.
    // glibc, musl and macOS keep their own locks, such as the allocator's, consistent. The child
    // ends in this function.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process could be forked");
    if child == 0 {
        let code = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(code) => code,
            Err(payload) => {
                let _ = (&tell).write_all(panic_message(&*payload).as_bytes());
                1
            }
        };
        // SAFETY: ends the process; no destructor or exit handler of the parent runs.
        unsafe { libc::_exit(code) }
    }
    // So that reading ends with the child.
    drop(tell);
    match ended(child) {
        Some(code) if code == 0 || code == NO_THREADS => Ok(code),
        Some(1) => {
            let mut why = String::new();
            let _ = told.read_to_string(&mut why);
            Err(why)
        }
        Some(code) => Err(format!("it ended with {code}")),
        None => Err("it hung, or was killed".to_owned()),
    }
}

/// The exit code of the child, if it ends in time.
fn ended(child: libc::pid_t) -> Option<i32> {
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is ours to write to, and the child ours to wait for.
        let waited = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if waited == child {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if start.elapsed() > must() {
            // SAFETY: our child, which has not been waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return None;
        }
        // `waitpid` has no time limit of its own.
        thread::sleep(Duration::from_millis(1));
    }
}
