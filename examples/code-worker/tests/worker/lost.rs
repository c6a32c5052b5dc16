//! What does not end when it is to: it is given up, and others notice nothing.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use code_worker::{Functions, Limits, Worker};
use fourway::{
    AnyRuntime, Call, Runtime, Spawner,
    execute::{Executor, Model},
    std_thread::StdThread,
};
use fourway_testing::{AGES, eventually};

use super::{execute, name, ok, run};

/// The code of a host function, as the engine's own functions are guarded: it cannot be ended.
pub(super) fn what_does_not_end_is_lost_and_others_notice_nothing(rt: AnyRuntime) {
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let gate = Arc::new(Gate::default());
    let entered = gate.clone();
    let functions = Functions::standard().with("stuck", move |host, _| {
        entered.pass();
        host.rt.call_ready(Ok(serde_json::Value::Null)).boxed()
    });
    let executor = Executor::new(rt.clone(), Model::Route);
    let worker = Worker::with_functions(executor, limits, functions);
    let (connection, other) = (worker.connect(), worker.connect());
    for lost in 1..=4 {
        let stuck = rt.spawn(connection.execute("main", "var x = 1; stuck()", 1));
        let waits = rt.spawn(connection.execute("main", "x", 2));
        gate.wait_for(lost);
        connection.interrupt("main", false);
        assert_eq!(name(run(&rt, stuck).unwrap().1), "Lost");
        assert_eq!(name(run(&rt, waits).unwrap().1), "Closed");
        assert_eq!((worker.lost(), worker.sessions()), (lost, lost));
        // The name can be used again, and other sessions go on.
        let others = run(&rt, other.execute("other", "1 + 1", 3)).1;
        assert_eq!(others, ok("2"));
        other.reset("other");
        eventually("the other one is gone", || worker.sessions() == lost);
    }
    assert_eq!(name(execute(&rt, &connection, "1")), "Refused");
    assert_eq!(execute(&rt, &other, "2"), ok("2"));
    drop((connection, other));
    eventually("the others end", || worker.sessions() == 4);
    gate.open();
    eventually("the lost ones end", || {
        worker.sessions() == 0 && worker.lost() == 0
    });
}

/// Nobody interrupts it.
pub(super) fn what_does_not_end_at_its_limit_is_lost(rt: AnyRuntime) {
    let limits = Limits {
        time: Duration::from_secs(2),
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    for model in [Model::Route, Model::Thread] {
        let gate = Arc::new(Gate::default());
        let entered = gate.clone();
        let functions = Functions::standard().with("stuck", move |host, _| {
            entered.pass();
            host.rt.call_ready(Ok(serde_json::Value::Null)).boxed()
        });
        let executor = Executor::new(rt.clone(), model);
        let worker = Worker::with_functions(executor, limits, functions);
        let connection = worker.connect();
        let mut lost = 0;
        let mut loses = |code: &str| {
            // The limit is for the code alone, not for making the session.
            assert_eq!(execute(&rt, &connection, "1"), ok("1"));
            let stuck = rt.spawn(connection.execute("main", code, 1));
            lost += 1;
            gate.wait_for(lost);
            assert_eq!(name(run(&rt, stuck).unwrap().1), "Lost");
        };
        loses("stuck()");
        // In the other model it has a thread of the executor, which may be the only one.
        if model == Model::Thread {
            loses("await null; stuck()");
        }
        assert_eq!(worker.lost(), lost);
        gate.open();
        eventually("the lost ones end", || {
            worker.sessions() == 0 && worker.lost() == 0
        });
    }
}

/// The getters that completion and inspection call: here they write, which wakes the reader of the outbox,
/// and the reader's waker keeps the thread.
#[test]
fn completion_and_inspection_that_do_not_end_are_lost() {
    let rt = AnyRuntime::new(fourway_testing::std_thread());
    let limits = Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let worker = Worker::new(rt.clone(), Model::Route, limits);
    let gate = Arc::new(Gate::default());
    let waker = Waker::from(gate.clone());
    let clients = [worker.connect(), worker.connect()];
    for client in &clients {
        let code = "var o = { get x() { print('begun'); return {} } }; 1";
        assert_eq!(execute(&rt, client, code), ok("1"));
        let read = pin!(client.outbox().pop());
        assert!(read.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let [inspecting, completing] = &clients;
    let inspects = rt.spawn(inspecting.inspect("main", "o.x".to_owned(), 2));
    let completes = rt.spawn(completing.complete("main", "o.x.".to_owned(), 3));
    gate.wait_for(2);
    for client in &clients {
        client.interrupt("main", false);
    }
    assert_eq!(name(run(&rt, inspects).unwrap().map(Some)), "Lost");
    assert_eq!(run(&rt, completes).unwrap(), (4, Vec::new()));
    for client in &clients {
        assert!(client.status().is_empty(), "the name is free");
    }
    assert_eq!((worker.lost(), worker.sessions()), (2, 2));
    gate.open();
    eventually("the lost ones end", || worker.sessions() == 0);
}

/// A host function may end after its session: nobody settles its promise then. Its result keeps neither what
/// the functions have, nor the runtime.
#[test]
fn a_function_that_ends_after_its_session_keeps_nothing() {
    // One thread for the function, and one for the end of the session.
    let rt = StdThread::builder().worker_threads(2).build().unwrap();
    let rt = AnyRuntime::new(rt);
    let gate = Arc::new(Gate::default());
    let entered = gate.clone();
    let functions = Functions::none().with("late", move |host, _| {
        let gate = entered.clone();
        host.rt
            .call_with(move || async move {
                gate.pass();
                Ok("an answer".into())
            })
            .boxed()
    });
    let executor = Executor::new(rt.clone(), Model::Route);
    let worker = Worker::with_functions(executor, Limits::default(), functions);
    let connection = worker.connect();
    let execution = rt.spawn(connection.execute("main", "await late()", 1));
    gate.wait_for(1);
    drop(connection);
    assert!(run(&rt, execution).unwrap().1.is_err());
    eventually("the session is gone", || worker.sessions() == 0);
    gate.open();
    drop((worker, rt));
    eventually("the functions are gone", || Arc::strong_count(&gate) == 1);
}

/// Blocks threads until it is opened.
#[derive(Default)]
struct Gate {
    // How many threads have come, and whether the gate is open.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.pass();
    }
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        let passed = self
            .changed
            .wait_timeout_while(state, AGES, |(_, open)| !*open);
        assert!(!passed.unwrap().1.timed_out(), "nobody opens it");
    }

    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let come = self
            .changed
            .wait_timeout_while(state, AGES, |(come, _)| *come < count);
        assert!(!come.unwrap().1.timed_out(), "nobody comes");
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}
