//! Private servers for the tests of engines: PostgreSQL and NATS, on free ports of the loopback and
//! in private folders. They end with the process that started them, even if it is killed.
//!
//! ```no_run
//! # fn main() -> Result<(), fourway_servers::ServerError> {
//! let mut server = fourway_servers::Postgres::start()?;
//! println!("{}", server.url());
//! server.kill()?; // as a crash: SIGKILL
//! server.start_again()?; // the same data, the same port
//! # Ok(())
//! # }
//! ```
//!
//! # Where tests have their server from
//!
//! [`postgres_url`] and [`nats_url`] give the address that `cargo xtask test` has set, or start a
//! server for this process if its program is installed. If it is not installed, the test fails with
//! one line that begins with `NOT RUN`; with `FOURWAY_WITHOUT_SERVERS` set, it prints that line and
//! passes. A test that kills servers starts its own, and asks [`or_not_run`].

#![forbid(unsafe_code)]
#![cfg(unix)]

mod error;
mod hosts;
mod keeper;
mod nats;
mod postgres;
mod programs;
mod shared;
mod small_disk;
mod wire;

pub use error::ServerError;
pub use hosts::Host;
pub use nats::{Nats, NatsCluster};
pub use postgres::Postgres;
pub use programs::{nats_server, postgres_programs};
pub use shared::{
    NATS_URL, NOTHING_LEFT_OUT, POSTGRES_URL, WITHOUT_SERVERS, nats_url, or_not_run, postgres_url,
};
pub use small_disk::SmallDisk;
pub use wire::Wire;
