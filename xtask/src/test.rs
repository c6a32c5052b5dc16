//! `cargo xtask test`.

use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
};

use fourway_servers::{
    Host, NATS_URL, NOTHING_LEFT_OUT, Nats, POSTGRES_URL, Postgres, ServerError, SmallDisk,
    WITHOUT_SERVERS, nats_server, postgres_programs,
};

use crate::{
    install::{install, install_unless_there},
    lanes,
};

/// All tests, with servers that end with this process: their keepers ensure it, also after
/// Ctrl-C.
pub(crate) fn run(mut args: Vec<OsString>) -> ExitCode {
    let mut take = |flag: &str| {
        let mut mine = args.iter().take_while(|arg| *arg != "--");
        let at = mine.position(|arg| arg == flag);
        at.map(|at| args.remove(at)).is_some()
    };
    let (without, without_harms) = (take("--without-servers"), take("--without-harms"));
    let mut variables = Vec::new();

    if !without_harms {
        // For workers with a wrong clock. Without it the suite fails.
        install_unless_there("libfaketime");
        // For machines with a network of their own. Where they cannot be had, other tests do the same
        // by processes, and this is but said.
        install_unless_there("iproute2");
        let _ = Host::is_possible_or_not_run();
        if !SmallDisk::is_possible() {
            eprintln!(
                "NOT RUN: full disks, for nothing may be mounted here. Give this the right to (as root it mostly has it), or go on with --without-harms"
            );
            return ExitCode::FAILURE;
        }
        variables.push((NOTHING_LEFT_OUT, "1".to_owned()));
    }
    let mut missing = Vec::new();
    // Held until the tests have ended.
    let postgres = match server(
        POSTGRES_URL,
        "postgresql",
        postgres_programs,
        Postgres::start,
    ) {
        Ok(server) => server,
        Err(error) => {
            missing.push(error.to_string());
            None
        }
    };
    let nats = match server(NATS_URL, "nats-server", nats_server, Nats::start) {
        Ok(server) => server,
        Err(error) => {
            missing.push(error.to_string());
            None
        }
    };
    if !missing.is_empty() {
        let missing = missing.join("; ");
        if !without {
            eprintln!(
                "NOT RUN: {missing}. Install Debian's packages postgresql and nats-server (as root this does it), or go on with --without-servers"
            );
            return ExitCode::FAILURE;
        }
        eprintln!("NOT RUN, the tests that need a server: {missing}");
    }
    if without {
        variables.push((WITHOUT_SERVERS, "1".to_owned()));
    }
    if let Some(server) = &postgres {
        variables.push((POSTGRES_URL, server.url()));
    }
    if let Some(server) = &nats {
        variables.push((NATS_URL, server.url()));
    }
    let tests = || {
        let mut tests = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        tests.args(["test", "--workspace"]).args(&args);
        tests.envs(variables.iter().cloned());
        tests
    };
    let passed = match lanes::are_for(&args) {
        true => lanes::run(tests),
        // They may choose programs of one lane only.
        false => tests().status().map(|status| status.success()),
    };
    match passed {
        Ok(true) => {
            eprintln!(
                "not among these: the examples' pages in a browser (`.ci/browser`); the models, and long runs (`.ci/run --soak`)"
            );
            ExitCode::SUCCESS
        }
        // Its message is above.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo test: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server, installed if need be; `None` if the environment names one.
fn server<P, S>(
    variable: &str,
    package: &str,
    find: impl Fn() -> Result<P, ServerError>,
    start: impl Fn() -> Result<S, ServerError>,
) -> Result<Option<S>, ServerError> {
    if env::var_os(variable).is_some() {
        return Ok(None);
    }
    if find().is_err() {
        install(package);
    }
    start().map(Some)
}
