//! Simulated programs: their outputs, and their replays.

mod program;

use std::{
    cell::RefCell,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer};
use fourway_sim::{FailureKind, Faults, Run, Sim, Strategy};
use fourway_testing::Gate;
use program::{add, nested, run, twice};

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_same_seed_is_the_same_run() {
    whole(150);
}

/// Runs each seed twice, and gives all the traces in one number.
fn whole(seeds: u64) -> u64 {
    (0..seeds).fold(0, |digest, seed| add(digest, twice(seed).trace.hash()))
}

/// All the traces of so many seeds, in one number: of a program that uses little else than the
/// simulation itself.
fn digest(seeds: u64) -> u64 {
    (0..seeds).fold(0, |digest, seed| {
        let faults = Faults::none().slow(100, 5 * MS).cancel(20, [""]);
        let sim = Sim::builder().seed(seed).faults(faults).offload_limit(2);
        let ran = sim.build().unwrap().try_run(|rt| {
            let tasks: Vec<_> = (0..3)
                .map(|n| {
                    let inner = rt.clone();
                    rt.spawn(async move {
                        inner.sleep(MS * n).await;
                        let deeper = inner.clone();
                        inner.offload(move || nested(&deeper, 2)).await
                    })
                })
                .collect();
            for task in tasks {
                let _ = task.wait();
            }
        });
        add(digest, ran.unwrap().trace.hash())
    })
}

