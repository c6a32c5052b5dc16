//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["calls_cost", "expand"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

/// Its ways and columns are those of the test `cost`.
#[test]
fn cost_runs_what_it_is_told_to() {
    let arguments = ["by hand", "wait", "3"];
    assert!(EXAMPLES.lines("calls_cost", &arguments).is_empty());
    // It says what there is.
    let said = EXAMPLES.command("calls_cost").output().unwrap();
    assert_eq!(said.status.code(), Some(2), "{said:?}");
}

#[test]
fn expand_prints_the_code_that_the_attribute_writes() {
    let library = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/skillkit/src/lib.rs"
    );
    let lines = EXAMPLES.lines("expand", &[library]).join("\n");
    assert!(lines.contains("call_blocking"), "{lines}");
    assert!(!lines.contains("# [calls"), "{lines}");
}
