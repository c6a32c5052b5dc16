//! Bugs that were planted, after real ones: each is found, and found again from its replay.
//!
//! How many schedules it takes is in `docs/SIMULATED-BUGS.md`, which is made, and compared, by
//!
//! ```console
//! $ FOURWAY_SIM_UPDATE=1 cargo test -p fourway-sim-planted --test planted table
//! ```

#![allow(
    clippy::duplicate_mod,
    reason = "the programs of `both.rs` are in two worlds"
)]

mod bugs;
mod on_shuttle;
mod on_sim;
mod parts;
mod real;

use std::{env, fmt::Write as _, fs, path::Path};

use bugs::{BUGS, Bug};
use fourway_sim::{Check, Failure, Strategy};
use real::REAL;

/// How many schedules are tried.
const LIMIT: u64 = 2000;

fn strategies() -> [(&'static str, Strategy); 4] {
    let pct = |depth| Strategy::Pct { depth, choices: 0 };
    [
        ("random", Strategy::Random),
        ("PCT, depth 2", pct(2)),
        ("PCT, depth 3", pct(3)),
        ("round robin", Strategy::RoundRobin),
    ]
}

/// The failure, and the number of the schedule that had it, counted from 1.
fn find(bug: &Bug, strategy: Strategy, limit: u64) -> Option<(u64, Box<Failure>)> {
    // Round robin has nothing but the order of the ready tasks: it is the same each time, unless
    // there are faults.
    let check = Check::default()
        .with((bug.builder)())
        .strategies([strategy])
        .shorten(false)
        .seeds(limit);
    let failure = check.try_run(bug.program).err()?;
    Some((failure.seed + 1, failure))
}

#[test]
fn each_is_found_and_found_again() {
    assert!(BUGS.len() >= 25);
    for bug in BUGS {
        let found = find(bug, Strategy::Random, LIMIT);
        let (schedules, failure) =
            found.unwrap_or_else(|| panic!("{}: not found in {LIMIT} random schedules", bug.name));
        println!("{}: in {schedules}: {}", bug.name, failure.replay());
        let again = (bug.builder)()
            .seed(failure.seed)
            .strategy(failure.strategy.clone())
            .build()
            .unwrap()
            .try_run(bug.program)
            .map(|run| run.output)
            .expect_err("the same run fails again");
        assert_eq!(again.trace.hash(), failure.trace.hash(), "{}", bug.name);
    }
}

#[test]
fn each_real_bug_is_of_one_that_is_planted() {
    for (name, report, address) in REAL {
        let planted = BUGS.iter().filter(|bug| bug.name == *name).count();
        assert_eq!(planted, 1, "{name}: {report}");
        let number = report.rsplit(' ').next().unwrap();
        assert!(address.ends_with(&format!("/{number}")), "{report}");
    }
}

#[test]
fn the_table_is_what_comes_out() {
    let update = env::var_os("FOURWAY_SIM_UPDATE").is_some();
    let mut table = String::from(
        "# Planted bugs\n\n\
         Bugs after real ones, each in a program of a few lines (`adapters/sim/planted/`), \
         and how\nmany schedules it takes to find them. Seeds count from 0, so that the numbers are \
         the same in\neach run, and a test compares them; `–`: not in 2,000. A link is to a public \
         report of a bug of\nthat kind, where one was found; the program is written anew. Made by\n\n\
         ```console\n\
         $ FOURWAY_SIM_UPDATE=1 cargo test -p fourway-sim-planted --test planted table\n\
         ```\n\n\
         Round robin has one schedule, and is tried once; with faults, which are drawn from the \
         seed,\nthe runs differ. PCT as `Strategy::Pct`, which counts the choices in a first run.\n\n\
         The last columns are shuttle's, for the programs that it can run: it has no time and no faults,\n\
         does not look for tasks that are left, and does not know that async code must not block. (Programs\n\
         that abort tasks are left out, too.) The program is the same text, on its threads and tasks; where\n\
         the simulation has a point, it has the load of one of shuttle's atomics. All schedules are drawn\n\
         from one seed, 0; its PCT takes the length of a run from the ones before.\n\n",
    );
    let strategies = strategies();
    let names: Vec<&str> = strategies.iter().map(|(name, _)| *name).collect();
    let names = [&names[..], &["shuttle, random", "shuttle, PCT, depth 3"]].concat();
    let _ = writeln!(table, "| bug | after | faults | {} |", names.join(" | "));
    let _ = writeln!(table, "|---|---|---|{}", "--:|".repeat(names.len()));
    // Shuttle's panics are on purpose, and many; all of them are on this thread.
    let (hook, quiet) = (std::panic::take_hook(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != quiet {
            hook(panic);
        }
    }));
    for bug in BUGS {
        let _ = write!(table, "| {} | {}", bug.name, bug.after);
        if let Some((_, report, address)) = REAL.iter().find(|(name, ..)| *name == bug.name) {
            let _ = write!(table, " ([{report}]({address}))");
        }
        let _ = write!(table, " | {} |", bug.faults);
        for (name, strategy) in &strategies {
            let once = *name == "round robin" && bug.faults == "none";
            let found = find(bug, strategy.clone(), if once { 1 } else { LIMIT });
            let _ = match found {
                Some((schedules, _)) => write!(table, " {schedules} |"),
                None => write!(table, " – |"),
            };
        }
        for strategy in [on_shuttle::Strategy::Random, on_shuttle::Strategy::Pct(3)] {
            let _ = match bug.for_shuttle {
                Some(program) => match on_shuttle::find(program, strategy, LIMIT) {
                    Some(schedules) => write!(table, " {schedules} |"),
                    None => write!(table, " – |"),
                },
                None => write!(table, " cannot |"),
            };
        }
        table.push('\n');
    }
    let _ = std::panic::take_hook();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/SIMULATED-BUGS.md");
    if update {
        fs::write(file, table).unwrap();
    } else {
        assert_eq!(fs::read_to_string(file).unwrap(), table);
    }
}
