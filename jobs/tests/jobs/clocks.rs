//! Times by the clock on the wall.

use std::time::{Duration, SystemTime};

use fourway_core::Call;
use fourway_jobs::{Clock, Job, JobManager, JobState, ManualClock};
use fourway_testing::each;

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A clock that says nothing of its jumps, as the system's.
#[derive(Debug)]
struct Jumping(ManualClock);

impl Clock for Jumping {
    fn now(&self) -> SystemTime {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[test]
fn a_start_time_is_that_of_the_clock_as_it_was_set_last() {
    each(|rt| {
        let clock = ManualClock::new(start());
        let jumping = Jumping(clock.clone());
        let jobs = JobManager::builder(&rt).clock(jumping).build();
        // Nothing waits for the time, and no step has passed: nobody has seen the jump.
        clock.set(start() - 2 * HOUR);
        let later = jobs.submit(Job::new(|| ()).start_at(start() - HOUR));
        let later = later.unwrap();
        assert_eq!(later.state(), Some(JobState::Scheduled));
        clock.advance(HOUR);
        later.wait().unwrap();
    });
}

#[test]
fn the_times_of_jobs_follow_a_jump_within_a_step() {
    each(|rt| {
        let clock = ManualClock::new(start());
        let jumping = Jumping(clock.clone());
        let step = jumping.step().unwrap();
        let jobs = JobManager::builder(&rt)
            .clock(jumping)
            .keep(10, Duration::MAX)
            .build();
        for hours in [8, 2] {
            let set = start() + hours * HOUR;
            clock.set(set);
            // Seen at the end of a step, although nothing of the manager waits for the time.
            clock.advance(step);
            let job = jobs.submit(|| ()).unwrap().id();
            let status = jobs.wait(job).wait().unwrap();
            assert_eq!(status.started_at, Some(set + step));
        }
    });
}

#[test]
fn the_times_of_jobs_are_those_of_a_clock_that_was_set_forward() {
    each(|rt| {
        let clock = ManualClock::new(start());
        let jobs = JobManager::builder(&rt).clock(clock.clone()).build();
        for hours in [8, 16] {
            let now = start() + hours * HOUR;
            clock.set(now);
            for _ in 0..3 {
                let job = jobs.submit(|| ()).unwrap().id();
                let status = jobs.wait(job).wait().unwrap();
                assert_eq!(status.started_at, Some(now));
                assert_eq!(status.ended_at, Some(now));
            }
        }
    });
}
