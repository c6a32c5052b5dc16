//! The cases: [`cases`].

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{pending, ready},
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Bench, Body, Case, Manager, Outcome, Refusal, Settings, TestJob, Value};
use crate::{CancelOutcome, JobId, JobState, ManualClock, Missed};

/// All cases, in the order of their numbers.
#[must_use]
pub fn cases() -> &'static [Case] {
    macro_rules! cases {
        ($($number:literal $run:ident $name:literal)*) => {
            &[$(Case { number: $number, name: $name, run: $run }),*]
        };
    }
    cases! {
        "JB-1.1" at_once "submitting gives an id at once"
        "JB-1.2" full "a full queue refuses"
        "JB-1.3" exactly_once "no job is lost, none runs twice"
        "JB-1.4" limit "as many run at a time as the limit says"
        "JB-1.5" priority "priorities go first, and nothing starves"
        "JB-2.1" order "states come in order"
        "JB-2.2" unknown "an id that is not known is an answer"
        "JB-2.3" snapshots "a snapshot is of one moment"
        "JB-2.4" forgotten "a job that is forgotten is gone with its value"
        "JB-2.5" value_with_end "what has completed has its value"
        "JB-2.6" all_told "all who wait for a job are told of its end"
        "JB-3.1" cancel_queued "what waits and is cancelled never runs"
        "JB-3.2" cancel_future "a running future is dropped"
        "JB-3.3" cancel_closure "a running closure is asked, and holds its slot"
        "JB-3.4" cancel_late "what has ended says so"
        "JB-3.5" timeout "an attempt that takes too long is cancelled"
        "JB-4.1" failure "a failure keeps its error"
        "JB-4.2" panic "a panic is kept, and harms nobody else"
        "JB-4.3" again "a job is tried again, and knows its attempt"
        "JB-4.4" no_more "a job that goes on failing fails in the end"
        "JB-5.1" drain_all "a drain lets jobs end, and reports each"
        "JB-5.2" drain_cancels "a drain cancels what is left, and reports it"
        "JB-5.3" drain_twice "drains at the same time report the same"
        "JB-6.1" unique "a unique key is there once"
        "JB-6.2" unique_race "a unique key is there once, whoever is first"
        "JB-7.1" runs "each run of a schedule comes once"
        "JB-7.2" slept "runs that were missed are made up for"
        "JB-7.3" set_back "a clock that is set back doubles no run"
    }
}

// ---------------------------------------------------------------------------
// What the cases are made of

/// Counts, through its clones.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// Counts when it is dropped.
struct OnDrop(Counter);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Closures wait until it is open.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(SeqCst) {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Opens on drop, so that no closure waits after the case has ended.
impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Opens(Gate);

fn value(n: u64) -> Outcome {
    Ok(Value::new(n))
}

fn nothing() -> Body {
    Body::future(|_| ready(value(0)))
}

fn counts(ran: &Counter) -> Body {
    let ran = ran.clone();
    Body::closure(move |_| {
        ran.add();
        value(1)
    })
}

fn submit(manager: &dyn Manager, body: Body) -> JobId {
    accepted(manager.submit(TestJob::new(body)))
}

fn accepted(submitted: Result<JobId, Refusal>) -> JobId {
    submitted.unwrap_or_else(|refusal| panic!("a job was not accepted: {refusal:?}"))
}

fn alone() -> Settings {
    Settings {
        concurrency: 1,
        ..Settings::default()
    }
}

// ---------------------------------------------------------------------------
// JB-1

fn at_once(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let ids: Vec<_> = (0..100).map(|_| submit(&*manager, nothing())).collect();
    assert!(ids.is_sorted(), "ids are in the order of submission");
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        100,
        "an id twice"
    );
    for id in &ids {
        let state = manager.snapshot(*id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Queued), "it is known at once");
    }
    manager.pause(false);
    for id in ids {
        let end = bench.end(&*manager, id);
        assert_eq!(end.state, JobState::Completed);
    }
}

