//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["hand_over"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn hand_over_measures_each_way() {
    let lines = EXAMPLES.lines("hand_over", &["20000"]);
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(lines[0].starts_with("a plain loop"), "{lines:?}");
    assert!(lines[0].ends_with("1.00×"), "{lines:?}");
}