/// In another process addresses, thread ids and the time differ. In every process, build and
/// machine it is this number, until turns are given in another way on purpose: then the new number
/// must be written here.
#[test]
fn the_same_seed_is_the_same_run_in_every_process_and_build() {
    let digest = digest(300);
    assert_eq!(digest, 0xf04f_3ee9_c1b4_e8a6, "now it is {digest:#x}");
    // The whole program's depends on what it uses of the core as well: it is the same everywhere, and
    // another one when that changes. For two builds or machines there is the example `digest`.
    let whole = format!("the digest of the whole is {:#x}", whole(50));
    println!("{whole}");
    let name = "the_same_seed_is_the_same_run_in_every_process_and_build";
    if std::env::var_os("FOURWAY_SIM_TEST_INNER").is_some() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("FOURWAY_SIM_TEST_INNER", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    assert!(text.contains(&whole), "{whole}, and not: {text}");
}

/// Only where soaks are asked for.
#[test]
fn soak_the_same_seed_is_the_same_run() {
    if std::env::var_os("FOURWAY_SOAK_SECONDS").is_some() {
        whole(10_000);
    }
}

#[test]
fn without_faults_every_schedule_gives_the_same_sum() {
    for seed in 0..50 {
        assert_eq!(run(seed, Strategy::Random, Faults::none()).output, 8);
    }
}

#[test]
fn schedules_differ_by_seed() {
    let hashes: std::collections::HashSet<u64> = (0..20)
        .map(|seed| run(seed, Strategy::Random, Faults::none()).trace.hash())
        .collect();
    assert!(hashes.len() > 15, "{}", hashes.len());
}

#[test]
fn a_replay_of_the_choices_is_the_same_run() {
    let first = run(7, Strategy::Random, Faults::none());
    let choices = first.trace.choices().to_vec();
    assert!(!choices.is_empty());
    let second = run(7, Strategy::Replay(choices), Faults::none());
    assert_eq!(first.trace.hash(), second.trace.hash());
}

#[test]
fn a_day_passes_at_once() {
    let day = Duration::from_secs(24 * 60 * 60);
    let run = Sim::new(3)
        .try_run(move |rt| {
            let start = rt.now();
            rt.block_on(rt.sleep(day));
            let inner = rt.clone();
            rt.offload(move || inner.block_on(inner.sleep(day)))
                .wait()
                .unwrap();
            assert!(rt.now() - start >= 2 * day);
            rt.block_on(rt.timeout(day, std::future::pending::<()>()))
                .unwrap_err();
        })
        .unwrap();
    assert!(
        run.time >= 3 * day && run.time < 3 * day + MS,
        "{:?}",
        run.time
    );
}

#[test]
fn timers_may_be_late_and_never_early() {
    let orders: std::collections::BTreeSet<Vec<u32>> = (0..50)
        .map(|seed| {
            let sim = Sim::builder()
                .seed(seed)
                .strategy(Strategy::RoundRobin)
                .faults(Faults::none().jitter(5 * MS));
            sim.build().unwrap().run(|rt| {
                let order: Arc<Mutex<Vec<u32>>> = Arc::default();
                let tasks: Vec<_> = (0..3)
                    .map(|n| {
                        let (inner, order) = (rt.clone(), order.clone());
                        rt.spawn(async move {
                            let start = inner.now();
                            inner.sleep(20 * MS).await;
                            let passed = inner.now() - start;
                            // And some steps of a microsecond.
                            assert!(passed >= 20 * MS && passed < 26 * MS, "{passed:?}");
                            order.lock().unwrap().push(n);
                        })
                    })
                    .collect();
                for task in tasks {
                    task.wait().unwrap();
                }
                order.lock().unwrap().clone()
            })
        })
        .collect();
    assert_eq!(orders.len(), 6, "every order of three timers");
}

#[test]
fn the_systems_time_goes_with_the_clock_but_for_a_drift() {
    let day = Duration::from_secs(24 * 60 * 60);
    let passed = |seed, drift| {
        let sim = Sim::builder()
            .seed(seed)
            .faults(Faults::none().drift(drift));
        sim.build().unwrap().run(move |rt| {
            let start = (rt.now(), rt.system_time());
            rt.block_on(rt.sleep(day));
            let passed = rt.system_time().duration_since(start.1).unwrap();
            (rt.now() - start.0, passed)
        })
    };
    let (clock, system) = passed(1, 0);
    assert_eq!(clock, system);
    let drifts: std::collections::BTreeSet<Duration> = (0..10)
        .map(|seed| {
            let (clock, system) = passed(seed, 500);
            assert_eq!((clock, system), passed(seed, 500));
            assert!(
                system.abs_diff(clock) <= clock / 2000 + MS,
                "{clock:?} {system:?}"
            );
            system
        })
        .collect();
    assert!(drifts.len() > 5);
}

#[test]
fn a_limit_of_one_serves_any_depth() {
    for seed in 0..20 {
        let sim = Sim::builder().seed(seed).offload_limit(1).build().unwrap();
        assert_eq!(sim.run(|rt| nested(&rt, 16)), 1);
    }
}

#[test]
fn threads_take_part() {
    for seed in 0..20 {
        Sim::new(seed).run(|rt| {
            let inner = rt.clone();
            let thread = rt.thread(move || inner.block_on(inner.spawn(async { 3 })).unwrap());
            assert_eq!(thread.wait().unwrap(), 3);
        });
    }
}

#[test]
fn turns_change_within_closures() {
    // Check, then act: some schedules have another one come in between.
    let lost = (0..50).filter(|seed| {
        Sim::new(*seed).run(|rt| {
            let value = Arc::new(Mutex::new(0));
            let closures: Vec<_> = (0..2)
                .map(|_| {
                    let value = value.clone();
                    rt.offload(move || {
                        let read = *value.lock().unwrap();
                        fourway_sim::point();
                        *value.lock().unwrap() = read + 1;
                    })
                })
                .collect();
            for closure in closures {
                closure.wait().unwrap();
            }
            let value = *value.lock().unwrap();
            value == 1
        })
    });
    let lost = lost.count();
    assert!(lost > 5 && lost < 45, "{lost}");
}

#[test]
fn what_is_left_is_destroyed_in_the_run() {
    struct Spawns(Sim, Arc<AtomicUsize>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            // The runtime is still there, and refuses.
            drop(self.0.spawn(async {}));
            assert!(self.0.is_shutdown());
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let count = drops.clone();
    let run = Sim::new(0)
        .try_run(move |rt| {
            for _ in 0..3 {
                let held = Spawns(rt.clone(), count.clone());
                // Not lost: its timer has its waker.
                let never = rt.sleep(Duration::MAX);
                rt.spawn(async move {
                    let _held = held;
                    never.await;
                })
                .detach();
            }
            let inner = rt.clone();
            rt.offload(move || inner.block_on(std::future::pending::<()>()))
                .detach();
            rt.block_on(rt.sleep(MS));
        })
        .unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 3);
    assert_eq!(run.leftovers.len(), 4, "{:?}", run.leftovers);
}

#[test]
fn a_shutdown_in_a_run_waits_in_virtual_time() {
    for seed in 0..20 {
        Sim::new(seed).run(|rt| {
            let inner = rt.clone();
            let closure = rt.offload(move || inner.block_on(inner.sleep(60 * MS)));
            let task = rt.spawn(std::future::pending::<()>());
            rt.block_on(rt.sleep(MS));
            let report = rt.shutdown(10 * MS).unwrap();
            assert_eq!(report.closures_running, 1, "{report:?}");
            let report = rt.shutdown(Duration::from_secs(10)).unwrap();
            assert!(report.is_clean(), "{report:?}");
            assert!(task.wait().unwrap_err().is_shutdown());
            closure.wait().unwrap();
            assert!(rt.spawn(async {}).wait().unwrap_err().is_shutdown());
            rt.block_on(rt.sleep(MS));
        });
    }
}

#[test]
fn a_thread_that_does_not_start_is_an_error() {
    let sim = Sim::builder().faults(Faults::none().no_thread(1000));
    sim.build().unwrap().run(|rt| {
        assert!(rt.offload(|| ()).wait().unwrap_err().is_unstarted());
        // A task needs none.
        rt.spawn(async {}).wait().unwrap();
    });
}

/// Outside of a run: a thread that shuts down in the destructor of a thread-local is waited for by
/// the shutdowns after that.
#[test]
fn a_thread_that_shuts_down_as_it_ends_is_waited_for() {
    const DEADLINE: Duration = Duration::from_secs(60);

    struct AtEnd(RefCell<Option<Box<dyn FnOnce()>>>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            if let Some(f) = self.0.take() {
                f();
            }
        }
    }
    thread_local! {
        static AT_END: AtEnd = const { AtEnd(RefCell::new(None)) };
    }

    let rt = Sim::builder().keep_alive(MS).build().unwrap();
    let (shuts_down, has_shut_down) = mpsc::channel();
    let (go, waits) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let (inner, has_ended) = (rt.clone(), ended.clone());
    let closure = rt.offload(move || {
        let destructor = move || {
            // A panic here would end the process.
            let _ = shuts_down.send(inner.shutdown(DEADLINE));
            let _ = waits.recv_timeout(DEADLINE);
            has_ended.store(true, Ordering::SeqCst);
        };
        AT_END.with(|at_end| *at_end.0.borrow_mut() = Some(Box::new(destructor)));
    });
    closure.wait().unwrap();
    has_shut_down.recv_timeout(DEADLINE).unwrap().unwrap();
    let opener = std::thread::spawn(move || {
        // Time in which a shutdown that does not wait would return.
        std::thread::sleep(50 * MS);
        go.send(()).unwrap();
    });
    assert!(rt.shutdown(DEADLINE).unwrap().is_clean());
    assert!(ended.load(Ordering::SeqCst), "it was not waited for");
    opener.join().unwrap();
}

