//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["digest", "figures"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn digest_runs_each_seed_twice() {
    let lines = EXAMPLES.lines("digest", &["20"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("20 seeds, twice each:"), "{lines:?}");
}

#[test]
fn figures_takes_them() {
    let lines = EXAMPLES.lines("figures", &["1000"]);
    let of = ["task switches", "passes", "an hour", "seeds"];
    assert_eq!(lines.len(), of.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(of) {
        assert!(line.starts_with(start), "{line}");
    }
}
