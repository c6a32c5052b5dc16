//! Programs that do not compile on purpose: methods of the async nursery on the sync one and the
//! other way round, and children that would outlive what they borrow. The core's refusals have the
//! harness.

#[path = "../../../core/tests/refusals/harness.rs"]
mod harness;

#[test]
fn each_is_refused_with_words_that_help() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core", "nursery"]);
}
