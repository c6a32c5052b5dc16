//! `#[fourway::test]` and `#[fourway::main]`.

use std::{collections::BTreeSet, time::Duration};

use fourway::{AnyRuntime, prelude::*};

/// Says that a body has run, for [`each_test_is_there_once_for_each_runtime_and_runs_once`].
fn ran(name: &str) {
    println!("\nran {name}");
}

#[fourway::test]
async fn an_async_test_runs_in_its_runtime() {
    let rt = fourway::current().expect("inside of one");
    assert_eq!(rt.spawn(async { 1 }).await.unwrap(), 1);
}

#[fourway::test]
async fn it_may_have_the_runtime_and_fail(rt: AnyRuntime) -> Result<(), fourway::JoinError> {
    rt.offload(|| ()).await
}

#[fourway::test]
fn sync_code_is_on_a_plain_thread(rt: AnyRuntime) {
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

/// A test that fails leaves nothing behind that runs beside the next test.
#[test]
fn what_panics_or_takes_too_long_ends_its_runtime() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use fourway::entry::Test;

    fn fails() {
        panic!("on purpose");
    }
    for name in fourway::compiled_in() {
        let mut kept = Vec::new();
        let mut keep = |rt: &AnyRuntime| kept.push(rt.clone());
        let panics = AssertUnwindSafe(|| {
            Test::new(name).run(|rt| {
                keep(&rt);
                async { fails() }
            })
        });
        assert!(catch_unwind(panics).is_err());
        let too_long = AssertUnwindSafe(|| {
            Test::new(name).timeout(Duration::ZERO).run(|rt| {
                keep(&rt);
                std::future::pending::<()>()
            })
        });
        assert!(catch_unwind(too_long).is_err());
        let blocking = AssertUnwindSafe(|| {
            Test::new(name).run_blocking(|rt| {
                keep(&rt);
                fails();
            })
        });
        assert!(catch_unwind(blocking).is_err());
        assert_eq!(kept.len(), 3);
        for rt in kept {
            assert!(rt.is_shutdown(), "{name}");
        }
    }
}

#[fourway::main(workers = 1)]
async fn given_the_runtime(rt: AnyRuntime) -> &'static str {
    rt.offload(|| "with the runtime").await.unwrap()
}

#[test]
fn a_main_may_take_the_runtime() {
    assert_eq!(given_the_runtime(), "with the runtime");
}

/// In a `cfg_attr`, `#[should_panic]` and `#[ignore]` are attributes of the tests as well.
#[fourway::test]
#[cfg_attr(all(), should_panic(expected = "on purpose"), allow(unused))]
async fn a_panic_is_expected_under_a_condition() {
    panic!("on purpose");
}

/// The output is named from where the test stands, which is not where its modules are.
mod below {
    #[derive(Debug)]
    struct Own;

    #[fourway::test]
    async fn the_output_is_of_the_module_above() -> Result<(), super::Above> {
        Ok(())
    }

    #[fourway::test(timeout = super::LONG)]
    async fn the_output_is_of_this_module() -> Result<(), self::Own> {
        Ok(())
    }
}

#[derive(Debug)]
struct Above;

const LONG: Duration = Duration::from_secs(60);

#[fourway::test(except(tokio), workers = 1, timeout = Duration::from_secs(60))]
async fn some_are_left_out(rt: AnyRuntime) {
    assert!(!format!("{rt:?}").contains("Tokio"), "{rt:?}");
}

/// Combinations of attributes, in each order: each with two cases.
mod orders {
    use rstest::rstest;
    use test_case::test_case;

    use super::ran;

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[fourway::test]
    async fn rstest_above(#[case] number: u32) {
        ran(&format!("rstest_above {number}"));
    }

