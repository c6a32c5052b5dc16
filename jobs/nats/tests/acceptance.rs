//! The acceptance suite for job engines, on one server and on three.

mod places;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fourway_core::AnyRuntime;
use fourway_jobs_acceptance::{Entry, Harm, Harmed, Place, is_child};
use fourway_jobs_engine::Engine;
use fourway_servers::{Nats, NatsCluster, SmallDisk, Wire, nats_server, nats_url, or_not_run};
use places::{Names, open};

fn main() -> ExitCode {
    // Not the address itself, which would start a server in each of the suite's processes.
    if or_not_run(nats_server()).is_none() {
        return ExitCode::SUCCESS;
    }
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ENGINES.md");
    fourway_jobs_acceptance::main_recorded(vec![nats(), nats_cluster()], table)
}

/// On the server that tests share.
fn nats() -> Entry {
    let entry = Entry::new("nats", || {
        Box::new(Names::on(nats_url().expect("it was there before"), 1))
    });
    let mut harms = vec![Harm::Killed, Harm::Cut, Harm::Stopped];
    let child = is_child();
    if !child && SmallDisk::is_possible_or_not_run() {
        harms.push(Harm::FullDisk);
    }
    entry
        .elsewhere(elsewhere)
        .clock_elsewhere()
        .harmed(harms, |harm| Box::new(Own::for_harm(harm)))
        .not_harmed_here([Harm::FullDisk])
}

/// On three servers, each job on all of them.
fn nats_cluster() -> Entry {
    static CLUSTER: Mutex<Option<NatsCluster>> = Mutex::new(None);
    Entry::new("nats-cluster", || {
        let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster =
            cluster.get_or_insert_with(|| or_not_run(NatsCluster::start()).expect("installed"));
        Box::new(Names::on(cluster.url(), 3))
    })
    .elsewhere(elsewhere)
    .clock_elsewhere()
    .harmed([Harm::Killed, Harm::Cut, Harm::Stopped], |_| {
        Box::new(OwnCluster::new())
    })
}

impl Place for Names {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        self.open_now(rt)
    }

    fn address(&self) -> Option<String> {
        Some(format!("{} {} {}", self.url, self.prefix, self.replicas))
    }
}

fn elsewhere(rt: &AnyRuntime, address: &str) -> Arc<dyn Engine> {
    let mut parts = address.split(' ');
    let mut part = || parts.next().expect("three parts");
    let (url, prefix, replicas) = (part(), part(), part());
    let replicas = replicas.parse().expect("a number");
    Arc::new(open(rt, url, prefix, replicas, Duration::from_secs(5)))
}

/// A server of its own, behind a wire that can be cut.
struct Own {
    names: Names,
    server: Mutex<Nats>,
    wire: Wire,
}

impl Own {
    fn for_harm(harm: Harm) -> Self {
        let server = if harm == Harm::FullDisk {
            let server = Nats::start_on_small_disk(160).expect("a server");
            server.expect("it could be mounted a moment ago")
        } else {
            Nats::start().expect("a server")
        };
        let wire = Wire::to(server.port()).expect("a port");
        Self {
            names: Names::on(format!("nats://127.0.0.1:{}", wire.port()), 1).keep(),
            server: Mutex::new(server),
            wire,
        }
    }

    fn server(&self) -> MutexGuard<'_, Nats> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for Own {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        self.names.open_now(rt)
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

/// Three servers of its own, each behind a wire. One of them is killed; all are cut off, or stand still.
struct OwnCluster {
    names: Names,
    servers: Mutex<NatsCluster>,
    wires: Vec<Wire>,
}

impl OwnCluster {
    fn new() -> Self {
        let servers = NatsCluster::start().expect("three servers");
        let wires = servers.servers.iter();
        let wires = wires.map(|server| Wire::to(server.port()).expect("a port"));
        let wires: Vec<_> = wires.collect();
        let urls = wires
            .iter()
            .map(|wire| format!("nats://127.0.0.1:{}", wire.port()));
        let urls: Vec<_> = urls.collect();
        Self {
            names: Names::on(urls.join(","), 3).keep(),
            servers: Mutex::new(servers),
            wires,
        }
    }

    fn first(&self, harm: impl FnOnce(&mut Nats)) {
        harm(&mut self.servers().servers[0]);
    }

    fn all(&self, harm: impl FnMut(&mut Nats)) {
        self.servers().servers.iter_mut().for_each(harm);
    }

    fn servers(&self) -> MutexGuard<'_, NatsCluster> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for OwnCluster {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        self.names.open_now(rt)
    }
}

impl Harmed for OwnCluster {
    fn begin(&self, harm: Harm) {
        match harm {
            Harm::Cut => self.wires.iter().for_each(Wire::cut),
            Harm::Stopped => self.all(|server| server.pause().expect("it can be stopped")),
            _ => self.first(|server| server.kill().expect("it can be killed")),
        }
    }

    fn end(&self, harm: Harm) {
        match harm {
            Harm::Cut => self.wires.iter().for_each(Wire::mend),
            Harm::Stopped => self.all(|server| server.resume().expect("it goes on")),
            _ => self.first(|server| server.start_again().expect("it starts again")),
        }
    }
}
