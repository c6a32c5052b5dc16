//! Schedules on every runtime, with a manual clock (JB-7, schedules).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs::{
    Clock, Filter, Job, JobContext, JobManager, JobState, ManualClock, Missed, Occurrence, Overlap,
    Schedule, ScheduleHandle, Unique,
};
use fourway_testing::{Gate, each, eventually, panic_quietly};

/// Some Sunday, at midnight, UTC.
const START: Duration = Duration::from_secs(1_795_910_400);
const MINUTE: Duration = Duration::from_secs(60);

struct Setup {
    clock: ManualClock,
    jobs: JobManager,
    ran: Arc<Mutex<Vec<u64>>>,
}

impl Setup {
    fn new(rt: &AnyRuntime) -> Self {
        let clock = ManualClock::new(UNIX_EPOCH + START);
        let jobs = JobManager::builder(rt).clock(clock.clone()).build();
        let ran = Arc::default();
        Self { clock, jobs, ran }
    }

    /// Notes which minute's run it is.
    fn note(&self, schedule: Schedule) -> ScheduleHandle {
        let ran = self.ran.clone();
        let make = move |run: Occurrence| {
            let ran = ran.clone();
            move || ran.lock().unwrap().push(minute(run.at))
        };
        self.jobs.schedule("note", schedule, make).unwrap()
    }

    /// The minutes whose runs have ended, once there are so many of them.
    fn ran(&self, runs: usize) -> Vec<u64> {
        eventually("the runs end", || {
            let ran = self.ran.lock().unwrap().len();
            assert!(ran <= runs, "{:?}", self.ran);
            ran == runs && self.jobs.overview().counts.unfinished() == 0
        });
        let mut ran = self.in_order();
        ran.sort_unstable();
        ran
    }

    fn in_order(&self) -> Vec<u64> {
        self.ran.lock().unwrap().clone()
    }

    fn advance(&self, minutes: u32) {
        self.clock.advance(minutes * MINUTE);
    }
}

fn minute(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH + START).unwrap().as_secs() / 60
}

fn each_minute() -> Schedule {
    Schedule::every(MINUTE)
}

#[test]
fn a_job_is_submitted_for_each_run() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let handle = setup.note(each_minute());
        for minute in 1..=5 {
            setup.advance(1);
            setup.ran(minute);
        }
        assert_eq!(setup.ran(5), [1, 2, 3, 4, 5]);
        // A job may have ended before the scheduler has noted that it started it.
        eventually("the last start is noted", || handle.status().started == 5);
        let status = handle.status();
        assert_eq!(status.missed, 0);
        assert_eq!(minute(status.next_at.unwrap()), 6);
        assert_eq!(minute(status.last.clone().unwrap().at), 5);
        eventually("it is noted", || {
            let last = handle.status().last.unwrap();
            last.state == Some(JobState::Completed)
        });
        let filter = Filter::new().label("schedule", "note");
        let page = setup.jobs.list(&filter);
        assert_eq!(page.jobs.len(), 5);
        assert_eq!(page.jobs[0].name.as_deref(), Some("note"));

        assert!(handle.remove() && !handle.remove());
        setup.advance(10);
        setup.jobs.submit(|| ()).unwrap().wait().unwrap();
        assert_eq!(setup.ran(5).len(), 5);
        assert!(setup.jobs.schedules().is_empty());
    });
}

#[test]
fn a_jump_of_the_clock_skips_and_doubles_no_run() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let handle = setup.note(
            each_minute()
                .missed(Missed::Each { at_most: 100 })
                .overlap(Overlap::Allow),
        );
        setup.advance(1);
        assert_eq!(setup.ran(1), [1]);
        // The machine has slept: the watch has not gone on.
        setup.clock.set(UNIX_EPOCH + START + 4 * MINUTE);
        assert_eq!(setup.ran(4), [1, 2, 3, 4]);
        // The clock is set back, and time passes.
        setup.clock.set(UNIX_EPOCH + START + 2 * MINUTE);
        setup.advance(1);
        setup.advance(1);
        setup.advance(1);
        assert_eq!(setup.ran(5), [1, 2, 3, 4, 5]);
        // As above.
        eventually("the last start is noted", || handle.status().started == 5);
    });
}