fn full(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        queue_limit: 3,
        ..Settings::default()
    });
    manager.pause(true);
    let ran = Counter::default();
    let first = submit(&*manager, counts(&ran));
    let mut accepted = vec![
        submit(&*manager, counts(&ran)),
        submit(&*manager, counts(&ran)),
    ];
    for _ in 0..3 {
        let refused = manager.submit(TestJob::new(counts(&ran)));
        assert_eq!(refused, Err(Refusal::Full), "there is no room");
    }
    manager.cancel(first);
    accepted.push(submit(&*manager, counts(&ran)));
    manager.pause(false);
    // Each of them: a refused job may have been counted before it was refused.
    for id in accepted {
        bench.end(&*manager, id);
    }
    assert_eq!(ran.get(), 3, "what was refused has run");
}

fn exactly_once(bench: &Bench<'_>) {
    const THREADS: usize = 4;
    const JOBS: usize = 100;
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    let ran: Vec<Counter> = (0..THREADS * JOBS).map(|_| Counter::default()).collect();
    let ids = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ran, ids) = (&ran, &ids);
            scope.spawn(move || {
                for ran in &ran[thread * JOBS..(thread + 1) * JOBS] {
                    let body = if thread % 2 == 0 {
                        counts(ran)
                    } else {
                        let ran = ran.clone();
                        Body::future(move |_| {
                            let ran = ran.clone();
                            async move {
                                fourway_core::yield_now().await;
                                ran.add();
                                value(1)
                            }
                        })
                    };
                    let id = submit(manager, body);
                    ids.lock().expect("no panics").push(id);
                }
            });
        }
    });
    let ids = ids.into_inner().expect("no panics");
    for id in &ids {
        assert_eq!(bench.end(manager, *id).state, JobState::Completed);
    }
    let wrong: Vec<_> = ran.iter().map(Counter::get).filter(|n| *n != 1).collect();
    assert_eq!(wrong, [0; 0], "jobs that did not run exactly once");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

fn limit(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        concurrency: 3,
        ..Settings::default()
    });
    let (now, most) = (Counter::default(), Counter::default());
    let ids: Vec<_> = (0..60)
        .map(|n| {
            let (now, most) = (now.clone(), most.clone());
            let enter = move || {
                let running = now.0.fetch_add(1, SeqCst) + 1;
                most.0.fetch_max(running, SeqCst);
                now.clone()
            };
            let body = if n % 2 == 0 {
                Body::closure(move |_| {
                    let now = enter();
                    thread::yield_now();
                    now.0.fetch_sub(1, SeqCst);
                    value(1)
                })
            } else {
                Body::future(move |_| {
                    let enter = enter.clone();
                    async move {
                        let now = enter();
                        for _ in 0..3 {
                            fourway_core::yield_now().await;
                        }
                        now.0.fetch_sub(1, SeqCst);
                        value(1)
                    }
                })
            };
            submit(&*manager, body)
        })
        .collect();
    for id in ids {
        bench.end(&*manager, id);
    }
    assert!(most.get() <= 3, "{} at a time", most.get());
    // And no fewer: the manager runs as many jobs as its limit allows.
    let gate = Gate::default();
    let _opens = Opens(gate.clone());
    let inside = Counter::default();
    for _ in 0..3 {
        let (gate, inside) = (gate.clone(), inside.clone());
        let body = Body::closure(move |_| {
            inside.add();
            gate.wait();
            value(1)
        });
        submit(&*manager, body);
    }
    bench.eventually("as many run as may", || inside.get() == 3);
}

fn priority(bench: &Bench<'_>) {
    let clock = ManualClock::new(SystemTime::now());
    let manager = bench.manager(Settings {
        clock: Some(clock.clone()),
        ..alone()
    });
    manager.pause(true);
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let add = |name: &'static str, priority: i8| {
        let order = order.clone();
        let mut job = TestJob::new(Body::closure(move |_| {
            order.lock().expect("no panics").push(name);
            value(1)
        }));
        job.priority = priority;
        accepted(manager.submit(job))
    };
    let mut ids = vec![add("old", 0), add("old too", 0)];
    // Two and a half levels.
    clock.advance(Duration::from_secs(25));
    ids.extend([add("low", -1), add("high", 2), add("highest", 3)]);
    manager.pause(false);
    for id in ids {
        bench.end(&*manager, id);
    }
    let order = order.lock().expect("no panics").clone();
    assert_eq!(order, ["highest", "old", "old too", "high", "low"]);
}

