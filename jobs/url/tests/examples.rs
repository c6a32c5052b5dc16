//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["engines"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn engines_measures_each_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "sqlite:{}?relaxed=true",
        folder.path().join("jobs").display()
    );
    let args = ["--jobs", "200", "--growth", "1000", "memory:", &file];
    let lines = EXAMPLES.lines("engines", &args);
    let rows: Vec<&String> = lines.iter().filter(|line| line.starts_with("| ")).collect();
    let [head, memory, sqlite] = &rows[..] else {
        panic!("three rows: {lines:?}");
    };
    assert!(head.ends_with("| 1000 queued |"), "{head}");
    assert!(memory.starts_with("| memory |"), "{memory}");
    assert!(sqlite.starts_with("| sqlite, relaxed |"), "{sqlite}");
}
