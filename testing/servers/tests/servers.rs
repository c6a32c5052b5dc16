//! Servers start, crash, start again, and are gone with their keeper.

#![cfg(unix)]

use std::{
    net::TcpStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use fourway_servers::{Nats, NatsCluster, Postgres, or_not_run};

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A backend process of PostgreSQL holds the socket for a moment longer.
#[track_caller]
fn until_silent(port: u16) {
    let end = Instant::now() + Duration::from_secs(60);
    while listens(port) {
        assert!(Instant::now() < end, "somebody listens still");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn postgres_comes_and_goes() {
    let Some(mut server) = or_not_run(Postgres::start()) else {
        return;
    };
    let port = server.port();
    assert!(server.url().contains(&port.to_string()));
    assert!(listens(port));
    server.kill().unwrap();
    until_silent(port);
    server.start_again().unwrap();
    server.stop().unwrap();
    until_silent(port);
    server.start_again().unwrap();
    assert!(listens(port));
    let folder = server.folder().to_owned();
    drop(server);
    until_silent(port);
    assert!(!folder.exists());
}

#[test]
fn nats_comes_and_goes() {
    let Some(mut server) = or_not_run(Nats::start()) else {
        return;
    };
    let port = server.port();
    server.kill().unwrap();
    until_silent(port);
    server.start_again().unwrap();
    server.pause().unwrap();
    server.resume().unwrap();
    server.stop().unwrap();
    server.start_again().unwrap();
    drop(server);
    until_silent(port);
}

#[test]
fn three_are_a_cluster() {
    let Some(mut cluster) = or_not_run(NatsCluster::start()) else {
        return;
    };
    assert_eq!(cluster.url().split(',').count(), 3);
    let port = cluster.servers[1].port();
    cluster.servers[1].kill().unwrap();
    until_silent(port);
    cluster.servers[1].start_again().unwrap();
    assert!(cluster.servers.iter().all(|server| listens(server.port())));
}

#[test]
fn what_is_not_installed_has_a_name() {
    // The variables are read when a program is looked for; no other test sets them.
    let missing = PathBuf::from("/nowhere");
    let mut run = std::process::Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "postgres_comes_and_goes", "--nocapture"]);
    run.env("FOURWAY_POSTGRES_BIN", &missing);
    let strict = run.env_remove("FOURWAY_WITHOUT_SERVERS").output().unwrap();
    let said = String::from_utf8_lossy(&strict.stderr);
    assert!(!strict.status.success());
    assert!(said.contains("NOT RUN: PostgreSQL"), "{said}");
    let lenient = run.env("FOURWAY_WITHOUT_SERVERS", "1").output().unwrap();
    let said = String::from_utf8_lossy(&lenient.stderr);
    assert!(lenient.status.success());
    assert!(said.contains("NOT RUN: PostgreSQL"), "{said}");
}