#[test]
fn missed_runs_are_made_up_for_by_one() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let handle = setup.note(each_minute().overlap(Overlap::Allow));
        setup.advance(10);
        assert_eq!(setup.ran(2), [9, 10]);
        assert_eq!(handle.status().missed, 8);
        setup.jobs.find_schedule("note").unwrap().remove();
        setup.note(each_minute().missed(Missed::Skip));
        setup.advance(10);
        assert_eq!(setup.ran(3), [9, 10, 20]);
    });
}

/// A manager with a schedule whose runs wait for a gate, of which the first has begun.
struct Overlapping {
    clock: ManualClock,
    jobs: JobManager,
    handle: ScheduleHandle,
    gate: Gate,
    begun: Arc<Mutex<Vec<u64>>>,
}

impl Overlapping {
    fn new(rt: &AnyRuntime, overlap: Overlap) -> Self {
        Self::with(rt, each_minute().overlap(overlap))
    }

    fn with(rt: &AnyRuntime, schedule: Schedule) -> Self {
        let Setup { clock, jobs, .. } = Setup::new(rt);
        let gate = Gate::default();
        let begun: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (wait, begins) = (gate.clone(), begun.clone());
        let make = move |run: Occurrence| {
            let (wait, begins) = (wait.clone(), begins.clone());
            Job::task(move |_: JobContext| {
                let (wait, begins) = (wait.clone(), begins.clone());
                async move {
                    begins.lock().unwrap().push(minute(run.at));
                    wait.pass().await;
                }
            })
        };
        let handle = jobs.schedule("slow", schedule, make).unwrap();
        let this = Self {
            clock,
            jobs,
            handle,
            gate,
            begun,
        };
        this.clock.advance(MINUTE);
        this.begun(&[1]);
        // The body may begin before the schedule has noted the run.
        this.running(1);
        this
    }

    fn running(&self, runs: usize) {
        eventually("the schedule knows its runs", || {
            self.handle.status().running.len() == runs
        });
    }

    fn begun(&self, minutes: &[u64]) {
        eventually("they begin", || *self.begun.lock().unwrap() == minutes);
    }

    /// A minute passes, and the schedule has seen it.
    fn minute(&self) {
        self.clock.advance(MINUTE);
        let now = minute_of(&self.clock);
        eventually("the schedule looks", || {
            minute(self.handle.status().next_at.unwrap()) > now
        });
    }
}

fn minute_of(clock: &ManualClock) -> u64 {
    minute(fourway_jobs::Clock::now(clock))
}

#[test]
fn a_run_is_skipped_while_the_one_before_runs() {
    each(|rt| {
        let slow = Overlapping::new(&rt, Overlap::Skip);
        slow.minute();
        slow.minute();
        eventually("both are skipped", || slow.handle.status().overlapped == 2);
        slow.gate.open();
        eventually("it ends", || slow.handle.status().running.is_empty());
        slow.minute();
        slow.begun(&[1, 4]);
    });
}

#[test]
fn a_run_is_skipped_while_the_one_before_is_tried_again() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let gate = Gate::default();
        let pass = gate.clone();
        let schedule = each_minute().overlap(Overlap::Skip);
        let make = move |_: Occurrence| {
            let gate = pass.clone();
            Job::task(move |job: JobContext| {
                let gate = gate.clone();
                async move {
                    if job.attempt() == 1 {
                        return Err("the first attempt fails");
                    }
                    gate.pass().await;
                    Ok(())
                }
            })
        };
        let handle = setup.jobs.schedule("fails", schedule, make).unwrap();
        setup.advance(1);
        eventually("it fails", || {
            let last = handle.status().last;
            last.is_some_and(|last| last.state == Some(JobState::Failed))
        });
        let first = handle.status().last.unwrap().job;
        setup.jobs.retry(first).unwrap();
        let status = handle.status();
        assert_eq!(status.running, [first]);
        assert_eq!(status.last.unwrap().state, None);
        setup.advance(1);
        eventually("the next is skipped", || handle.status().overlapped == 1);
        gate.open();
        eventually("it ends", || handle.status().running.is_empty());
        let last = handle.status().last.unwrap();
        assert_eq!((last.job, last.state), (first, Some(JobState::Completed)));
    });
}