// ---------------------------------------------------------------------------
// JB-2

fn order(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let mut again = TestJob::new(Body::closure(|attempt| match attempt.number {
        1 => Err("not yet".into()),
        _ => value(1),
    }));
    again.attempts = 2;
    let mut slow = TestJob::new(Body::future(|_| pending()));
    slow.timeout = Some(Duration::from_millis(1));
    let completed = submit(&*manager, nothing());
    let cancelled = submit(&*manager, nothing());
    manager.cancel(cancelled);
    let failed = submit(&*manager, Body::closure(|_| Err("broken".into())));
    let again = accepted(manager.submit(again));
    let timed_out = accepted(manager.submit(slow));
    manager.pause(false);
    use JobState::{Cancelled, Completed, Failed, Queued, Retrying, Running, TimedOut};
    let expected = [
        (completed, vec![Queued, Running, Completed]),
        (cancelled, vec![Queued, Cancelled]),
        (failed, vec![Queued, Running, Failed]),
        (
            again,
            vec![Queued, Running, Retrying, Queued, Running, Completed],
        ),
        (timed_out, vec![Queued, Running, TimedOut]),
    ];
    for (id, states) in &expected {
        let last = states.last().expect("a job has states");
        assert_eq!(bench.end(&*manager, *id).state, *last);
    }
    let mut found: BTreeMap<JobId, Vec<JobState>> = BTreeMap::new();
    for transition in manager.transitions() {
        let states = found.entry(transition.id).or_default();
        assert_eq!(
            states.last().copied(),
            transition.from,
            "a state is missing"
        );
        states.push(transition.to);
    }
    assert_eq!(found, expected.into_iter().collect());
}

fn unknown(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let other = bench.manager(Settings::default());
    let foreign = submit(&*other, nothing());
    submit(&*manager, nothing());
    let strange = [
        foreign,
        JobId::from_bytes([0; 16]),
        JobId::from_bytes([0xff; 16]),
    ];
    for id in strange {
        assert_eq!(manager.snapshot(id), None);
        assert_eq!(manager.value(id), None);
        assert_eq!(manager.cancel(id), None);
    }
    bench.end(&*other, foreign);
}

fn snapshots(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for round in 0..50 {
        let mut job = TestJob::new(Body::future(|attempt| async move {
            fourway_core::yield_now().await;
            match attempt.number {
                3 => value(7),
                n => Err(format!("attempt {n}")),
            }
        }));
        job.attempts = if round % 2 == 0 { 3 } else { 2 };
        let id = accepted(manager.submit(job));
        bench.eventually("it ends", || {
            let snapshot = manager.snapshot(id).expect("it is known");
            let at = snapshot.attempt;
            match snapshot.state {
                JobState::Queued => assert!(at < 3, "{snapshot:?}"),
                JobState::Running => assert!((1..=3).contains(&at), "{snapshot:?}"),
                JobState::Retrying => assert!((1..3).contains(&at), "{snapshot:?}"),
                JobState::Completed => {
                    assert!(at == 3 && snapshot.error.is_none(), "{snapshot:?}");
                }
                JobState::Failed => {
                    assert_eq!((at, snapshot.error.as_deref()), (2, Some("attempt 2")));
                }
                state => panic!("{state}, and nobody said so"),
            }
            assert!(!snapshot.cancelling);
            snapshot.state.is_finished()
        });
        let end = manager.snapshot(id).expect("it is known");
        let expected = match round % 2 {
            0 => (3, JobState::Completed),
            _ => (2, JobState::Failed),
        };
        assert_eq!((end.attempt, end.state), expected);
    }
}

