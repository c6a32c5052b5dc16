//! What the example shows, in the simulation: under a thousand schedules, and under as many with
//! tasks that are cancelled at any await. The times that it takes are the machine's, and not looked
//! at.

#[allow(dead_code, reason = "a program has more than is used here")]
#[path = "../examples/job_cost.rs"]
mod job_cost;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fourway_core::yield_now;
use fourway_sim::{Check, Faults, Sim};

const MS: Duration = Duration::from_millis(1);

/// Under a thousand seeds, and under a thousand more with tasks that are cancelled.
fn simulated(main: impl Fn(&Sim, bool) + Send + Sync + Clone + 'static) {
    let calm = main.clone();
    Check::default().seeds(1000).run(move |rt| calm(&rt, false));
    Check::default()
        .seeds(1000)
        .with(Sim::builder().faults(Faults::none().cancel(20, [""]).slow(50, MS)))
        .run(move |rt| main(&rt, true));
}

/// Each job that is submitted runs, and its handle says so; one that is cancelled says that.
#[test]
fn simulated_jobs_that_are_awaited_one_by_one() {
    simulated(|rt, disturbed| {
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = || {
            let ran = ran.clone();
            move || {
                ran.fetch_add(1, Relaxed);
            }
        };
        let (_, _, futures) = job_cost::round(rt, 8, &|_| {
            let count = counts();
            async move {
                yield_now().await;
                count();
            }
        });
        let (_, _, closures) = job_cost::round(rt, 8, &|_| counts());
        let (ran, ok) = (ran.load(Relaxed), futures + closures);
        assert!(if disturbed {
            ran >= ok
        } else {
            ran == 16 && ok == 16
        });
    });
}

/// Urgent jobs start beside a load, and all jobs have an end.
#[test]
fn simulated_urgent_jobs_beside_a_load() {
    simulated(|rt, disturbed| {
        let started = job_cost::urgent(rt, 100).len();
        assert!(if disturbed {
            started <= 1
        } else {
            started == 1
        });
    });
}
