//! The acceptance suite, with a separate schema for each case.

#[cfg(unix)]
mod places;

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    match places::postgres() {
        Some(entry) => fourway_jobs_acceptance::main_recorded(
            vec![entry],
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ENGINES.md"),
        ),
        // The call above has printed so.
        None => ExitCode::SUCCESS,
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("NOT RUN: private servers need Unix");
    ExitCode::FAILURE
}
