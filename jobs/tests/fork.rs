//! Ids of managers that are made in forked children.

#![cfg(unix)]
#![allow(unsafe_code, reason = "there is no safe wrapper for `fork`")]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
};

use fourway_jobs::JobManager;
use fourway_testing::any;

/// The first bytes of an id are its time; the rest is its manager and a number.
const TIME: usize = 6;

#[test]
fn managers_of_siblings_make_ids_of_their_own() {
    // So that the children have copies of a generator that has a seed.
    first_id();
    let made = [id_of_a_child(), id_of_a_child(), first_id()];
    let manager = made.map(|id| id[TIME..].to_owned());
    assert_ne!(manager[0], manager[1], "two children");
    assert_ne!(manager[0], manager[2], "a child and its parent");
    assert_ne!(manager[1], manager[2], "a child and its parent");
}

/// The first id of a new manager.
fn first_id() -> [u8; 16] {
    let jobs = JobManager::builder(&any()).build();
    jobs.submit(|| ()).unwrap().id().to_bytes()
}

/// The first id of a manager in a forked child.
fn id_of_a_child() -> [u8; 16] {
    let (mut read, write) = UnixStream::pair().unwrap();
    // SAFETY: the child runs more code than POSIX allows after a fork of a process with threads;
    // glibc, musl and macOS keep their own locks consistent. The child ends here.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "cannot fork");
    if child == 0 {
        let told = catch_unwind(AssertUnwindSafe(|| {
            (&write).write_all(&first_id()).unwrap();
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
