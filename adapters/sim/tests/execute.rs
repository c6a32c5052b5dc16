//! Sessions of `fourway-execute` under many schedules: closures, futures and short work on one
//! namespace, with readers, interruptions, deadlines, panics and handles that are dropped.

mod numbers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{BlockOn, CancellationToken, Spawner, Task, Timer, yield_now};
use fourway_execute::{Execution, Executor, Model, Scope, Session};
use fourway_sim::{Check, Faults, Sim};
use fourway_testing::{Counter, panic_quietly};
use numbers::Numbers;

const MS: Duration = Duration::from_millis(1);

/// The namespace: the writers, in order.
type Written = Vec<u32>;
type Sessions = Session<Sim, Written>;

/// The submissions that are in a turn.
#[derive(Clone, Default)]
struct Watch {
    writers: Counter,
    readers: Counter,
    /// The turns that have come, in order.
    turns: Arc<Mutex<Vec<u32>>>,
}

struct Inside(Watch, bool);

impl Watch {
    fn write(&self, n: u32) -> Inside {
        assert_eq!(self.writers.add(), 1, "two writers");
        assert_eq!(self.readers.get(), 0, "a writer beside a reader");
        self.turns.lock().unwrap().push(n);
        Inside(self.clone(), true)
    }

    fn read(&self, n: u32) -> Inside {
        self.readers.add();
        assert_eq!(self.writers.get(), 0, "a reader beside a writer");
        self.turns.lock().unwrap().push(n);
        Inside(self.clone(), false)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.1 {
            self.0.writers.sub();
        } else {
            self.0.readers.sub();
        }
    }
}

/// `disturbed`: tasks may be cancelled by a fault.
fn session(rt: Sim, disturbed: bool) {
    let mut numbers = Numbers::new(rt.seed());
    let model = Model::ALL[numbers.below(3) as usize];
    let mut builder = Session::builder(Executor::new(rt.clone(), model));
    let has_deadline = numbers.one_in(3);
    if has_deadline {
        builder = builder.deadline(4 * MS);
    }
    let session: Sessions = builder.build(Vec::new());
    let watch = Watch::default();

    let mut handles: Vec<(u32, bool, Execution<Sim, bool>)> = Vec::new();
    let interrupter = numbers.one_in(2).then(|| {
        let (session, inner) = (session.clone(), rt.clone());
        let after = numbers.below(20) as u32;
        let all = numbers.one_in(4);
        rt.spawn(async move {
            inner.sleep(MS * after).await;
            if all {
                session.interrupt_all()
            } else {
                session.interrupt()
            }
        })
    });
    let is_interrupted = interrupter.is_some();
    for n in 0..12 {
        let panics = is_writer(n) && numbers.one_in(8);
        let handle = execute(&rt, &session, &watch, n, panics, &mut numbers);
        match numbers.below(8) {
            0 => drop(handle),
            1 => handle.detach(),
            _ => handles.push((n, panics, handle)),
        }
        if numbers.one_in(4) {
            rt.block_on(rt.sleep(MS));
        }
    }
    let mut done = Vec::new();
    for (n, panics, handle) in handles {
        // Each has an answer, and one that says what has happened to it.
        match handle.wait() {
            Ok(has_written) => {
                assert!(!panics || !has_written, "{n}: its panic is lost");
                done.extend(has_written.then_some(n));
            }
            Err(error) if error.is_panic() => assert!(panics, "{n}: {error}"),
            Err(error) if error.is_deadline() => assert!(has_deadline, "{n}: {error}"),
            Err(error) => assert!(
                error.is_interrupted() && (is_interrupted || disturbed),
                "{n}: {error}"
            ),
        }
    }
    // An interruption is none of what comes after it.
    if let Some(Ok(_)) = interrupter.map(Task::wait) {
        let last = session.execute_short(|_: Scope<Sim, Written>| ()).wait();
        assert!(disturbed || last.is_ok(), "{last:?}");
    }
    let written = rt.block_on(session.close());
    assert_eq!(
        watch.writers.get() + watch.readers.get(),
        0,
        "somebody is left"
    );

    // Turns came in the order in which they were asked for, but for readers side by side; and
    // the namespace has the writers, in that order.
    let turns = watch.turns.lock().unwrap().clone();
    let writers: Vec<u32> = turns.iter().copied().filter(|n| is_writer(*n)).collect();
    assert!(writers.is_sorted(), "out of order: {turns:?}");
    for pair in turns.windows(2) {
        let both_read = !is_writer(pair[0]) && !is_writer(pair[1]);
        assert!(pair[0] < pair[1] || both_read, "out of order: {turns:?}");
    }
    let written = written.expect("nobody else has a scope");
    assert!(written.is_sorted(), "{written:?}");
    for n in done {
        assert!(written.contains(&n), "what {n} wrote is lost");
    }
    assert!(
        written.iter().all(|n| writers.contains(n)),
        "{written:?} of {turns:?}"
    );
}

/// Every third one reads.
fn is_writer(n: u32) -> bool {
    n % 3 != 2
}

/// Its output says whether it has written.
fn execute(
    rt: &Sim,
    session: &Sessions,
    watch: &Watch,
    n: u32,
    panics: bool,
    numbers: &mut Numbers,
) -> Execution<Sim, bool> {
    let (rt, watch) = (rt.clone(), watch.clone());
    let pauses = numbers.below(3) as u32;
    if !is_writer(n) {
        return session.read(async move |_| {
            let _inside = watch.read(n);
            for _ in 0..pauses {
                rt.sleep(MS).await;
            }
            false
        });
    }
    let end = move |mut list: Scope<Sim, Written>| {
        if panics {
            panic_quietly("planned");
        }
        list.push(n);
        true
    };
    match numbers.below(3) {
        0 => session.execute(move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            let token: CancellationToken = list.token().clone();
            for _ in 0..pauses {
                if token.sleep(MS).is_err() {
                    return false;
                }
                rt.block_on(yield_now());
            }
            end(list)
        }),
        1 => session.execute(async move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            for _ in 0..pauses {
                rt.sleep(MS).await;
                yield_now().await;
            }
            end(list)
        }),
        _ => session.execute_short(move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            end(list)
        }),
    }
}

fn sessions(seeds: u64, disturbed: bool, faults: Faults) {
    let builder = Sim::builder().faults(faults).offload_limit(2);
    let check = Check::default().seeds(seeds).with(builder);
    check.run(move |rt| session(rt, disturbed));
}

#[test]
fn sessions_keep_their_order_under_many_schedules() {
    sessions(400, false, Faults::none());
}

#[test]
fn and_if_some_are_late() {
    sessions(100, false, Faults::none().slow(100, 3 * MS));
}

#[test]
fn and_if_tasks_are_cancelled_at_any_await() {
    sessions(1000, true, Faults::none().cancel(30, [""]));
}
