//! One server for all the tests of a process, or of a whole run.

use std::{env, sync::Mutex, sync::PoisonError};

use crate::{Nats, Postgres, ServerError};

/// Where tests find a PostgreSQL that others use, too: `postgres://…`.
pub const POSTGRES_URL: &str = "FOURWAY_POSTGRES_URL";

/// Where tests find a NATS server that others use, too: `nats://…`.
pub const NATS_URL: &str = "FOURWAY_NATS_URL";

/// Set (to anything) if tests that find no server are to go without.
pub const WITHOUT_SERVERS: &str = "FOURWAY_WITHOUT_SERVERS";

/// Set (to anything) if tests that cannot have what they need on this machine, such as a disk that
/// is full or a clock that is wrong, are to fail: `cargo xtask test` sets it, unless it is told to
/// go `--without-harms`. Not servers, which are always missed.
pub const NOTHING_LEFT_OUT: &str = "FOURWAY_NOTHING_LEFT_OUT";

/// The address of a PostgreSQL that this process shares with others, or starts now; `None` if
/// there is none and tests are to go without, which it says on standard error.
///
/// # Panics
///
/// If there is none, and nobody has said that tests are to go without.
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
    // The rest of a test that failed leaves nothing that is half done.
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    if server.is_none() {
        *server = Some(or_not_run(start())?);
    }
    // It ends with this process.
    server.as_ref().map(url)
}

/// What a test needs; or `None` if it is not installed and tests are to go without, which is
/// said on standard error.
///
/// # Panics
///
/// If it is not installed and nobody has said that tests are to go without, or if it does not
/// work.
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
