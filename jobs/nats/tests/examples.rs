//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

#![cfg(unix)]
use fourway_servers::{Nats, or_not_run};
use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["sweep", "throughput"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn sweep_measures_until_all_are_forgotten() {
    // It starts a server of its own.
    if or_not_run(Nats::start()).is_none() {
        return;
    }
    let lines = EXAMPLES.lines("sweep", &["200", "1"]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "200 jobs have ended");
    assert!(
        lines[3].starts_with("a sweep that forgets all of them"),
        "{lines:?}"
    );
}

#[test]
fn throughput_measures_client_and_engine() {
    // It starts a server of its own.
    if or_not_run(Nats::start()).is_none() {
        return;
    }
    let lines = EXAMPLES.lines("throughput", &["200"]);
    let starts = [
        "200 jobs",
        "client:",
        "client, with results:",
        "client, with records:",
        "engine:",
    ];
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines.len(), starts.len() + 1, "{lines:?}");
    assert!(lines[starts.len()].contains("p99"), "{lines:?}");
}
