//! `cargo xtask up`.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

use fourway_servers::{Nats, Postgres, ServerError, nats_server, postgres_programs};

use crate::install::install;

/// The example service on an engine, for a person to look at.
pub(crate) fn run(mut args: Vec<OsString>) -> ExitCode {
    let named = args.first().and_then(|first| first.to_str());
    // The service's own arguments begin differently.
    let named = named
        .filter(|name| !name.starts_with('-'))
        .map(str::to_owned);
    if named.is_some() {
        args.remove(0);
    }
    match up(named.as_deref().unwrap_or("memory:"), args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process with the service on success, so that only the service gets Ctrl-C. The
/// server then belongs to the holder of the service's standard input: it outlives the service and
/// its drain by only a moment.
fn up(engine: &str, args: Vec<OsString>) -> Result<ExitCode, ServerError> {
    let (url, server) = match engine {
        "sqlite" => ("sqlite:jobs.db".to_owned(), None),
        "postgres" => {
            if postgres_programs().is_err() {
                install("postgresql");
            }
            let server = Postgres::start()?;
            (server.url(), Some(server.hand_over()))
        }
        "nats" => {
            if nats_server().is_err() {
                install("nats-server");
            }
            let server = Nats::start()?;
            (server.url(), Some(server.hand_over()))
        }
        url => (url.to_owned(), None),
    };
    println!("jobs are in {url}");
    let mut service = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    service.args(["run", "--release", "--package", "job-service", "--"]);
    service.args(["--store", &url]).args(args);
    if let Some(server) = server {
        service.stdin(Stdio::from(server));
    }
    // `exec` returns only on an error.
    let error = service.exec();
    eprintln!("cargo run: {error}");
    Ok(ExitCode::FAILURE)
}
