//! The program of `README.md`, and what its report says there.

use fourway_core::{Spawner, Task, yield_now};
use fourway_sim::{Check, Sim};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

fn two_withdraw(rt: Sim) {
    let balance = Arc::new(Mutex::new(100));
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let balance = balance.clone();
            rt.spawn(async move {
                let enough = *balance.lock().unwrap() >= 100;
                if enough {
                    yield_now().await;
                    *balance.lock().unwrap() -= 100;
                }
            })
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    let balance = *balance.lock().unwrap();
    assert!(balance >= 0, "overdrawn");
}

#[test]
fn the_report_of_the_readme_is_the_real_one() {
    let failure = Check::default().try_run(two_withdraw).unwrap_err();
    let report = failure.to_string();
    let readme = include_str!("../README.md");
    // With `FOURWAY_SIM_DIR` it says where the trace was written.
    for line in report.lines().filter(|line| !line.starts_with("written")) {
        // Places and the name of the test are those of this file.
        let line = line.split(" cargo test").next().unwrap_or(line);
        let line = line.replace("adapters/sim/tests/readme.rs:16:16", "tests/bank.rs:9:16");
        assert!(
            readme.contains(&line),
            "README.md does not say\n{line}\nof\n{report}"
        );
    }
}

#[test]
fn the_digest_of_the_readme_is_the_one_that_is_compared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(folder.join("../../.ci/digest")).unwrap();
    let digest = script.lines().find_map(|line| line.strip_prefix("digest="));
    let digest = digest.expect("the script has one");
    let readme = include_str!("../README.md");
    for profile in ["dev", "release"] {
        let line = readme.lines().find(|line| {
            line.starts_with(&format!("{profile}: 10000 seeds")) && line.ends_with(digest)
        });
        assert!(
            line.is_some(),
            "README.md does not say {digest} of {profile}"
        );
    }
}
