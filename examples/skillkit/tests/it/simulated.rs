//! The library as it is, under many schedules, with callers that are cancelled.

use std::{path::Path, time::Duration};

use fourway_core::{BlockOn, Call, Spawner, Task, Timer};
use fourway_sim::{Check, Faults, Sim};
use skillkit::{Collection, Skills};

const MS: Duration = Duration::from_millis(1);

/// Callers of all kinds at once. Each caller that is not cancelled gets the right answer.
fn callers(rt: Sim, expected: &Collection) {
    // A few of the folders, as there are many runs.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills/core");
    let skills = Skills::new(rt.clone(), folder).at_once(3);
    let tasks: Vec<_> = (0..2)
        .map(|n| {
            let (inner, skills, expected) = (rt.clone(), skills.clone(), expected.clone());
            rt.spawn_named("caller", async move {
                inner.sleep(MS * n).await;
                assert_eq!(skills.gather().await.unwrap(), expected);
                let mut items = skills.each();
                let first = items.next().await.unwrap();
                assert!(first.is_ok_and(|skill| expected.skills.contains(&skill)));
                skills.discover().await.unwrap().len()
            })
        })
        .collect();
    let count = skills.discover().wait().unwrap().len();
    let spawned = skills.gather().spawn();
    let items = skills.each().spawn();
    assert_eq!(skills.gather().wait().unwrap(), *expected);
    assert_eq!(rt.block_on(spawned).unwrap().unwrap(), *expected);
    assert_eq!(items.into_iter().count(), count);
    for task in tasks {
        match task.wait() {
            Ok(found) => assert_eq!(found, count),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
}

fn simulated(seeds: u64, faults: Faults) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills/core");
    let rt = fourway_testing::std_thread();
    let expected = Skills::new(rt, folder).gather().wait().unwrap();
    assert!(!expected.skills.is_empty() && expected.problems.is_empty());
    Check::default()
        .seeds(seeds)
        .with(Sim::builder().faults(faults).offload_limit(2))
        .run(move |rt| callers(rt, &expected));
}

#[test]
fn callers_are_given_the_right_answer_whoever_is_cancelled_beside_them() {
    simulated(1000, Faults::none().cancel(50, ["caller"]));
}

#[test]
fn and_if_some_are_late() {
    simulated(100, Faults::none().slow(100, 3 * MS).jitter(MS));
}
