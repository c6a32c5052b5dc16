//! What makes no sense, what is broken, and what comes from outside: each has an answer of its own,
//! and none passes for a good run.

use std::{
    env,
    panic::catch_unwind,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use fourway_core::{Offload, Spawner, Task as _, yield_now};
use fourway_sim::{Check, Failure, FailureKind, Ready, Schedule, Sim, Strategy};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn failure<T>(ran: Result<T, Box<Failure>>) -> Box<Failure> {
    ran.map(drop).expect_err("it is to fail")
}

fn text_of(panics: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = catch_unwind(panics).expect_err("it is to panic");
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .expect("a text")
}

#[test]
fn a_check_without_a_run_does_not_pass() {
    let text = text_of(|| drop(Check::default().seeds(0)));
    assert!(text.contains("at least 1 seed"), "{text}");
    // However little time there is.
    let checked = Check::default()
        .time_limit(Duration::ZERO)
        .run(|rt| rt.spawn(async {}).wait().unwrap());
    assert_eq!(checked.runs, 1);
}

#[test]
fn after_the_last_seed_comes_the_first() {
    let seeds: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = seeds.clone();
    Check::default()
        .strategies([Strategy::Random])
        .first_seed(u64::MAX)
        .seeds(3)
        .run(move |rt| seen.lock().unwrap().push(rt.seed()));
    assert_eq!(*seeds.lock().unwrap(), [u64::MAX, 0, 1]);
}

/// The test of that name, with that variable.
fn again(test: &str, variable: &str, value: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("MISUSE_INNER", "1")
        .env(variable, value)
        .output()
        .unwrap()
}

#[test]
fn a_variable_that_makes_no_sense_is_refused() {
    if env::var_os("MISUSE_INNER").is_some() {
        let checked = Check::default().run(|rt| rt.spawn(async {}).wait().unwrap());
        assert!(checked.runs > 0);
        return;
    }
    let test = "a_variable_that_makes_no_sense_is_refused";
    for (variable, value, said) in [
        ("FOURWAY_SIM_SEEDS", "0", "at least 1 seed"),
        ("FOURWAY_SIM_SEEDS", "many", "is not a number"),
        ("FOURWAY_SIM_SEEDS", "-1", "is not a number"),
        ("FOURWAY_SIM_SECONDS", "", "is not a number"),
        ("FOURWAY_SIM_TWICE", "yes", "is not a number"),
        ("FOURWAY_SIM", "", "is not SEED:STRATEGY"),
        ("FOURWAY_SIM", "1:depth", "is not SEED:STRATEGY"),
        (
            "FOURWAY_SIM",
            "1:pct-9999999999999-3",
            "is not SEED:STRATEGY",
        ),
        (
            "FOURWAY_SIM",
            "1:replay-~99999999.~99999999",
            "is not SEED:STRATEGY",
        ),
    ] {
        let output = again(test, variable, value);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{variable}={value}");
        assert!(told.contains(said), "{variable}={value}: {told}");
    }
    // These do make sense.
    for (variable, value) in [
        ("FOURWAY_SIM_SECONDS", "0"),
        ("FOURWAY_SIM_SEEDS", " 7 "),
        ("FOURWAY_SIM_DIR", ""),
        ("FOURWAY_SIM", "18446744073709551615:pct-3-0"),
    ] {
        let output = again(test, variable, value);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variable}={value}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn a_replay_that_is_no_text_is_not_passed_over() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let output = Command::new(env::current_exe().unwrap())
        .args(["a_variable_that_makes_no_sense_is_refused", "--exact"])
        .env("MISUSE_INNER", "1")
        .env("FOURWAY_SIM", OsStr::from_bytes(b"1:random\xff"))
        .output()
        .unwrap();
    assert!(!output.status.success());
}

/// Three tasks that give way, one after the other.
fn three(rt: &Sim) -> Vec<u32> {
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let tasks: Vec<_> = (0..3)
        .map(|number| {
            let order = order.clone();
            rt.spawn(async move {
                yield_now().await;
                order.lock().unwrap().push(number);
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    Arc::into_inner(order)
        .expect("all tasks are gone")
        .into_inner()
        .unwrap()
}

struct Panics;

impl Schedule for Panics {
    fn choose(&mut self, _: &Ready<'_>) -> usize {
        panic!("no idea")
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("nor how to end");
        }
    }
}

#[test]
fn a_schedule_that_panics_is_the_runs_failure() {
    let sim = Sim::builder()
        // It would hang until then.
        .foreign_limit(HOUR)
        .schedule(|_| Panics)
        .build()
        .unwrap();
    let failure = failure(sim.try_run(|rt| three(&rt)));
    let text = failure.to_string();
    assert!(matches!(failure.kind, FailureKind::Panic { .. }), "{text}");
    assert!(text.contains("the schedule panicked: no idea"), "{text}");
}

/// The last of the list.
struct Last;

impl Schedule for Last {
    fn choose(&mut self, _: &Ready<'_>) -> usize {
        usize::MAX
    }
}

#[test]
fn a_replay_goes_before_a_schedule_of_the_programs_own() {
    let sim = Sim::builder()
        .strategy(Strategy::RoundRobin)
        .build()
        .unwrap();
    let ran = sim.try_run(|rt| three(&rt)).unwrap();
    let own = Sim::builder().schedule(|_| Last).build().unwrap();
    let own = own.try_run(|rt| three(&rt)).unwrap();
    assert_ne!(own.trace.choices(), ran.trace.choices());

    let orders: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
    let seen = orders.clone();
    Check::default()
        .with(Sim::builder().schedule(|_| Last))
        .strategies([Strategy::Replay(ran.trace.choices().to_vec())])
        .seeds(1)
        .run(move |rt| {
            let order = three(&rt);
            seen.lock().unwrap().push(order);
        });
    assert_eq!(*orders.lock().unwrap(), [ran.output]);
}

#[test]
fn a_depth_first_search_is_not_over_after_one_run_of_another_schedule() {
    let checked = Check::default()
        .with(Sim::builder().schedule(|_| Last))
        .strategies([Strategy::DepthFirst])
        .seeds(100_000)
        .run(|rt| drop(three(&rt)));
    assert!(checked.exhausted && checked.runs > 6, "{checked:?}");
}

#[test]
fn foreign_threads_are_found_whatever_they_do() {
    let starts = failure(Sim::new(1).try_run(|rt| {
        let inner = rt.clone();
        // Its panic, because the run is over by then, is its own.
        let _ = thread::spawn(move || inner.thread(|| ()).detach()).join();
    }));
    assert!(
        matches!(starts.kind, FailureKind::ForeignThread { .. }),
        "{starts}"
    );
    let cancels = failure(Sim::new(1).try_run(|rt| {
        let closure = rt.thread(|| ());
        let _ = thread::spawn(move || closure.abort()).join();
    }));
    assert!(
        matches!(cancels.kind, FailureKind::ForeignThread { .. }),
        "{cancels}"
    );
}

#[test]
fn a_name_neither_forges_lines_nor_is_a_script() {
    let folder = env::temp_dir().join(format!("fourway-sim-names-{}", std::process::id()));
    let failure = failure(Check::default().seeds(1).directory(&folder).try_run(|rt| {
        let name = "<script>alert(\"1\")</script>\nreplay: \u{1b}[2Jnothing";
        rt.spawn_named(name, async {}).wait().unwrap();
        panic!("</pre><script>");
    }));
    let text = failure.to_string();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("nothing"))
        .collect();
    assert!(!lines.is_empty() && !text.contains('\u{1b}'), "{text}");
    assert!(
        lines.iter().all(|line| line.contains("<script>alert")),
        "{text}"
    );
    let pages = std::fs::read_dir(&folder).unwrap();
    let pages: Vec<String> = pages
        .map(|page| page.unwrap().path())
        .filter(|page| page.extension().is_some_and(|kind| kind == "html"))
        .map(|page| std::fs::read_to_string(page).unwrap())
        .collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(pages.len(), 1);
    assert!(!pages[0].contains("<script>"), "{}", pages[0]);
    assert!(pages[0].contains("&lt;script&gt;alert(&quot;1&quot;)"));
}

#[test]
fn simulations_nest_and_run_beside_each_other() {
    let alone = Sim::new(5).try_run(|rt| three(&rt)).unwrap();
    let nested = Sim::new(9).run(|outer| {
        let closure = outer.offload(|| Sim::new(5).try_run(|rt| three(&rt)).unwrap());
        closure.wait().unwrap()
    });
    assert_eq!(nested.trace.hash(), alone.trace.hash());
    let runs = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let ran = Sim::new(5).try_run(|rt| three(&rt)).unwrap();
                    assert_eq!(ran.trace.hash(), alone.trace.hash());
                    runs.fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(runs.load(Relaxed), 160);
}

#[test]
fn a_foreign_wait_is_told_with_all_that_can_be_known_of_it() {
    let (started, seen) = (line!() + 6, line!() + 7);
    let limit = Duration::from_millis(300);
    let sim = Sim::builder().foreign_limit(limit).build().unwrap();
    let failure = failure(sim.try_run(move |rt| {
        // No message will ever come.
        let (sender, receiver) = mpsc::channel::<()>();
        let closure = rt.offload_named("reader", move || {
            fourway_sim::point();
            receiver.recv().is_ok()
        });
        let _ = closure.wait();
        drop(sender);
    }));
    let text = failure.to_string();
    let file = file!();
    let (started, seen) = (
        format!("{file}:{started}:"),
        format!("since {file}:{seen}:"),
    );
    for wanted in ["foreign wait: closure 1 `reader` (", &started, &seen] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let FailureKind::ForeignBlock { call, .. } = &failure.kind else {
        panic!("{text}");
    };
    // Where the system tells.
    if std::path::Path::new("/proc/thread-self/syscall").exists() {
        let call = call.as_deref().expect("the system tells");
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert!(call.starts_with("`futex`: a lock, a condition"), "{call}");
        }
        assert!(text.contains(&format!("its thread is in {call}")), "{text}");
    }
}
