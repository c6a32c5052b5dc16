//! JB-7: schedules run each occurrence once.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{nothing, submit};
use crate::{
    ManualClock, Missed,
    acceptance::{Bench, Manager, Settings},
};

/// A clock at the beginning of a minute, a manager, and the minutes whose runs have run.
struct Scheduled {
    clock: ManualClock,
    start: SystemTime,
    manager: Box<dyn Manager>,
    ran: Arc<Mutex<Vec<u64>>>,
}

impl Scheduled {
    fn new(bench: &Bench<'_>, missed: Missed) -> Self {
        const START: u64 = 1_800_000_000;
        let start = UNIX_EPOCH + Duration::from_secs(START);
        let clock = ManualClock::new(start);
        let manager = bench.manager(Settings {
            clock: Some(clock.clone()),
            ..Settings::default()
        });
        let ran: Arc<Mutex<Vec<u64>>> = Arc::default();
        let runs = ran.clone();
        let body = move |at| runs.lock().expect("no panics").push((at - START) / 60);
        manager.schedule(Duration::from_secs(60), missed, Arc::new(body));
        Self {
            clock,
            start,
            manager,
            ran,
        }
    }

    fn set(&self, minutes: u32) {
        self.clock
            .set(self.start + Duration::from_secs(60) * minutes);
    }

    fn ran(&self) -> Vec<u64> {
        let mut ran = self.ran.lock().expect("no panics").clone();
        ran.sort_unstable();
        ran
    }

    /// The minutes that have run are these, and stay so.
    fn have_run(&self, bench: &Bench<'_>, minutes: &[u64]) {
        let what = format!("the runs of {minutes:?}");
        bench.eventually(&what, || self.ran().len() >= minutes.len());
        let other = submit(&*self.manager, nothing());
        bench.end(&*self.manager, other);
        assert_eq!(self.ran(), minutes, "the minutes whose runs have run");
    }
}

pub(super) fn runs(bench: &Bench<'_>) {
    let scheduled = Scheduled::new(bench, Missed::Once);
    let mut expected = Vec::new();
    for minute in 1..=5 {
        for _ in 0..4 {
            scheduled.clock.advance(Duration::from_secs(15));
        }
        expected.push(minute);
        scheduled.have_run(bench, &expected);
    }
}

pub(super) fn slept(bench: &Bench<'_>) {
    let once = Scheduled::new(bench, Missed::Once);
    once.set(60);
    once.have_run(bench, &[59, 60]);
    let each = Scheduled::new(bench, Missed::Each { at_most: 100 });
    each.set(5);
    each.have_run(bench, &[1, 2, 3, 4, 5]);
    let skip = Scheduled::new(bench, Missed::Skip);
    skip.set(60);
    skip.have_run(bench, &[60]);
}

pub(super) fn set_back(bench: &Bench<'_>) {
    let scheduled = Scheduled::new(bench, Missed::Each { at_most: 100 });
    scheduled.set(3);
    scheduled.have_run(bench, &[1, 2, 3]);
    scheduled.set(1);
    scheduled.have_run(bench, &[1, 2, 3]);
    scheduled.set(2);
    scheduled.have_run(bench, &[1, 2, 3]);
    scheduled.set(4);
    scheduled.have_run(bench, &[1, 2, 3, 4]);
}
