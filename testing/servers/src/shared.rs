//! One server for all the tests of a process, or of a whole run.

use std::{env, sync::Mutex, sync::PoisonError};

use crate::{Nats, Postgres, ServerError};

/// The address of a shared PostgreSQL for tests: `postgres://…`.
pub const POSTGRES_URL: &str = "FOURWAY_POSTGRES_URL";

/// The address of a shared NATS server for tests: `nats://…`.
pub const NATS_URL: &str = "FOURWAY_NATS_URL";

/// Set (to anything) if tests without a server must pass.
pub const WITHOUT_SERVERS: &str = "FOURWAY_WITHOUT_SERVERS";

/// Set (to anything) if tests that lack a facility of the machine, such as a full disk or a wrong
/// clock, must fail: `cargo xtask test` sets it, unless it runs with `--without-harms`. A missing
/// server has its own variable.
pub const NOTHING_LEFT_OUT: &str = "FOURWAY_NOTHING_LEFT_OUT";

/// The address of a PostgreSQL that this process shares with others, or starts now; `None`, with a
/// line on standard error, if there is none and tests may run without one.
///
/// # Panics
///
/// If there is none, and [`WITHOUT_SERVERS`] is not set.
#[must_use]
pub fn postgres_url() -> Option<String> {
    static SERVER: Mutex<Option<Postgres>> = Mutex::new(None);
    url(POSTGRES_URL, &SERVER, Postgres::start, Postgres::url)
}

/// The address of a NATS server, as [`postgres_url`].
///
/// # Panics
///
/// As [`postgres_url`].
#[must_use]
pub fn nats_url() -> Option<String> {
    static SERVER: Mutex<Option<Nats>> = Mutex::new(None);
    url(NATS_URL, &SERVER, Nats::start, Nats::url)
}

fn url<S>(
    variable: &str,
    server: &Mutex<Option<S>>,
    start: impl FnOnce() -> Result<S, ServerError>,
    url: impl Fn(&S) -> String,
) -> Option<String> {
    if let Ok(url) = env::var(variable) {
        return Some(url);
    }
    // A failed test leaves no half-made state here.
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    if server.is_none() {
        *server = Some(or_not_run(start())?);
    }
    // It ends with this process.
    server.as_ref().map(url)
}

/// The server of a test; `None`, with a line on standard error, if it is not installed and tests
/// may run without one.
///
/// # Panics
///
/// If it is not installed and [`WITHOUT_SERVERS`] is not set, or if it does not work.
#[must_use]
pub fn or_not_run<S>(server: Result<S, ServerError>) -> Option<S> {
    match server {
        Ok(server) => Some(server),
        Err(error) if error.is_not_installed() => {
            if env::var_os(WITHOUT_SERVERS).is_some() {
                eprintln!("NOT RUN: {error}");
                return None;
            }
            panic!(
                "NOT RUN: {error}; `cargo xtask test` installs it where it may, and {WITHOUT_SERVERS}=1 goes without"
            );
        }
        Err(error) => panic!("{error}"),
    }
}
