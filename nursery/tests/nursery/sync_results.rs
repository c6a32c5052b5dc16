//! Results of sync nurseries, one by one.

use fourway_core::{AnyRuntime, Offload, Task, cancel};
use fourway_nursery::{NurseryError, SyncNursery, sync_nursery};
use fourway_testing::{AGES, Counter, Gate, each, panic_quietly};

use super::Result;

#[test]
fn they_come_as_the_children_end_and_more_may_be_spawned_meanwhile() {
    each(|rt| {
        let words = ["borrowed".to_owned()];
        let gate = Gate::default();
        let sum: Result<usize> = sync_nursery(&rt, |n| {
            let mut results = n.results();
            assert!(results.next().is_none() && results.is_empty());
            results.spawn(|| {
                gate.wait();
                Ok(1)
            });
            results.spawn(|| Ok(words[0].len()));
            assert_eq!(results.len(), 2);
            assert_eq!(results.next().unwrap().unwrap(), 8);
            assert!(results.try_next().is_none(), "the other one waits");
            results.spawn(|| Ok(2));
            assert_eq!(results.next().unwrap().unwrap(), 2);
            gate.open();
            assert_eq!(results.next().unwrap().unwrap(), 1);
            assert!(results.next().is_none());
            results.spawn(|| Ok(3));
            Ok(results.map(std::result::Result::unwrap).sum())
        });
        assert_eq!(sum.unwrap(), 3);
    });
}

#[test]
fn a_failure_is_a_result_whatever_the_policy() {
    each(|rt| {
        let ended: Result<()> = sync_nursery(&rt, |n| {
            let mut results = n.results::<()>();
            results.spawn(|| Err("fails".to_owned()));
            let error = results.next().unwrap().unwrap_err();
            let failure = error.failure().expect("the reader has it");
            assert_eq!(failure.error().map(String::as_str), Some("fails"));
            results.spawn(|| panic_quietly("boom"));
            let error = results.next().unwrap().unwrap_err();
            assert!(error.failure().is_some_and(|failure| failure.is_panic()));
            assert!(!n.token().is_cancelled());
            n.cancel();
            results.spawn(|| panic_quietly("started"));
            assert!(results.next().unwrap().unwrap_err().is_cancelled());
            Ok(())
        });
        ended.unwrap();
    });
}

#[test]
fn what_nobody_has_read_is_the_nurserys() {
    each(|rt| {
        let dropped = Counter::default();
        let error: NurseryError<String> = sync_nursery(&rt, |n| -> std::result::Result<(), _> {
            let results = n.results();
            // Dropped as an output, or with the closure if it has not begun when the other fails.
            let output = dropped.on_drop();
            results.spawn(move || Ok(output));
            results.spawn(|| Err("unread".to_owned()));
            n.spawn(|| {
                let slept = cancel::sleep(AGES);
                slept.map_err(|_| "cancelled".to_owned())
            });
            // The children may or may not have ended by now.
            drop(results);
            Ok(())
        })
        .unwrap_err();
        let first = error.first().and_then(|failure| failure.error());
        assert_eq!(first.map(String::as_str), Some("unread"));
        assert_eq!(dropped.get(), 1);
    });
}

/// The reader lends its place in the pool to closures that the children offload.
#[test]
fn in_a_pool_of_one() {
    let one = fourway_std_thread::StdThread::builder().offload_limit(1);
    let rt = AnyRuntime::new(one.build().unwrap());
    let inner = rt.clone();
    let closure = rt.offload(move || {
        SyncNursery::builder(&inner).run(|n| {
            let results = n.results();
            for i in 0..3 {
                let inner = inner.clone();
                results.spawn(move || inner.offload(move || i).wait().map_err(|e| e.to_string()));
            }
            Ok::<i32, String>(results.map(std::result::Result::unwrap).sum())
        })
    });
    assert_eq!(closure.wait().unwrap().unwrap(), 3);
}