fn forgotten(bench: &Bench<'_>) {
    let manager = bench.manager(Settings {
        keep: 2,
        ..Settings::default()
    });
    let kept: Arc<Mutex<Vec<std::sync::Weak<u64>>>> = Arc::default();
    let run = || {
        let kept = kept.clone();
        let body = Body::closure(move |_| {
            let value = Value::new(1);
            kept.lock().expect("no panics").push(Arc::downgrade(&value));
            Ok(value)
        });
        let id = submit(&*manager, body);
        bench.end(&*manager, id);
        id
    };
    let ids: Vec<_> = (0..10).map(|_| run()).collect();
    for id in &ids[..8] {
        bench.eventually("it is forgotten", || manager.snapshot(*id).is_none());
        assert_eq!(manager.value(*id), None);
    }
    for id in &ids[8..] {
        bench.eventually("the last ones have a value", || {
            manager.value(*id).is_some()
        });
    }
    let left = || {
        let kept = kept.lock().expect("no panics");
        kept.iter().filter(|value| value.strong_count() > 0).count()
    };
    bench.eventually("the values of forgotten jobs are gone", || left() == 2);
}

fn value_with_end(bench: &Bench<'_>) {
    /// Its destructor takes a while: a job that completes before the destructor returns has no
    /// value until then.
    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for n in 0..10 {
        let held = Slow;
        let body = match n % 2 {
            0 => Body::closure(move |_| {
                let _held = &held;
                value(n)
            }),
            _ => Body::future(move |_| {
                let _held = &held;
                ready(value(n))
            }),
        };
        let id = submit(manager, body);
        assert_eq!(bench.end(manager, id).state, JobState::Completed);
        let look = || {
            for _ in 0..20 {
                let value = manager.value(id);
                assert_eq!(value.as_deref(), Some(&n), "its value, for each who asks");
            }
        };
        // First on this thread, where a failure is shown.
        look();
        thread::scope(|scope| {
            let others = [scope.spawn(look), scope.spawn(look)];
            let seen = others.map(|other| other.join().is_ok());
            assert_eq!(seen, [true; 2], "two asked for its value at the same time");
        });
    }
}

fn all_told(bench: &Bench<'_>) {
    const WAIT: usize = 4;
    let manager: Arc<dyn Manager> = bench.manager(Settings::default()).into();
    let gate = Gate::default();
    let opens = Opens(gate.clone());
    let body = Body::closure(move |_| {
        gate.wait();
        value(1)
    });
    let id = submit(&*manager, body);
    let (waits, told) = (Counter::default(), Counter::default());
    for _ in 0..WAIT {
        let (manager, waits, told) = (manager.clone(), waits.clone(), told.clone());
        // Not joined: a thread that is never told would block the case.
        thread::spawn(move || {
            waits.add();
            let end = manager.wait(id);
            if end.is_some_and(|end| end.state == JobState::Completed) {
                told.add();
            }
        });
    }
    bench.eventually("all begin to wait", || waits.get() == WAIT);
    // Most likely they wait by now. The job may also end before one of them waits.
    thread::sleep(Duration::from_millis(5));
    drop(opens);
    bench.eventually("each who waits is told", || told.get() == WAIT);
}

// ---------------------------------------------------------------------------
// JB-3

fn cancel_queued(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    manager.pause(true);
    let (ran, dropped) = (Counter::default(), Counter::default());
    let cancelled: Vec<_> = (0..20)
        .map(|_| {
            let (ran, held) = (ran.clone(), OnDrop(dropped.clone()));
            let body = Body::closure(move |_| {
                let _held = &held;
                ran.add();
                value(1)
            });
            submit(&*manager, body)
        })
        .collect();
    for id in &cancelled {
        assert_eq!(manager.cancel(*id), Some(CancelOutcome::Cancelled));
        let state = manager.snapshot(*id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Cancelled));
    }
    manager.pause(false);
    for _ in 0..20 {
        let later = submit(&*manager, nothing());
        assert_eq!(bench.end(&*manager, later).state, JobState::Completed);
    }
    assert_eq!(ran.get(), 0, "what was cancelled has run");
    for id in cancelled {
        manager.cancel(id);
        let state = manager.snapshot(id).map(|snapshot| snapshot.state);
        assert_eq!(state, Some(JobState::Cancelled));
    }
    drop(manager);
    bench.eventually("what they had captured is gone", || dropped.get() == 20);
}

