//! The acceptance suite for job engines, on one server and on three.

mod places;

use std::process::ExitCode;

use fourway_servers::{nats_server, or_not_run};

fn main() -> ExitCode {
    // Not the address itself, which would start a server in each of the suite's processes.
    if or_not_run(nats_server()).is_none() {
        return ExitCode::SUCCESS;
    }
    fourway_jobs_acceptance::main(vec![places::nats(), places::nats_cluster()])
}
