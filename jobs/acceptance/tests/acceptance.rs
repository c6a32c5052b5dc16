//! The project's own engines.

mod places;

use std::process::ExitCode;

fn main() -> ExitCode {
    fourway_jobs_acceptance::main(vec![places::memory(), places::sqlite()])
}
