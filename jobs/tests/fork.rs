//! Ids of managers that are made in forked children.

#![cfg(unix)]

use fourway_jobs::JobManager;
use fourway_testing::{any, told_by_a_child};

/// The first bytes of an id are its time; the rest is its manager and a number.
const TIME: usize = 6;

#[test]
fn managers_of_siblings_make_ids_of_their_own() {
    // So that the children have copies of a generator that has a seed.
    first_id();
    let made = [
        told_by_a_child(first_id),
        told_by_a_child(first_id),
        first_id(),
    ];
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
