//! Each example runs: with a small input, and nothing is asserted of the figures that it takes.

use fourway_testing::Examples;

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &["job_cost"],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

#[test]
fn cost_takes_time_and_latency() {
    let lines = EXAMPLES.lines("job_cost", &["time", "500"]);
    let [title, futures, yields, closures] = &lines[..] else {
        panic!("four lines: {lines:?}");
    };
    assert!(title.starts_with("500 jobs"), "{title}");
    for line in [futures, yields, closures] {
        assert!(line.contains("ns each"), "{line}");
    }
    let lines = EXAMPLES.lines("job_cost", &["latency", "500"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("p99"), "{lines:?}");
}
