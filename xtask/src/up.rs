//! `cargo xtask up`.

use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
};

use fourway_servers::{Nats, Postgres, ServerError, nats_server, postgres_programs};

use crate::install::install;

/// The example service on an engine, for a person to look at.
pub(crate) fn run(mut args: Vec<OsString>) -> ExitCode {
    let named = args.first().and_then(|first| first.to_str());
    // Arguments of the service's own begin otherwise.
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

fn up(engine: &str, args: Vec<OsString>) -> Result<ExitCode, ServerError> {
    // Held until the service has ended.
    let (mut postgres, mut nats) = (None, None);
    let url = match engine {
        "sqlite" => "sqlite:jobs.db".to_owned(),
        "postgres" => {
            if postgres_programs().is_err() {
                install("postgresql");
            }
            postgres.insert(Postgres::start()?).url()
        }
        "nats" => {
            if nats_server().is_err() {
                install("nats-server");
            }
            nats.insert(Nats::start()?).url()
        }
        url => url.to_owned(),
    };
    println!("jobs are in {url}");
    let mut service = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    service.args(["run", "--release", "--package", "job-service", "--"]);
    service.args(["--store", &url]).args(args);
    Ok(match service.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo run: {error}");
            ExitCode::FAILURE
        }
    })
}