#[test]
fn a_run_waits_for_the_one_before() {
    each(|rt| {
        let slow = Overlapping::new(&rt, Overlap::Wait);
        slow.minute();
        slow.minute();
        eventually("one is skipped", || slow.handle.status().overlapped == 1);
        assert_eq!(slow.begun.lock().unwrap().len(), 1);
        slow.gate.open();
        slow.begun(&[1, 3]);
    });
}

#[test]
fn a_run_takes_the_place_of_the_one_before() {
    each(|rt| {
        let slow = Overlapping::new(&rt, Overlap::Replace);
        let first = slow.handle.status().running[0];
        slow.minute();
        slow.begun(&[1, 2]);
        let status = slow.jobs.wait(first).wait().unwrap();
        assert_eq!(status.state, JobState::Cancelled);
        slow.running(1);
    });
}

#[test]
fn runs_that_are_allowed_to_run_side_by_side() {
    each(|rt| {
        let slow = Overlapping::new(&rt, Overlap::Allow);
        slow.minute();
        slow.begun(&[1, 2]);
        slow.running(2);
        slow.gate.open();
        eventually("both end", || slow.handle.status().running.is_empty());
    });
}

#[test]
fn a_schedule_that_is_paused_misses_nothing() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let handle = setup.note(each_minute());
        handle.pause();
        assert!(handle.status().paused && handle.status().next_at.is_none());
        setup.advance(10);
        handle.resume();
        setup.advance(1);
        assert_eq!(setup.ran(1), [11]);
        assert_eq!(handle.status().missed, 0);
    });
}

#[test]
fn a_run_whose_job_cannot_be_made_says_why() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let make = |run: Occurrence| {
            if minute(run.at) == 1 {
                fourway_testing::panic_quietly("no paper");
            }
            || ()
        };
        let handle = setup.jobs.schedule("print", each_minute(), make).unwrap();
        setup.advance(1);
        eventually("it is told", || {
            handle.status().error.as_deref() == Some("no paper")
        });
        setup.advance(1);
        eventually("the next one runs", || handle.status().started == 1);
        assert_eq!(handle.status().error, None);
        let again = setup.jobs.schedule("print", each_minute(), |_| || ());
        assert!(again.unwrap_err().is_name_taken());
    });
}

#[test]
fn schedules_end_with_their_manager() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let handle = setup.note(each_minute());
        setup.jobs.drain(MINUTE).wait();
        setup.advance(5);
        assert_eq!(handle.status().next_at, None);
        assert!(!handle.remove());
        let late = setup.jobs.schedule("late", each_minute(), |_| || ());
        assert!(late.unwrap_err().is_closed());
        assert!(setup.ran(0).is_empty());
    });
}

/// A clock that cannot be read for a while.
#[derive(Debug)]
struct Breaks {
    clock: ManualClock,
    is_broken: Arc<AtomicBool>,
    panics: Arc<AtomicUsize>,
}

