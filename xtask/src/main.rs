//! `cargo xtask`: the project's own commands beyond cargo.

#[cfg(unix)]
mod install;
#[cfg(unix)]
mod lanes;
#[cfg(unix)]
mod test;
#[cfg(unix)]
mod up;
#[cfg(not(unix))]
use test as up;
#[cfg(not(unix))]
mod test {
    pub(crate) fn run(_: Vec<std::ffi::OsString>) -> std::process::ExitCode {
        eprintln!(
            "NOT RUN: private servers need Unix; `cargo test --workspace` runs what needs none"
        );
        std::process::ExitCode::FAILURE
    }
}

use std::{env, ffi::OsString, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask test [--without-servers] [--without-harms] [ARGUMENTS OF cargo test --workspace]
       cargo xtask up [URL | sqlite | postgres | nats] [ARGUMENTS OF job-service]

  test   runs all tests, with a private PostgreSQL and NATS server. It installs them from
         Debian's packages if they are not there and it may (as root); --without-servers
         goes without those that are missing. Some tests need a disk that they fill, which
         has to be mounted, and clocks that are wrong, by libfaketime, which it installs:
         --without-harms goes without what cannot be had of these. All tests run
         two programs at a time, those that are chosen one after the other
  up     starts examples/job-service with its jobs in that engine, in memory if none is
         named; postgres and nats are private servers that end when it has drained and
         ended";

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    match command.to_str() {
        Some("test") => test::run(args),
        Some("up") => up::run(args),
        #[cfg(unix)]
        Some(lanes::RUNNER) => lanes::run_unless_waiting(args.into_iter()),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
