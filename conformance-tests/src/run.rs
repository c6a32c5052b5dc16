//! Running cases: [`trials`] and [`main`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Subject, cases};

/// A case that takes longer hangs. Far above what any of them needs, also on a
/// slow machine; the waits inside the cases give up earlier and say on what.
const WATCHDOG: Duration = Duration::from_secs(120);

/// The cases of one subject as tests, named `subject::ID`.
#[must_use]
pub fn trials<S: Subject>() -> Vec<Trial> {
    cases::<S>()
        .into_iter()
        .map(|case| {
            let name = format!("{}::{}", S::NAME, case.id);
            Trial::test(name, move || {
                watched(case.run).map_err(|reason| {
                    Failed::from(format!(
                        "{} {}\n  why it matters: {}\n  {reason}",
                        case.id, case.title, case.why
                    ))
                })
            })
        })
        .collect()
}

/// Runs the tests, as `cargo test` and `cargo nextest` expect it.
///
/// No tests at all is a failure: a suite that selects nothing proves nothing.
#[must_use]
pub fn main(trials: Vec<Trial>) -> ExitCode {
    if trials.is_empty() {
        eprintln!("no conformance cases to run: is there a subject?");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs a case on a thread of its own, so that a hang becomes a failure. The
/// hanging thread stays behind until the process ends.
fn watched(case: fn()) -> Result<(), String> {
    let (done, result) = mpsc::channel();
    thread::Builder::new()
        .name(String::from("case"))
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(case));
            let _ = done.send(outcome.map_err(|payload| message(&*payload)));
        })
        .map_err(|error| format!("no thread for the case: {error}"))?;
    match result.recv_timeout(WATCHDOG) {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("it hung for {} s", WATCHDOG.as_secs())),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        String::from("it panicked with a payload that is not a string")
    }
}
