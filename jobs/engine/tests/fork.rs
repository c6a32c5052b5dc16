//! Ids that are made in forked children.

#![cfg(unix)]

use std::{
    thread,
    time::{Duration, SystemTime},
};

use fourway_jobs_engine::next_id;
use fourway_testing::told_by_a_child;

/// The first bytes of an id are its time; the rest is by chance.
const TIME: usize = 6;

#[test]
fn siblings_make_ids_of_their_own() {
    let before = next_id();
    // An id of a later millisecond does not continue the one before.
    while SystemTime::now() < before.submitted_at() + Duration::from_millis(2) {
        thread::sleep(Duration::from_millis(1));
    }
    let make = || next_id().to_bytes();
    let made = [told_by_a_child(make), told_by_a_child(make), make()];
    let chance = made.map(|id| id[TIME..].to_owned());
    assert_ne!(chance[0], chance[1], "two children");
    assert_ne!(chance[0], chance[2], "a child and its parent");
    assert_ne!(chance[1], chance[2], "a child and its parent");
}