fn cancel_future(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let (began, dropped) = (Counter::default(), Counter::default());
    let (begins, drops) = (began.clone(), dropped.clone());
    let body = Body::future(move |_| {
        let (begins, held) = (begins.clone(), OnDrop(drops.clone()));
        async move {
            let _held = held;
            begins.add();
            pending().await
        }
    });
    let id = submit(&*manager, body);
    let next = submit(&*manager, nothing());
    bench.eventually("it begins", || began.get() == 1);
    assert_eq!(manager.cancel(id), Some(CancelOutcome::Requested));
    let end = bench.end(&*manager, id);
    assert_eq!(end.state, JobState::Cancelled);
    assert_eq!(dropped.get(), 1, "it has ended, and its future is there");
    bench.end(&*manager, next);
}

fn cancel_closure(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let (gate, began, asked) = (Gate::default(), Counter::default(), Counter::default());
    let _opens = Opens(gate.clone());
    let (waits, begins, asks) = (gate.clone(), began.clone(), asked.clone());
    let body = Body::closure(move |attempt| {
        begins.add();
        waits.wait();
        if attempt.token.is_cancelled() {
            asks.add();
        }
        value(1)
    });
    let id = submit(&*manager, body);
    let ran = Counter::default();
    let next = submit(&*manager, counts(&ran));
    bench.eventually("it begins", || began.get() == 1);
    assert_eq!(manager.cancel(id), Some(CancelOutcome::Requested));
    for _ in 0..20 {
        let snapshot = manager.snapshot(id).expect("it is known");
        assert_eq!(snapshot.state, JobState::Running, "it has not ended");
        assert!(
            snapshot.cancelling,
            "it was asked to end, and shows nothing of it"
        );
        assert_eq!(ran.get(), 0, "the slot is held, and another job has run");
        thread::sleep(Duration::from_millis(1));
    }
    gate.open();
    assert_eq!(bench.end(&*manager, id).state, JobState::Cancelled);
    assert_eq!(asked.get(), 1, "its token was not cancelled");
    assert_eq!(bench.end(&*manager, next).state, JobState::Completed);
}

fn cancel_late(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let done = submit(&*manager, Body::closure(|_| value(5)));
    let failed = submit(&*manager, Body::closure(|_| Err("broken".into())));
    for (id, state) in [(done, JobState::Completed), (failed, JobState::Failed)] {
        assert_eq!(bench.end(&*manager, id).state, state);
        assert_eq!(manager.cancel(id), Some(CancelOutcome::TooLate(state)));
        assert_eq!(bench.end(&*manager, id).state, state, "nothing has changed");
    }
    bench.eventually("its value is there still", || {
        manager.value(done).as_deref() == Some(&5)
    });
}

fn timeout(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let dropped = Counter::default();
    let drops = dropped.clone();
    let mut future = TestJob::new(Body::future(move |_| {
        let held = OnDrop(drops.clone());
        async move {
            let _held = held;
            pending().await
        }
    }));
    let mut closure = TestJob::new(Body::closure(|attempt| {
        while !attempt.token.is_cancelled() {
            thread::sleep(Duration::from_micros(200));
        }
        value(1)
    }));
    for job in [&mut future, &mut closure] {
        job.timeout = Some(Duration::from_millis(5));
    }
    let future = accepted(manager.submit(future));
    let closure = accepted(manager.submit(closure));
    assert_eq!(bench.end(&*manager, future).state, JobState::TimedOut);
    assert_eq!(dropped.get(), 1);
    assert_eq!(bench.end(&*manager, closure).state, JobState::TimedOut);
    assert_eq!(manager.value(closure), None);
}

