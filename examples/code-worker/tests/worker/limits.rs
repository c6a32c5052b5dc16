//! Limits of time, output, depth, sessions and tasks.

use std::time::Duration;

use code_worker::{
    Limits,
    protocol::{Message, Reply, Request},
};
use fourway::{AnyRuntime, Spawner, execute::Model};
use fourway_testing::eventually;

use super::{execute, in_each, name, ok, run};

pub(super) fn time(rt: AnyRuntime) {
    let limits = Limits {
        time: Duration::from_millis(100),
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, model| {
        // On a slow machine even this code may reach the time limit.
        let at_last = |code| loop {
            let ended = execute(rt, connection, code);
            if ended.is_ok() || name(ended.clone()) != "TimeLimit" {
                break ended;
            }
        };
        at_last("var x = 1").unwrap();
        for code in [
            "while (true) {}",
            "await new Promise(() => {})",
            "await null; while (true) {}",
        ] {
            assert_eq!(
                name(execute(rt, connection, code)),
                "TimeLimit",
                "{code}, {model}"
            );
        }
        if model != Model::Async {
            assert_eq!(name(execute(rt, connection, "sleep(1e9)")), "TimeLimit");
        }
        assert_eq!(at_last("x"), ok("1"));
    });
}

pub(super) fn output(rt: AnyRuntime) {
    let limits = Limits {
        output: 1000,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, model| {
        for code in [
            "for (;;) print('text')",
            "for (;;) { try { print('text') } catch {} }",
            "for (;;) { print('text'); await null }",
        ] {
            assert_eq!(
                name(execute(rt, connection, code)),
                "OutputLimit",
                "{code}, {model}"
            );
            // There is no other reader, and writers would have to wait in the end.
            while connection.outbox().is_full() {
                run(rt, connection.outbox().pop());
            }
            assert_eq!(execute(rt, connection, "1"), ok("1"));
        }
    });
}

pub(super) fn output_that_nobody_takes_holds_up_nobody_else(rt: AnyRuntime) {
    let limits = Limits {
        output: usize::MAX,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, model| {
        let mut codes = vec!["for (;;) { print('x'.repeat(1000)); await null }"];
        if model != Model::Async {
            codes.push("for (;;) print('x'.repeat(1000))");
            codes.push("for (let i = 0; i < 300; i++) print('x'.repeat(1000)); 1");
        }
        for code in codes {
            let endless = rt.spawn(connection.execute("main", code, 1));
            eventually("the outbox is full", || connection.outbox().is_full());
            let other = run(rt, connection.execute("other", "1 + 1", 2)).1;
            assert_eq!(other, ok("2"));
            connection.interrupt("main", false);
            assert_eq!(name(run(rt, endless).unwrap().1), "Interrupted");
            while connection.outbox().is_full() {
                run(rt, connection.outbox().pop());
            }
        }
    });
}

pub(super) fn recursion(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        for code in [
            "function f() { return f() } f()",
            "await null; function g() { return g() } g()",
            "let deep = []; for (let i = 0; i < 1e5; i++) deep = [deep]; JSON.stringify(deep)",
        ] {
            let error = execute(rt, connection, code).unwrap_err();
            assert_eq!(error.name, "RangeError", "{error:?}");
        }
        assert_eq!(execute(rt, connection, "1"), ok("1"));
    });
}

pub(super) fn sessions(rt: AnyRuntime) {
    let limits = Limits {
        sessions: 2,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, _| {
        for session in ["a", "b"] {
            run(rt, connection.execute(session, "globalThis.x = 1", 1))
                .1
                .unwrap();
        }
        let third = connection.worker().connect();
        let refused = execute(rt, &third, "1").unwrap_err();
        assert_eq!(refused.name, "Refused");
        assert!(refused.message.contains('2'), "{refused}");
        connection.reset("a");
        eventually("its place is free", || connection.worker().sessions() == 1);
        assert_eq!(execute(rt, &third, "typeof x"), ok("\"undefined\""));
    });
}

// As for a request that was accepted at the same time as the one for the end.
pub(super) fn no_session_after_the_end(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        execute(rt, connection, "1").unwrap();
        let request = Request::Shutdown;
        connection.handle(Message { id: 7, request });
        let answer = run(rt, connection.outbox().pop()).expect("it is open");
        assert_eq!((answer.id, answer.reply), (Some(7), Reply::Ok));
        assert_eq!(name(execute(rt, connection, "1")), "Closed");
        assert_eq!(connection.status(), []);
        // The client is there still.
        eventually("the sessions end", || connection.worker().sessions() == 0);
    });
}

pub(super) fn tasks(rt: AnyRuntime) {
    let limits = Limits {
        tasks: 10,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, _| {
        let code = "let count = 0; try { for (;;) { setTimeout(() => {}, 1e9); count++ } } catch (e) { e.message }";
        assert_eq!(
            execute(rt, connection, code),
            ok("\"too many host functions at a time\"")
        );
        assert_eq!(execute(rt, connection, "count"), ok("10"));
        assert_eq!(connection.status()[0].left_behind, 10);
    });
}
