//! Where jobs are kept while a test runs: schemas of one database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_acceptance::{Entry, Harm, Harmed, Place};
use fourway_jobs_engine::{Engine, next_id};
use fourway_jobs_postgres::PostgresEngine;
use fourway_servers::{Postgres, SmallDisk, Wire};

/// `None` if there is no server and the tests run without one.
pub(crate) fn postgres() -> Option<Entry> {
    // Children are told where their engine is.
    let child = fourway_jobs_acceptance::is_child();
    let server = if child {
        String::new()
    } else {
        fourway_servers::postgres_url()?
    };
    let entry = Entry::new("postgres", move || Box::new(Schema::of(&server)));
    let mut harms = vec![Harm::Killed, Harm::Cut, Harm::Stopped];
    if !child && SmallDisk::is_possible_or_not_run() {
        harms.push(Harm::FullDisk);
    }
    Some(
        entry
            .elsewhere(open)
            .clock_elsewhere()
            .harmed(harms, |harm| Box::new(Own::for_harm(harm)))
            .not_harmed_here([Harm::FullDisk]),
    )
}

/// A server of its own, behind a wire that can be cut.
struct Own {
    server: Mutex<Postgres>,
    wire: Wire,
}

impl Own {
    fn for_harm(harm: Harm) -> Self {
        let server = if harm == Harm::FullDisk {
            let server = Postgres::start_on_small_disk(160).expect("a server");
            server.expect("it could be mounted a moment ago")
        } else {
            Postgres::start().expect("a server")
        };
        let wire = Wire::to(server.port()).expect("a port");
        Self {
            server: Mutex::new(server),
            wire,
        }
    }

    fn server(&self) -> MutexGuard<'_, Postgres> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for Own {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let port = self.wire.port();
        open(
            rt,
            &format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        )
    }
}

impl Harmed for Own {
    fn begin(&self, harm: Harm) {
        match harm {
            Harm::Killed => self.server().kill().expect("it can be killed"),
            Harm::Cut => self.wire.cut(),
            Harm::Stopped => self.server().pause().expect("it can be stopped"),
            Harm::FullDisk => self.server().fill().expect("it can be filled"),
            other => unreachable!("{other:?} is not declared"),
        }
    }

    fn end(&self, harm: Harm) {
        match harm {
            Harm::Killed => self.server().start_again().expect("it starts again"),
            Harm::Cut => self.wire.mend(),
            Harm::Stopped => self.server().resume().expect("it goes on"),
            Harm::FullDisk => self.server().free().expect("it goes on"),
            other => unreachable!("{other:?} is not declared"),
        }
    }
}

pub(crate) struct Schema {
    url: String,
}

impl Schema {
    pub(crate) fn of(server: &str) -> Self {
        let name = next_id().to_string().to_lowercase();
        let url = format!("{server}?schema=test_{name}");
        Self { url }
    }
}

impl Place for Schema {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        open(rt, &self.url)
    }

    fn address(&self) -> Option<String> {
        Some(self.url.clone())
    }
}

pub(crate) fn open(rt: &AnyRuntime, url: &str) -> Arc<dyn Engine> {
    Arc::new(PostgresEngine::open(rt, url).wait().expect("an engine"))
}
