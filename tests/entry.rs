//! `#[fourway::test]` and `#[fourway::main]`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fourway::{AnyRuntime, prelude::*};

/// How often each body has run.
static RUNS: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

fn ran(name: &'static str) -> usize {
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    let run = runs.entry(name).or_default();
    *run += 1;
    // Once on each runtime, and never twice.
    assert!(
        *run <= fourway::compiled_in().len(),
        "{name} has run {run} times"
    );
    *run
}

#[fourway::test]
async fn an_async_test_runs_in_its_runtime() {
    ran("an_async_test");
    let rt = fourway::current().expect("inside of one");
    assert_eq!(rt.spawn(async { 1 }).await.unwrap(), 1);
}

#[fourway::test]
async fn it_may_have_the_runtime_and_fail(rt: AnyRuntime) -> Result<(), fourway::JoinError> {
    ran("it_may_have");
    rt.offload(|| ()).await
}

#[fourway::test]
fn sync_code_is_on_a_plain_thread(rt: AnyRuntime) {
    ran("sync_code");
    assert_eq!(rt.block_on(async { 1 }), 1);
}

#[fourway::test]
#[should_panic(expected = "on purpose")]
async fn a_panic_is_expected_below() {
    panic!("on purpose");
}

#[should_panic(expected = "on purpose")]
#[fourway::test(flavour = "current_thread")]
async fn a_panic_is_expected_above() {
    panic!("on purpose");
}

#[fourway::test(timeout = "10ms")]
#[should_panic(expected = "has not come to its end within 10ms")]
async fn what_waits_for_good_fails(rt: AnyRuntime) {
    rt.sleep(Duration::MAX).await;
}

#[fourway::test(except(tokio), workers = 1, timeout = Duration::from_secs(60))]
async fn some_are_left_out(rt: AnyRuntime) {
    assert!(!format!("{rt:?}").contains("Tokio"), "{rt:?}");
}

#[rstest::rstest]
#[case(1)]
#[case(2)]
#[fourway::test]
async fn rstest_above(#[case] number: u32) {
    ran(["", "rstest above 1", "rstest above 2"][number as usize]);
}

#[fourway::test]
#[rstest::rstest]
#[case(1)]
#[case(2)]
async fn rstest_below(#[case] number: u32) {
    ran(["", "rstest below 1", "rstest below 2"][number as usize]);
}

#[rstest::fixture]
fn four() -> u32 {
    4
}

#[rstest::rstest]
#[should_panic(expected = "on purpose")]
#[fourway::test]
async fn rstest_with_a_fixture_and_a_panic(four: u32) {
    assert_eq!(four, 4);
    panic!("on purpose");
}

#[test_case::test_case(1)]
#[test_case::test_case(2)]
#[fourway::test]
async fn test_case_above(number: u32) {
    ran(["", "test-case above 1", "test-case above 2"][number as usize]);
}

#[fourway::test]
#[test_case::test_case(1)]
#[test_case::test_case(2)]
async fn test_case_below(number: u32) {
    ran(["", "test-case below 1", "test-case below 2"][number as usize]);
}

/// A `main` is a plain function: here, called by a test.
#[fourway::main(workers = 1, shutdown = "1s", thread_name = "entry")]
async fn a_program() -> Result<u32, std::num::ParseIntError> {
    let rt = fourway::default_runtime();
    let name = rt.offload(|| std::thread::current().name().map(str::to_owned));
    // How the pool's threads are numbered is the runtime's own.
    let name = name.await.unwrap();
    assert!(
        name.as_ref().is_some_and(|name| name.starts_with("entry-")),
        "{name:?}"
    );
    "7".parse()
}

#[test]
fn main_gives_what_its_body_gives() {
    assert_eq!(a_program(), Ok(7));
    // The runtime is gone, with its threads.
    let default = fourway::default_runtime();
    assert!(default.is_shutdown(), "{default:?}");
}