impl Clock for Breaks {
    fn now(&self) -> SystemTime {
        if self.is_broken.load(Ordering::SeqCst) {
            self.panics.fetch_add(1, Ordering::SeqCst);
            panic_quietly("no time");
        }
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn step(&self) -> Option<Duration> {
        self.clock.step()
    }

    fn on_change(&self, waker: &Waker) {
        self.clock.on_change(waker);
    }
}

#[test]
fn a_clock_that_panics_is_not_asked_again_and_again() {
    each(|rt| {
        let clock = ManualClock::new(UNIX_EPOCH + START);
        let is_broken = Arc::new(AtomicBool::new(false));
        let panics = Arc::new(AtomicUsize::new(0));
        let breaks = Breaks {
            clock: clock.clone(),
            is_broken: is_broken.clone(),
            panics: panics.clone(),
        };
        let jobs = JobManager::builder(&rt).clock(breaks).build();
        let setup = Setup {
            clock: clock.clone(),
            jobs: jobs.clone(),
            ran: Arc::default(),
        };
        setup.note(each_minute());
        is_broken.store(true, Ordering::SeqCst);
        clock.advance(MINUTE);
        eventually("it panics", || panics.load(Ordering::SeqCst) > 0);
        is_broken.store(false, Ordering::SeqCst);
        eventually("all schedules go on with one that is added", || {
            let more = jobs.schedule("more", each_minute(), |_| || ()).unwrap();
            clock.advance(MINUTE);
            more.remove();
            !setup.ran.lock().unwrap().is_empty()
        });
        assert_eq!(panics.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_full_queue_holds_up_no_schedule() {
    each(|rt| {
        let clock = ManualClock::new(UNIX_EPOCH + START);
        let jobs = JobManager::builder(&rt)
            .clock(clock.clone())
            .queue_limit(1)
            .build();
        jobs.pause(None);
        let handle = jobs.schedule("it", each_minute(), |_| || ()).unwrap();
        let full = jobs.submit(|| ()).unwrap();
        clock.advance(MINUTE);
        eventually("its run is accepted", || handle.status().started == 1);
        jobs.resume(None);
        full.wait().unwrap();
        eventually("it ends", || handle.status().running.is_empty());
    });
}

#[test]
fn runs_that_are_made_up_for_come_one_after_the_other() {
    each(|rt| {
        for overlap in [
            Overlap::Skip,
            Overlap::Wait,
            Overlap::Replace,
            Overlap::Allow,
        ] {
            let setup = Setup::new(&rt);
            let missed = Missed::Each { at_most: 10 };
            let handle = setup.note(each_minute().missed(missed).overlap(overlap));
            setup.jobs.pause(None);
            // The last of eight is late by more than the tolerance.
            setup.clock.advance(8 * MINUTE + Duration::from_secs(31));
            let at_once = if overlap == Overlap::Allow { 8 } else { 1 };
            eventually("they start", || {
                let next = minute(handle.status().next_at.unwrap());
                next == 9 && handle.status().running.len() >= at_once
            });
            assert_eq!(handle.status().running.len(), at_once, "{overlap:?}");
            setup.jobs.resume(None);
            assert_eq!(setup.ran(8), [1, 2, 3, 4, 5, 6, 7, 8], "{overlap:?}");
            eventually("they are counted", || handle.status().started == 8);
            let status = handle.status();
            let counts = (status.started, status.missed, status.overlapped);
            assert_eq!(counts, (8, 0, 0), "{overlap:?}");
        }
    });
}

#[test]
fn runs_that_are_missed_while_one_runs_are_made_up_for_by_as_many_as_the_schedule_says() {
    each(|rt| {
        for (missed, last) in [
            (Missed::Once, vec![20]),
            (Missed::Each { at_most: 3 }, vec![18, 19, 20]),
        ] {
            let slow = Overlapping::with(&rt, each_minute().missed(missed));
            // The machine sleeps twice, for ten minutes or nine.
            for minutes in [10, 20] {
                let wakes = minutes * MINUTE + Duration::from_secs(31);
                slow.clock.set(UNIX_EPOCH + START + wakes);
                eventually("the schedule looks", || {
                    minute(slow.handle.status().next_at.unwrap()) > u64::from(minutes)
                });
            }
            eventually("the others are counted", || {
                slow.handle.status().missed == 19 - last.len() as u64
            });
            slow.gate.open();
            slow.begun(&[&[1], &last[..]].concat());
            slow.running(0);
        }
    });
}

#[test]
fn a_run_that_was_made_up_for_and_is_tried_again_is_as_any_other() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let make = |_: Occurrence| Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let handle = setup.jobs.schedule("fails", each_minute(), make).unwrap();
        setup.clock.advance(MINUTE + Duration::from_secs(31));
        eventually("it fails", || {
            let last = handle.status().last;
            last.is_some_and(|last| last.state == Some(JobState::Failed))
        });
        setup.jobs.pause(None);
        setup.jobs.retry(handle.status().last.unwrap().job).unwrap();
        setup.clock.advance(Duration::from_secs(29));
        eventually("the next is skipped", || handle.status().overlapped == 1);
    });
}

#[test]
fn a_pause_drops_the_runs_that_wait() {
    each(|rt| {
        let slow = Overlapping::new(&rt, Overlap::Wait);
        // Minute 2 is missed, and 3 is on time.
        slow.clock.advance(2 * MINUTE);
        eventually("the schedule looks", || {
            minute(slow.handle.status().next_at.unwrap()) == 4
        });
        slow.minute();
        eventually("4 waits in place of 3", || {
            slow.handle.status().overlapped == 1
        });
        slow.handle.pause();
        let status = slow.handle.status();
        assert_eq!((status.missed, status.overlapped), (1, 2));
        slow.handle.resume();
        slow.gate.open();
        slow.running(0);
        slow.minute();
        slow.begun(&[1, 5]);
    });
}

#[test]
fn a_run_that_is_made_up_for_pushes_out_none_that_comes_on_time() {
    each(|rt| {
        for overlap in [Overlap::Skip, Overlap::Wait, Overlap::Replace] {
            let setup = Setup::new(&rt);
            let handle = setup.note(each_minute().missed(Missed::Once).overlap(overlap));
            setup.advance(60);
            assert_eq!(setup.ran(2), [59, 60], "{overlap:?}");
            if overlap == Overlap::Replace {
                assert_eq!(setup.in_order(), [60, 59]);
            }
            let status = handle.status();
            assert_eq!((status.missed, status.overlapped), (58, 0), "{overlap:?}");
            // What comes on time still counts as before.
            setup.jobs.pause(None);
            setup.advance(1);
            eventually("it is there", || !handle.status().running.is_empty());
            setup.advance(1);
            if overlap == Overlap::Skip {
                eventually("it is skipped", || handle.status().overlapped == 1);
            }
            setup.jobs.resume(None);
        }
    });
}

#[test]
fn another_job_that_has_the_key_is_watched_as_the_run() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let gate = Gate::default();
        let wait = gate.clone();
        let other = Job::new(async move { wait.pass().await }).unique("key");
        let other = setup.jobs.submit(other).unwrap();
        let make = |_| Job::new(|| ()).unique("key").label("schedule", "mine");
        let handle = setup.jobs.schedule("s", each_minute(), make).unwrap();
        setup.advance(1);
        eventually("it is the run", || handle.status().last.is_some());
        let last = |handle: &ScheduleHandle| handle.status().last.unwrap();
        assert_eq!((last(&handle).job, last(&handle).state), (other.id(), None));
        assert_eq!(handle.status().running, [other.id()]);
        setup.advance(1);
        eventually("the next one overlaps", || handle.status().overlapped == 1);
        gate.open();
        other.wait().unwrap();
        assert_eq!(last(&handle).state, Some(JobState::Completed));
        assert_eq!(handle.status().running, []);
        // A job of its own has the label once.
        setup.advance(1);
        eventually("the next one runs", || handle.status().started == 2);
        let labelled = |value| {
            let filter = Filter::new().label("schedule", value);
            setup.jobs.list(&filter).jobs.len()
        };
        assert_eq!((labelled("s"), labelled("mine")), (1, 0));
    });
}

