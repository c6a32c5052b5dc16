//! The cases: [`cases`].

mod accepting;
mod cancelling;
mod draining;
mod failing;
mod schedules;
mod states;
mod unique;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{Body, Case, Manager, Outcome, Refusal, Settings, TestJob, Value};
use crate::JobId;

/// All cases, in the order of their numbers.
#[must_use]
pub fn cases() -> &'static [Case] {
    macro_rules! cases {
        ($($number:literal $run:path, $name:literal)*) => {
            &[$(Case { number: $number, name: $name, run: $run }),*]
        };
    }
    cases! {
        "JB-1.1" accepting::at_once, "submitting gives an id at once"
        "JB-1.2" accepting::full, "a full queue refuses"
        "JB-1.3" accepting::exactly_once, "no job is lost, none runs twice"
        "JB-1.4" accepting::limit, "as many run at a time as the limit says"
        "JB-1.5" accepting::priority, "priorities go first, and nothing starves"
        "JB-2.1" states::order, "states come in order"
        "JB-2.2" states::unknown, "an id that is not known is an answer"
        "JB-2.3" states::snapshots, "a snapshot is of one moment"
        "JB-2.4" states::forgotten, "a job that is forgotten is gone with its value"
        "JB-2.5" states::value_with_end, "what has completed has its value"
        "JB-2.6" states::all_told, "all who wait for a job are told of its end"
        "JB-3.1" cancelling::cancel_queued, "what waits and is cancelled never runs"
        "JB-3.2" cancelling::cancel_future, "a running future is dropped"
        "JB-3.3" cancelling::cancel_closure, "a running closure is asked, and holds its slot"
        "JB-3.4" cancelling::cancel_late, "what has ended says so"
        "JB-3.5" cancelling::timeout, "an attempt that takes too long is cancelled"
        "JB-4.1" failing::failure, "a failure keeps its error"
        "JB-4.2" failing::panic, "a panic is kept, and harms nobody else"
        "JB-4.3" failing::again, "a job is tried again, and knows its attempt"
        "JB-4.4" failing::no_more, "a job that goes on failing fails in the end"
        "JB-5.1" draining::drain_all, "a drain lets jobs end, and reports each"
        "JB-5.2" draining::drain_cancels, "a drain cancels what is left, and reports it"
        "JB-5.3" draining::drain_twice, "drains at the same time report the same"
        "JB-6.1" unique::unique, "a unique key is there once"
        "JB-6.2" unique::unique_race, "a unique key is there once, whoever is first"
        "JB-7.1" schedules::runs, "each run of a schedule comes once"
        "JB-7.2" schedules::slept, "runs that were missed are made up for"
        "JB-7.3" schedules::set_back, "a clock that is set back doubles no run"
    }
}

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
            // A manager under test brings its own runtime, so that a look from time to time needs
            // nothing of it. Cases have a watchdog.
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
