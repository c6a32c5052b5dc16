//! What ends when it is interrupted, or its session reset.

use code_worker::Limits;
use fourway::{AnyRuntime, Spawner, Task, execute::Model};

use super::{execute, in_each, name, ok, run, wait_for_output, wait_for_output_blocking};

pub(super) fn interruptions(rt: AnyRuntime) {
    // Each says that it has begun, and would never end.
    let endless = [
        "print('begun'); while (true) {}",
        "print('begun'); while (true) { try { for (;;) {} } catch {} finally { continue } }",
        "print('begun'); (function again() { Promise.resolve().then(again) })(); while (true) {}",
        "print('begun'); await null; while (true) {}",
        "await null; print('begun'); while (true) {}",
        "print('begun'); await new Promise(() => {})",
        "print('begun'); await sleep(1e9)",
        "print('begun'); (async () => { for (;;) await null })(); await new Promise(() => {})",
        "print('begun'); for (;;) await null",
        "print('begun'); for (;;) { try { await sleep(1e9) } catch {} }",
        "print('begun'); for (;;) Promise.reject()",
        "print('begun'); for (;;) Promise.reject().catch(() => {})",
        "print('begun'); const g = (async function* () {})(); for (;;) g.next.call([])",
        "print('begun'); for (;;) { try { await Promise.reject() } catch {} }",
    ];
    let blocking = [
        "print('begun'); sleep(1e9)",
        "print('begun'); for (;;) { try { sleep(1e9) } catch {} }",
        "print('begun'); input('?')",
        // It cannot be caught.
        "print('begun'); try { sleep(1e9) } catch {} 1",
        "print('begun'); try { input('?') } catch {} 1",
    ];
    in_each(&rt, Limits::default(), |rt, connection, model| {
        execute(rt, connection, "let x = 20, y = 5").unwrap();
        let blocking: &[&str] = if model == Model::Async {
            &[]
        } else {
            &blocking
        };
        for code in endless.iter().chain(blocking) {
            let execution = rt.spawn(connection.execute("main", code, 7));
            // On a runtime with one thread, code in place keeps that thread; the reader of a client
            // has its own.
            wait_for_output_blocking(connection);
            connection.interrupt("main", false);
            let (_, value) = execution.wait().unwrap();
            assert_eq!(name(value), "Interrupted", "{code}, {model}");
            assert_eq!(
                execute(rt, connection, "x + y"),
                ok("25"),
                "{code}, {model}"
            );
        }
    });
}

pub(super) fn interrupting_what_waits_in_line(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let first =
            rt.spawn(connection.execute("main", "print('begun'); await new Promise(() => {})", 1));
        let second = rt.spawn(connection.execute("main", "globalThis.ran = 1", 2));
        wait_for_output(rt, connection, "begun");
        connection.interrupt("main", true);
        for execution in [first, second] {
            assert_eq!(name(run(rt, execution).unwrap().1), "Interrupted");
        }
        assert_eq!(execute(rt, connection, "typeof ran"), ok("\"undefined\""));
    });
}

/// Its awaited result comes when another execution has the engine.
pub(super) fn what_was_interrupted_does_not_answer_for_the_next_one(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let code = "let release, p = new Promise((r) => release = r); 0";
        execute(rt, connection, code).unwrap();
        let waits = rt.spawn(connection.execute("main", "print('begun'); await p; 2", 1));
        wait_for_output(rt, connection, "begun");
        connection.interrupt("main", false);
        assert_eq!(name(run(rt, waits).unwrap().1), "Interrupted");
        let code = "release(); await sleep(20); 3";
        assert_eq!(execute(rt, connection, code), ok("3"), "{model}");
    });
}

/// Not even after a function that had ended already, and was not noticed yet.
pub(super) fn what_was_interrupted_does_not_go_on(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let code = "sleep(1).then(() => { globalThis.went = true }); await null; \
                    { const end = Date.now() + 30; while (Date.now() < end) {} } \
                    print('begun'); for (;;) {}";
        let endless = rt.spawn(connection.execute("main", code, 1));
        wait_for_output_blocking(connection);
        connection.interrupt("main", false);
        assert_eq!(name(endless.wait().unwrap().1), "Interrupted");
        let later = execute(rt, connection, "await sleep(30); typeof went");
        assert_eq!(later, ok("\"undefined\""), "{model}");
    });
}

pub(super) fn a_reset_ends_what_runs(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let endless =
            rt.spawn(connection.execute("main", "print('begun'); await new Promise(() => {})", 1));
        wait_for_output(rt, connection, "begun");
        connection.reset("main");
        assert_eq!(name(run(rt, endless).unwrap().1), "Closed");
        assert_eq!(execute(rt, connection, "typeof x"), ok("\"undefined\""));
    });
}