#[test]
fn a_key_that_an_ended_job_has_is_a_run_that_has_ended() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let daily = || Unique::key("daily").within(24 * 60 * MINUTE);
        let first = setup.jobs.submit(Job::new(|| ()).unique(daily())).unwrap();
        setup.jobs.wait(first.id()).wait().unwrap();
        let make = move |_| Job::new(|| ()).unique(daily());
        let handle = setup.jobs.schedule("s", each_minute(), make).unwrap();
        for runs in 1..=2 {
            setup.advance(1);
            eventually("it is the run", || handle.status().started == runs);
            let last = handle.status().last.unwrap();
            assert_eq!(
                (last.job, last.state),
                (first.id(), Some(JobState::Completed))
            );
            assert_eq!(handle.status().running, []);
        }
    });
}

#[test]
fn a_tolerance_without_limit_starts_a_limited_number_of_runs() {
    each(|rt| {
        let setup = Setup::new(&rt);
        let all = Schedule::every(Duration::from_secs(1))
            .since(UNIX_EPOCH)
            .missed(Missed::Skip)
            .tolerance(Duration::MAX);
        let handle = setup.jobs.schedule("s", all, |_| || ()).unwrap();
        eventually("those of the last thousand seconds", || {
            let status = handle.status();
            status.started + status.overlapped == 1000
        });
        assert_eq!(handle.status().missed, 1000, "no more are counted");
    });
}
