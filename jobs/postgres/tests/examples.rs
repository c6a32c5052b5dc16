//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

#![cfg(unix)]
use fourway_servers::{POSTGRES_URL, postgres_url};
use fourway_testing::{Examples, lines_of};

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["raw"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn raw_measures_the_server_alone() {
    let Some(url) = postgres_url() else {
        return;
    };
    let mut raw = EXAMPLES.command("raw");
    raw.arg("1000").env(POSTGRES_URL, url);
    let lines = lines_of(raw);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("raw statements:"), "{lines:?}");
}