/// Outside of a run, with several threads at once: no thread takes a place between another one's
/// look and its closure.
#[test]
fn the_bound_of_the_line_holds_for_threads_that_try_at_once() {
    let threads = 4;
    for _ in 0..200 {
        let sim = Sim::builder().offload_limit(1).offload_queue(Some(1));
        let rt = sim.build().unwrap();
        let gate = Gate::default();
        let passes = gate.clone();
        let busy = rt.offload(move || passes.wait());
        let start = Arc::new(Barrier::new(threads));
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let (rt, start) = (rt.clone(), start.clone());
                std::thread::spawn(move || {
                    start.wait();
                    rt.try_offload(|| ()).ok()
                })
            })
            .collect();
        let threads = threads.into_iter();
        let waits: Vec<_> = threads.filter_map(|one| one.join().unwrap()).collect();
        assert_eq!(waits.len(), 1);
        gate.open();
        busy.wait().unwrap();
        for task in waits {
            task.wait().unwrap();
        }
    }
}

#[test]
fn a_panic_of_main_is_the_runs() {
    let failure = Sim::new(9)
        .try_run(|_| std::panic::resume_unwind(Box::new("on purpose")))
        .map(|run: Run<()>| run.output)
        .unwrap_err();
    assert!(matches!(&failure.kind, FailureKind::Panic { message } if message == "on purpose"));
    let text = failure.to_string();
    assert!(text.contains("replay: FOURWAY_SIM=9:random:"), "{text}");
}
