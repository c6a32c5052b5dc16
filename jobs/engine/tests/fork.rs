//! Ids that are made in forked children.

#![cfg(unix)]
#![allow(unsafe_code, reason = "there is no safe wrapper for `fork`")]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, SystemTime},
};

use fourway_jobs_engine::next_id;

/// The first bytes of an id are its time; the rest is by chance.
const TIME: usize = 6;

#[test]
fn siblings_make_ids_of_their_own() {
    let before = next_id();
    // An id of a later millisecond does not continue the one before.
    while SystemTime::now() < before.submitted_at() + Duration::from_millis(2) {
        thread::sleep(Duration::from_millis(1));
    }
    let made = [id_of_a_child(), id_of_a_child(), next_id().to_bytes()];
    let chance = made.map(|id| id[TIME..].to_owned());
    assert_ne!(chance[0], chance[1], "two children");
    assert_ne!(chance[0], chance[2], "a child and its parent");
    assert_ne!(chance[1], chance[2], "a child and its parent");
}

/// The first id that a forked child makes.
fn id_of_a_child() -> [u8; 16] {
    let (mut read, write) = UnixStream::pair().unwrap();
    // SAFETY: the child runs more code than POSIX allows after a fork of a process with threads;
    // glibc, musl and macOS keep their own locks consistent. The child ends here.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "cannot fork");
    if child == 0 {
        let told = catch_unwind(AssertUnwindSafe(|| {
            (&write).write_all(&next_id().to_bytes()).unwrap();
        }));
        // SAFETY: ends the process, without the parent's destructors.
        unsafe { libc::_exit(i32::from(told.is_err())) }
    }
    drop(write);
    let mut id = [0; 16];
    let told = read.read_exact(&mut id);
    let mut status = 0;
    // SAFETY: waits for a child of ours, and writes into a number of ours.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0), "in a forked child");
    told.unwrap();
    id
}