// ---------------------------------------------------------------------------
// JB-4

fn failure(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let id = submit(&*manager, Body::closure(|_| Err("the disk is full".into())));
    let end = bench.end(&*manager, id);
    assert_eq!(end.state, JobState::Failed);
    assert_eq!(end.error.as_deref(), Some("the disk is full"));
    assert_eq!(manager.value(id), None);
}

fn panic(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    // Quietly: the panic hook is not called.
    let closure = || -> Outcome { resume_unwind(Box::new("dropped a cup")) };
    let ids: Vec<_> = (0..20)
        .map(|n| match n % 2 {
            0 => submit(&*manager, Body::closure(move |_| closure())),
            _ => submit(&*manager, Body::future(move |_| async move { closure() })),
        })
        .collect();
    for id in ids {
        let end = bench.end(&*manager, id);
        assert_eq!(end.state, JobState::Failed);
        let error = end.error.unwrap_or_default();
        assert!(error.contains("dropped a cup"), "its error is `{error}`");
    }
    let after = submit(&*manager, Body::closure(|_| value(1)));
    assert_eq!(bench.end(&*manager, after).state, JobState::Completed);
}

fn again(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let sees = seen.clone();
    let mut job = TestJob::new(Body::future(move |attempt| {
        sees.lock().expect("no panics").push(attempt.number);
        ready(match attempt.number {
            3 => value(3),
            _ => Err("not yet".into()),
        })
    }));
    job.attempts = 5;
    let id = accepted(manager.submit(job));
    let end = bench.end(&*manager, id);
    assert_eq!((end.state, end.attempt), (JobState::Completed, 3));
    assert_eq!(*seen.lock().expect("no panics"), [1, 2, 3]);
    bench.eventually("it has its value", || {
        manager.value(id).as_deref() == Some(&3)
    });
}

fn no_more(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let ran = Counter::default();
    let count = ran.clone();
    let mut job = TestJob::new(Body::closure(move |attempt| {
        count.add();
        Err(format!("attempt {}", attempt.number))
    }));
    job.attempts = 4;
    let id = accepted(manager.submit(job));
    let end = bench.end(&*manager, id);
    assert_eq!((end.state, end.attempt), (JobState::Failed, 4));
    assert_eq!(end.error.as_deref(), Some("attempt 4"), "the last error");
    assert_eq!(ran.get(), 4);
}

// ---------------------------------------------------------------------------
// JB-5

fn drain_all(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let manager = &*manager;
    let (gate, began, ran) = (Gate::default(), Counter::default(), Counter::default());
    let opens = Opens(gate.clone());
    let begins = began.clone();
    let first = submit(
        manager,
        Body::closure(move |_| {
            begins.add();
            gate.wait();
            value(1)
        }),
    );
    let mut expected: BTreeMap<_, _> = (0..20)
        .map(|_| (submit(manager, counts(&ran)), JobState::Completed))
        .collect();
    let fails = submit(manager, Body::closure(|_| Err("broken".into())));
    expected.insert(first, JobState::Completed);
    expected.insert(fails, JobState::Failed);
    bench.eventually("it begins", || began.get() == 1);
    let fates = thread::scope(|scope| {
        let patience = bench.patience;
        let drain = scope.spawn(move || manager.drain(patience));
        let accepted = Mutex::new(Vec::new());
        bench.eventually("it accepts no more jobs", || {
            match manager.submit(TestJob::new(nothing())) {
                Ok(id) => {
                    accepted.lock().expect("no panics").push(id);
                    false
                }
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Closed);
                    true
                }
            }
        });
        let accepted = accepted.into_inner().expect("no panics");
        expected.extend(accepted.into_iter().map(|id| (id, JobState::Completed)));
        drop(opens);
        drain.join().expect("a drain does not panic")
    });
    let reported: BTreeMap<_, _> = fates.iter().copied().collect();
    assert_eq!(reported.len(), fates.len(), "each fate is reported once");
    for (id, state) in expected {
        assert_eq!(reported.get(&id), Some(&state), "the fate of {id}");
        let known = manager.snapshot(id).map(|snapshot| snapshot.state);
        assert_eq!(known, Some(state), "the fate is the job's state");
    }
    assert_eq!(ran.get(), 20, "a drain lets jobs end");
}

