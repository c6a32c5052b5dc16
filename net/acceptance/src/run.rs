//! Running the cases: [`main`], [`run`].

use std::{cell::LazyCell, process::ExitCode, time::Duration};

use fourway_suite::{Report, Subject, Suite};

use crate::{
    alone::Turn,
    case::{Case, cases},
    entry::Entry,
    scene::Scene,
};

/// How much longer than its patience a case may take before it counts as hung.
const GRACE: Duration = Duration::from_secs(60);

/// How many cases run at a time: each has a runtime with its threads, and the signals are the
/// process's.
const THREADS: usize = 2;

/// The `main` function of a test binary with `harness = false`: all cases on each network.
///
/// The arguments are those of `cargo test`; after `report`, `--json FILE`, `--junit FILE`,
/// `--html FILE` and `--markdown FILE` say where to write the results, and `--with FILE` puts an earlier
/// report, in JSON, before it.
#[must_use]
pub fn main(entries: Vec<Entry>) -> ExitCode {
    suite(&entries, |_, _| true).threads(THREADS).main()
}

/// Runs, for each network in turn, the cases that `wanted` selects.
pub fn run(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Report {
    suite(entries, wanted).run()
}

fn suite(entries: &[Entry], wanted: impl Fn(&Entry, &Case) -> bool) -> Suite {
    let subjects = entries
        .iter()
        .map(|entry| subject(entry, |case| wanted(entry, case)));
    Suite::new(subjects).title("fourway-net-acceptance").rules([
        ("NE-1", "nothing is lost by dropping"),
        ("NE-2", "ends are told apart"),
        ("NE-3", "one socket holds up no other"),
        ("NE-4", "sockets and the lives of runtimes"),
        ("NE-5", "children and signals are waited for like sockets"),
    ])
}

fn subject(entry: &Entry, wanted: impl Fn(&Case) -> bool) -> Subject {
    let has_processes = LazyCell::new(|| {
        let _turn = Turn::with_others();
        (entry.network)().processes().is_some()
    });
    let has_datagrams = LazyCell::new(|| {
        let _turn = Turn::with_others();
        (entry.network)().datagrams().is_some()
    });
    let cases = cases().into_iter().filter(wanted).map(|case| {
        let lacking = if case.processes && !*has_processes {
            Some("it has no child processes and no signals")
        } else if case.datagrams && !*has_datagrams {
            Some("it has no datagram sockets")
        } else {
            None
        };
        let (network, patience) = (entry.network.clone(), entry.patience);
        let body = move || (case.body)(&Scene::new(&*network(), patience));
        let turn = if case.alone {
            Turn::alone
        } else {
            Turn::with_others
        };
        fourway_suite::Case::new(case.id, case.title, body)
            .turn(turn)
            .unsupported(lacking.map(str::to_owned))
    });
    Subject::new(entry.name, 2 * entry.patience + GRACE)
        .known_failures(entry.known.iter().cloned())
        .cases(cases)
}
