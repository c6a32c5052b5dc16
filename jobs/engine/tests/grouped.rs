//! Engines that block, off the runtime's threads and in groups.

use std::sync::{Arc, Mutex};

use fourway_core::{AnyRuntime, BlockOn, Shutdown};
use fourway_jobs_engine::{EngineError, EngineErrorKind, Group, Grouped};
use fourway_testing::{AGES, Gate, any, panic_quietly, poll_once, run};

fourway_testing::on_every_runtime!(erased
    many_requests_are_one_group
    what_failed_is_undone_alone
    a_group_that_does_not_commit_is_nobodys
    a_group_that_does_not_begin_runs_nothing
    a_panic_is_the_engines_fault
);

/// The data, and its copies from before the group and before the request.
#[derive(Default)]
struct Numbers {
    there: Arc<Mutex<Vec<u32>>>,
    now: Vec<u32>,
    before: Vec<u32>,
    groups: u32,
    fail_begin: bool,
    fail_commit: bool,
    /// Which method panics, once.
    panic_in: &'static str,
}

impl Numbers {
    fn may_panic(&mut self, method: &'static str) {
        if self.panic_in == method {
            self.panic_in = "";
            panic_quietly("in a group");
        }
    }
}

impl Group for Numbers {
    fn begin(&mut self) -> Result<(), EngineError> {
        self.groups += 1;
        self.may_panic("begin");
        if std::mem::take(&mut self.fail_begin) {
            return Err(EngineError::unavailable("no group today"));
        }
        self.now = self.there.lock().unwrap().clone();
        Ok(())
    }

    fn enter(&mut self) -> Result<(), EngineError> {
        self.may_panic("enter");
        self.before = self.now.clone();
        Ok(())
    }

    fn leave(&mut self, keep: bool) -> Result<(), EngineError> {
        self.may_panic("leave");
        if !keep {
            self.now = self.before.clone();
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        self.may_panic("commit");
        if std::mem::take(&mut self.fail_commit) {
            return Err(EngineError::unavailable("the disk is full"));
        }
        *self.there.lock().unwrap() = self.now.clone();
        Ok(())
    }

    fn undo(&mut self) {
        self.may_panic("undo");
        self.now.clear();
    }
}

fn numbers(rt: &AnyRuntime) -> (Grouped<Numbers>, Arc<Mutex<Vec<u32>>>) {
    let state = Numbers::default();
    let there = state.there.clone();
    (Grouped::new(rt.clone(), state, 1000), there)
}

fn many_requests_are_one_group(rt: AnyRuntime) {
    let (grouped, there) = numbers(&rt);
    let gate = Gate::default();
    let closed = gate.clone();
    let mut first = grouped.ask(move |_| {
        closed.wait();
        Ok(())
    });
    assert!(rt.block_on(poll_once(first.as_mut())).is_pending());
    // They are left while the first group is at work.
    let mut rest: Vec<_> = (0..100)
        .map(|n| {
            grouped.ask(move |state| {
                state.now.push(n);
                Ok(state.groups)
            })
        })
        .collect();
    for one in &mut rest {
        assert!(rt.block_on(poll_once(one.as_mut())).is_pending());
    }
    gate.open();
    run(&rt, first).unwrap();
    for one in rest {
        assert!(run(&rt, one).unwrap() <= 2);
    }
    assert_eq!(*there.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

fn what_failed_is_undone_alone(rt: AnyRuntime) {
    let (grouped, there) = numbers(&rt);
    let ask = |n: u32| {
        grouped.ask(move |state| {
            state.now.push(n);
            match n {
                2 => Err(EngineError::invalid("two")),
                3 => panic_quietly("three"),
                n => Ok(n),
            }
        })
    };
    let asked: Vec<_> = (1..=4).map(|n| run(&rt, ask(n)).is_ok()).collect();
    assert_eq!(asked, [true, false, false, true]);
    assert_eq!(*there.lock().unwrap(), [1, 4]);
}

fn a_group_that_does_not_commit_is_nobodys(rt: AnyRuntime) {
    let (grouped, there) = numbers(&rt);
    let ask = grouped.ask(|state| {
        state.fail_commit = true;
        state.now.push(1);
        Ok(())
    });
    assert!(run(&rt, ask).unwrap_err().is_unavailable());
    assert!(there.lock().unwrap().is_empty());
    run(
        &rt,
        grouped.ask(|state| {
            state.now.push(2);
            Ok(())
        }),
    )
    .unwrap();
    assert_eq!(*there.lock().unwrap(), [2]);
}

fn a_group_that_does_not_begin_runs_nothing(rt: AnyRuntime) {
    let (grouped, there) = numbers(&rt);
    run(
        &rt,
        grouped.ask(|state| {
            state.fail_begin = true;
            Ok(())
        }),
    )
    .unwrap();
    let ask = grouped.ask(|state| {
        state.now.push(1);
        Ok(())
    });
    let error = run(&rt, ask).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store cannot be used: no group today"
    );
    assert!(there.lock().unwrap().is_empty());
}

fn a_panic_is_the_engines_fault(rt: AnyRuntime) {
    let (grouped, there) = numbers(&rt);
    let push = |n| {
        grouped.ask(move |state: &mut Numbers| {
            state.now.push(n);
            Ok(())
        })
    };
    for method in ["request", "begin", "enter", "leave", "commit", "undo"] {
        let ask = match method {
            "request" => grouped.ask(|_| panic_quietly("in a request")),
            "begin" | "enter" => {
                // The group of this request has begun already: the next one panics.
                let next = grouped.ask(move |state| {
                    state.panic_in = method;
                    Ok(())
                });
                run(&rt, next).unwrap();
                push(1)
            }
            _ => grouped.ask(move |state| {
                state.now.push(1);
                state.panic_in = method;
                state.fail_commit = method == "undo";
                Ok(())
            }),
        };
        let error = run(&rt, ask).unwrap_err();
        let kind = match method {
            // Told why the group failed; the panic comes after that.
            "undo" => EngineErrorKind::Unavailable,
            _ => EngineErrorKind::Internal,
        };
        assert_eq!(error.kind(), kind, "{method}: {error}");
        assert!(!error.is_refusal());
        assert!(there.lock().unwrap().is_empty(), "{method}");
    }
    run(&rt, push(2)).unwrap();
    assert_eq!(*there.lock().unwrap(), [2]);
}

#[test]
fn a_runtime_that_is_shut_down_answers() {
    let rt = any();
    let (grouped, _) = numbers(&rt);
    run(&rt, grouped.ask(|_| Ok(()))).unwrap();
    rt.shutdown(AGES).unwrap();
    let other = any();
    let error = run(&other, grouped.ask(|_| Ok(()))).unwrap_err();
    assert!(error.is_closed());
}
