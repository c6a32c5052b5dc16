//! `cargo xtask up`: Ctrl-C lets the service drain before its server ends.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fourway_servers::{nats_server, or_not_run};

/// Stands in for cargo: it drains until it is allowed to end. It also ends when its file is gone,
/// as after a failed test.
const SERVICE: &str = r#"#!/bin/sh
folder=$(dirname "$0")
trap 'echo draining; while [ -e "$0" ] && [ ! -e "$folder/end" ]; do sleep 0.02; done; echo drained; exit 7' INT
echo "serving $*"
while [ -e "$0" ]; do sleep 0.02; done
"#;

#[test]
fn the_server_outlives_the_drain() {
    if or_not_run(nats_server()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    fs::write(&cargo, SERVICE).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    // A shell cannot trap a signal that was ignored at its start, and background jobs of a shell
    // start with SIGINT ignored.
    let mut up = Command::new("env")
        .arg("--default-signal=INT")
        .arg(env!("CARGO_BIN_EXE_xtask"))
        .args(["up", "nats", "--at-once", "1"])
        .env("CARGO", &cargo)
        .stdout(Stdio::piped())
        // As in a terminal, whose Ctrl-C goes to the whole group.
        .process_group(0)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(up.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let said = line();
    let url = said.strip_prefix("jobs are in ").expect("where jobs are");
    let address = url.strip_prefix("nats://").unwrap().to_owned();
    assert_eq!(
        line(),
        format!("serving run --release --package job-service -- --store {url} --at-once 1")
    );
    // The shell's built-in: not every system has a program of that name.
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -s INT -- "-$0""#]);
    assert!(kill.arg(up.id().to_string()).status().unwrap().success());
    assert_eq!(line(), "draining");
    // It has been asked to end, and its server is there still.
    assert!(greeted(&address), "the server ended before the service");
    fs::write(folder.path().join("end"), "").unwrap();
    assert_eq!(line(), "drained");
    assert_eq!(up.wait().unwrap().code(), Some(7), "the service's own");
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < end, "the server outlives the service");
        thread::sleep(Duration::from_millis(20));
    }
}

fn greeted(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).is_ok() && word == *b"INFO"
}