    #[fourway::test]
    #[rstest]
    #[case(1)]
    #[case(2)]
    async fn rstest_below(#[case] number: u32) {
        ran(&format!("rstest_below {number}"));
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[fourway::test]
    #[should_panic(expected = "on purpose")]
    async fn rstest_above_a_panic(#[case] number: u32) {
        ran(&format!("rstest_above_a_panic {number}"));
        panic!("on purpose");
    }

    #[fourway::test]
    #[rstest]
    #[case(1)]
    #[case(2)]
    #[should_panic(expected = "on purpose")]
    async fn rstest_below_ours_above_a_panic(#[case] number: u32) {
        ran(&format!("rstest_below_ours_above_a_panic {number}"));
        panic!("on purpose");
    }

    // To rstest, an attribute before a case belongs to that case alone.
    #[fourway::test]
    #[rstest]
    #[case(1)]
    #[should_panic(expected = "on purpose")]
    #[case(2)]
    async fn rstest_with_a_panic_in_one(#[case] number: u32) {
        ran(&format!("rstest_with_a_panic_in_one {number}"));
        assert_eq!(number, 1, "on purpose");
    }

    #[test_case(1)]
    #[test_case(2)]
    #[fourway::test]
    async fn test_case_above(number: u32) {
        ran(&format!("test_case_above {number}"));
    }

    #[fourway::test]
    #[test_case(1)]
    #[test_case(2)]
    async fn test_case_below(number: u32) {
        ran(&format!("test_case_below {number}"));
    }

    #[test_case(1)]
    #[test_case(2)]
    #[fourway::test]
    #[should_panic(expected = "on purpose")]
    async fn test_case_above_a_panic(number: u32) {
        ran(&format!("test_case_above_a_panic {number}"));
        panic!("on purpose");
    }

    #[fourway::test]
    #[test_case(1)]
    #[test_case(2)]
    #[should_panic(expected = "on purpose")]
    async fn test_case_below_ours_above_a_panic(number: u32) {
        ran(&format!("test_case_below_ours_above_a_panic {number}"));
        panic!("on purpose");
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[fourway::test]
    async fn rstest_with_values_and_a_fixture(
        #[case] number: u32,
        #[values(3)] other: u32,
        four: u32,
    ) {
        assert_eq!((other, four), (3, 4));
        ran(&format!("rstest_with_values_and_a_fixture {number}"));
    }

    #[rstest::fixture]
    fn four() -> u32 {
        4
    }
}

/// Checked by the output of the harness, and by that of the bodies: in a process of its own, which
/// runs the tests above.
#[test]
fn each_test_is_there_once_for_each_runtime_and_runs_once() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["orders::", "--nocapture", "--test-threads=1"])
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = String::from_utf8(output.stdout).unwrap();
    let lines = || output.lines();
    let ran: Vec<_> = lines()
        .filter_map(|line| line.strip_prefix("ran "))
        .collect();
    let tests: BTreeSet<_> = lines()
        .filter_map(|line| line.strip_prefix("test orders::"))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let runtimes = fourway::compiled_in();
    for (name, cases) in [
        ("rstest_above", 2),
        ("rstest_below", 2),
        ("rstest_above_a_panic", 2),
        ("rstest_below_ours_above_a_panic", 2),
        ("rstest_with_a_panic_in_one", 2),
        ("test_case_above", 2),
        ("test_case_below", 2),
        ("test_case_above_a_panic", 2),
        ("test_case_below_ours_above_a_panic", 2),
        ("rstest_with_values_and_a_fixture", 2),
    ] {
        for runtime in runtimes {
            let runtime = runtime.replace('-', "_");
            let (start, end) = (format!("{name}::"), format!("::{runtime}"));
            let found = tests
                .iter()
                .filter(|test| test.starts_with(&start) && test.ends_with(&end));
            assert_eq!(found.count(), cases, "{name} on {runtime}: {tests:?}");
        }
        for case in 1..=cases {
            let said = format!("{name} {case}");
            let times = ran.iter().filter(|ran| **ran == said).count();
            assert_eq!(times, runtimes.len(), "{said}");
        }
    }
    // And there is nothing besides.
    assert_eq!(tests.len(), 20 * runtimes.len());
    assert_eq!(ran.len(), 20 * runtimes.len());
}

/// A `main` is a plain function: here, called by a test.
#[fourway::main(workers = 1, shutdown = "1s", thread_name = "entry")]
async fn a_program() -> Result<u32, std::num::ParseIntError> {
    let rt = fourway::default_runtime();
    // (A closure may run on a thread that stands in for one that is late, and has another name.)
    let name = rt.spawn(async { std::thread::current().name().map(str::to_owned) });
    // How the threads are numbered is the runtime's own.
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

    // The next one is the default in its turn, also for threads of no runtime.
    let sum = fourway::entry::Main::new().run(async {
        let outside = std::thread::spawn(|| fourway::default_runtime().offload(|| 1).wait());
        outside.join().unwrap().unwrap() + 1
    });
    assert_eq!(sum, 2);
    assert!(fourway::default_runtime().is_shutdown());
    let other = fourway::runtime_named(fourway::compiled_in()[0]).unwrap();
    assert!(fourway::set_default_runtime(other).is_err());
}