fn drain_cancels(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let began = Counter::default();
    let begins = began.clone();
    let stuck = submit(
        &*manager,
        Body::future(move |_| {
            begins.add();
            pending()
        }),
    );
    let ran = Counter::default();
    let waits: Vec<_> = (0..5).map(|_| submit(&*manager, counts(&ran))).collect();
    bench.eventually("it begins", || began.get() == 1);
    let fates: BTreeMap<_, _> = manager
        .drain(Duration::from_millis(5))
        .into_iter()
        .collect();
    for id in waits.into_iter().chain([stuck]) {
        assert_eq!(
            fates.get(&id),
            Some(&JobState::Cancelled),
            "the fate of {id}"
        );
        assert_eq!(bench.end(&*manager, id).state, JobState::Cancelled);
    }
    assert_eq!(ran.get(), 0);
}

fn drain_twice(bench: &Bench<'_>) {
    let manager = bench.manager(alone());
    let manager = &*manager;
    let (gate, began) = (Gate::default(), Counter::default());
    let opens = Opens(gate.clone());
    let begins = began.clone();
    let body = Body::closure(move |_| {
        begins.add();
        gate.wait();
        value(1)
    });
    let mut ids = vec![submit(manager, body)];
    bench.eventually("it begins", || began.get() == 1);
    ids.extend((0..5).map(|_| submit(manager, nothing())));
    let reports = thread::scope(|scope| {
        let patience = bench.patience;
        let drains = [(); 2].map(|()| scope.spawn(move || manager.drain(patience)));
        bench.eventually("it accepts no more jobs", || {
            let submitted = manager.submit(TestJob::new(nothing()));
            submitted.is_err_and(|refusal| refusal == Refusal::Closed)
        });
        drop(opens);
        drains.map(|drain| drain.join().expect("a drain does not panic"))
    });
    let reports = reports.map(|fates| fates.into_iter().collect::<BTreeMap<_, _>>());
    for id in ids {
        assert_eq!(reports[0].get(&id), Some(&JobState::Completed));
    }
    assert_eq!(reports[0], reports[1], "what two drains report");
}

// ---------------------------------------------------------------------------
// JB-6

fn unique(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let keyed = |ran: &Counter| {
        let mut job = TestJob::new(counts(ran));
        job.unique = Some("the report".into());
        accepted(manager.submit(job))
    };
    manager.pause(true);
    let (first, second) = (Counter::default(), Counter::default());
    let id = keyed(&first);
    for _ in 0..5 {
        assert_eq!(
            keyed(&second),
            id,
            "who submits again gets the one that is there"
        );
    }
    manager.pause(false);
    bench.end(&*manager, id);
    let next = keyed(&second);
    assert_ne!(next, id, "the first one has ended");
    bench.end(&*manager, next);
    assert_eq!((first.get(), second.get()), (1, 1));
}

fn unique_race(bench: &Bench<'_>) {
    let manager = bench.manager(Settings::default());
    let manager = &*manager;
    for round in 0..20 {
        manager.pause(true);
        let ran = Counter::default();
        let ids = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut job = TestJob::new(counts(&ran));
                    job.unique = Some(format!("round {round}"));
                    let id = accepted(manager.submit(job));
                    ids.lock().expect("no panics").insert(id);
                });
            }
        });
        manager.pause(false);
        let ids = ids.into_inner().expect("no panics");
        for id in &ids {
            bench.end(manager, *id);
        }
        assert_eq!(
            (ids.len(), ran.get()),
            (1, 1),
            "jobs, and how often they ran"
        );
    }
}

// ---------------------------------------------------------------------------
// JB-7

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

fn runs(bench: &Bench<'_>) {
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

fn slept(bench: &Bench<'_>) {
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

fn set_back(bench: &Bench<'_>) {
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
