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

/// The namespace: who has written, in order.
type Written = Vec<u32>;
type Sessions = Session<Sim, Written>;

/// Who is in a turn.
#[derive(Clone, Default)]
struct Watch {
    writers: Counter,
    readers: Counter,
    /// Whose turn has come, in order.
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

fn session(rt: Sim) {
    let mut numbers = Numbers::new(rt.seed());
    let model = Model::ALL[numbers.below(3) as usize];
    let mut builder = Session::builder(Executor::new(rt.clone(), model));
    if numbers.one_in(3) {
        builder = builder.deadline(4 * MS);
    }
    let session: Sessions = builder.build(Vec::new());
    let watch = Watch::default();

    let mut handles: Vec<Execution<Sim, ()>> = Vec::new();
    let interrupter = {
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
    };
    for n in 0..12 {
        let handle = execute(&rt, &session, &watch, n, &mut numbers);
        match numbers.below(8) {
            0 => drop(handle),
            1 => handle.detach(),
            _ => handles.push(handle),
        }
        if numbers.one_in(4) {
            rt.block_on(rt.sleep(MS));
        }
    }
    for handle in handles {
        // Interrupted, too late or panicked: each has an answer.
        let _ = handle.wait();
    }
    // It may have been cancelled itself.
    let _ = interrupter.wait();
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
    assert!(
        written.iter().all(|n| writers.contains(n)),
        "{written:?} of {turns:?}"
    );
}

/// Every third one reads.
fn is_writer(n: u32) -> bool {
    n % 3 != 2
}

fn execute(
    rt: &Sim,
    session: &Sessions,
    watch: &Watch,
    n: u32,
    numbers: &mut Numbers,
) -> Execution<Sim, ()> {
    let (rt, watch) = (rt.clone(), watch.clone());
    let (pauses, panics) = (numbers.below(3) as u32, numbers.one_in(8));
    if !is_writer(n) {
        return session.read(async move |_| {
            let _inside = watch.read(n);
            for _ in 0..pauses {
                rt.sleep(MS).await;
            }
        });
    }
    let end = move |mut list: Scope<Sim, Written>| {
        if panics {
            panic_quietly("planned");
        }
        list.push(n);
    };
    match numbers.below(3) {
        0 => session.execute(move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            let token: CancellationToken = list.token().clone();
            for _ in 0..pauses {
                if token.sleep(MS).is_err() {
                    return;
                }
                rt.block_on(yield_now());
            }
            end(list);
        }),
        1 => session.execute(async move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            for _ in 0..pauses {
                rt.sleep(MS).await;
                yield_now().await;
            }
            end(list);
        }),
        _ => session.execute_short(move |list: Scope<Sim, Written>| {
            let _inside = watch.write(n);
            end(list);
        }),
    }
}

fn sessions(seeds: u64, faults: Faults) {
    let builder = Sim::builder().faults(faults).offload_limit(2);
    Check::default().seeds(seeds).with(builder).run(session);
}

#[test]
fn sessions_keep_their_order_under_many_schedules() {
    sessions(400, Faults::none());
}

#[test]
fn and_if_some_are_late() {
    sessions(100, Faults::none().slow(100, 3 * MS));
}

#[test]
fn and_if_tasks_are_cancelled_at_any_await() {
    sessions(1000, Faults::none().cancel(30, [""]));
}
