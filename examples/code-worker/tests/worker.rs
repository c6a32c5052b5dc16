//! Interruption, limits, input, work left behind: on every runtime, in every model.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use code_worker::{
    CellError, Connection, Functions, Limits, Worker,
    protocol::{Message, Reply, Request},
};
use fourway::{
    AnyRuntime, Call, Compose, Runtime, Shutdown, Spawner, Task, Timer,
    execute::{Executor, Model},
    std_thread::StdThread,
};
use fourway_testing::{AGES, eventually, on_every_runtime, run};

type Value = Result<Option<String>, CellError>;

on_every_runtime!(erased
    interruptions
    interrupting_what_waits_in_line
    time
    memory
    code_in_full_memory_is_compiled
    code_that_compiles_in_full_memory_ends
    a_session_goes_on_after_values_that_are_freed_at_its_end
    a_session_goes_on_after_an_array_that_fills_its_memory
    what_is_left_behind_in_full_memory_goes_on
    what_is_left_behind_and_fills_the_memory_is_told
    completion_and_inspection_in_full_memory_discard_nothing
    completion_that_fills_the_memory_is_told
    output
    output_that_nobody_takes_holds_up_nobody_else
    recursion
    sessions
    no_session_after_the_end
    tasks
    what_does_not_end_is_lost_and_others_notice_nothing
    what_does_not_end_at_its_limit_is_lost
    input
    what_is_left_behind_goes_on_between_executions
    what_was_interrupted_does_not_answer_for_the_next_one
    what_was_interrupted_does_not_go_on
    errors_that_no_code_takes_are_bounded_and_end_with_an_interruption
    errors_in_the_report_of_others_are_told_next
    a_reset_ends_what_runs
    completion_and_inspection
    what_would_block_is_refused_in_place
);

fn in_each(rt: &AnyRuntime, limits: Limits, test: impl Fn(&AnyRuntime, &Connection, Model)) {
    for model in Model::ALL {
        eprintln!("in {model}");
        let worker = Worker::new(rt.clone(), model, limits);
        test(rt, &worker.connect(), model);
        // All sessions end with their client.
        eventually("the sessions end", || worker.sessions() == 0);
    }
}

fn execute(rt: &AnyRuntime, connection: &Connection, code: &str) -> Value {
    run(rt, connection.execute("main", code, 1)).1
}

fn ok(text: &str) -> Value {
    Ok(Some(text.to_owned()))
}

fn name(value: Value) -> String {
    value.expect_err("an error").name
}

/// Waits for a line of output, so that the code is known to run.
fn wait_for_output(rt: &AnyRuntime, connection: &Connection, expected: &str) {
    loop {
        let answer = run(rt, connection.outbox().pop()).expect("it is open");
        if matches!(&answer.reply, Reply::Output { text, .. } if text.trim() == expected) {
            return;
        }
    }
}

fn interruptions(rt: AnyRuntime) {
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

/// Without the runtime's threads, all of which the code may have.
fn wait_for_output_blocking(connection: &Connection) {
    use std::{
        pin::pin,
        sync::Arc,
        task::{Context, Poll, Wake},
        thread::{Thread, current, park_timeout},
    };
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(current())).into();
    let mut cx = Context::from_waker(&waker);
    loop {
        let mut pop = pin!(connection.outbox().pop());
        let answer = loop {
            match pop.as_mut().poll(&mut cx) {
                Poll::Ready(answer) => break answer.expect("it is open"),
                Poll::Pending => park_timeout(AGES),
            }
        };
        if matches!(answer.reply, Reply::Output { .. }) {
            return;
        }
    }
}

fn interrupting_what_waits_in_line(rt: AnyRuntime) {
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

fn time(rt: AnyRuntime) {
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

fn memory(rt: AnyRuntime) {
    let limits = Limits {
        memory: 4 * 1024 * 1024,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, model| {
        execute(rt, connection, "let x = 1").unwrap();
        let other = || run(rt, connection.execute("other", "1 + 1", 2)).1;
        assert_eq!(other(), ok("2"));
        for code in [
            "const a = []; for (;;) a.push('x'.repeat(10000) + a.length)",
            "{ await null; const b = []; for (;;) b.push({}) }",
            "'x'.repeat(100000000)",
        ] {
            assert_eq!(
                name(execute(rt, connection, code)),
                "MemoryLimit",
                "{code}, {model}"
            );
            assert_eq!(other(), ok("2"));
        }
        // The session may keep its memory; a reset frees it.
        connection.reset("main");
        assert_eq!(execute(rt, connection, "1"), ok("1"));
    });
}

/// The engine's compiler does not survive each refused allocation.
fn code_in_full_memory_is_compiled(rt: AnyRuntime) {
    let limits = Limits {
        memory: 4 * 1024 * 1024,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, _| {
        let mut last = String::new();
        for round in 0..60 {
            // It leaves less of it, each time.
            let fill = format!(
                "var kept{round} = []; for (;;) kept{round}.push({{}}, 'x'.repeat({round}) + {round})"
            );
            // Sometimes the engine's own error of that.
            let filled = name(execute(rt, connection, &fill));
            assert!(
                ["MemoryLimit", "InternalError"].contains(&filled.as_str()),
                "{filled}"
            );
            let more =
                "{ const b = [1, 2, { a: 1 }]; function f(x) { return x + 1 } } ".repeat(round % 7);
            for code in [
                format!("{{ {more} 1 }}"),
                format!("{{ await null; {more} 1 }}"),
            ] {
                last = match execute(rt, connection, &code) {
                    Ok(_) => String::new(),
                    Err(error) => error.name,
                };
            }
        }
        assert!(
            ["", "MemoryLimit", "InternalError", "SyntaxError"].contains(&last.as_str()),
            "{last}"
        );
        connection.reset("main");
        assert_eq!(execute(rt, connection, "1"), ok("1"));
    });
}

/// By `eval` and the like. Before, that crashed the engine, and so the process.
fn code_that_compiles_in_full_memory_ends(rt: AnyRuntime) {
    let limits = Limits {
        memory: 1024 * 1024,
        ..Limits::default()
    };
    let source = "({ a: [1, 2], b: function f(x) { return x + `${x}` + /a+/g }, async *g() { yield await 1 }, \
                  c: class A extends Array { #x = 1; static { } get y() { return this.#x } } })";
    let compilers = [
        format!("eval('{source}')"),
        format!("(0, eval)('{source}')"),
        format!("new Function('return {source}')"),
    ];
    in_each(&rt, limits, |rt, connection, model| {
        for round in 0..12 {
            for compile in &compilers {
                // Somewhat more memory for each attempt. The array does not grow.
                let code = format!(
                    "{{ const kept = Array(30000).fill(0); let n = 0; \
                     try {{ for (;;) {{ kept[n] = 'x'.repeat({round}) + n; n++ }} }} catch {{}} \
                     for (let i = 0; i < 300; i++) {{ try {{ {compile} }} catch {{}} kept[--n] = 0 }} }}"
                );
                if let Err(error) = execute(rt, connection, &code) {
                    assert_eq!(error.name, "MemoryLimit", "{model}: {error:?}");
                }
            }
        }
        assert_eq!(execute(rt, connection, "1 + 1"), ok("2"), "{model}");
        assert_eq!(
            execute(rt, connection, "await null; eval('1 + 2')"),
            ok("3"),
            "{model}"
        );
    });
}

/// An array that has no room grows once more, from the reserve, and exists then.
fn a_session_goes_on_after_an_array_that_fills_its_memory(rt: AnyRuntime) {
    let limits = Limits {
        memory: 16 * 1024 * 1024,
        ..Limits::default()
    };
    in_each(&rt, limits, |rt, connection, model| {
        for round in 0..3 {
            let code = "globalThis.a = []; for (;;) a.push(a.length)";
            let filled = name(execute(rt, connection, code));
            assert_eq!(filled, "MemoryLimit", "{model}, {round}");
            let length = execute(rt, connection, "a.length > 100000");
            assert_eq!(length, ok("true"), "{model}, {round}");
        }
        // It does so once, however many executions fill it up.
        for round in 0..3 {
            let filled = name(execute(rt, connection, "for (;;) a.push(a.length)"));
            assert_eq!(filled, "MemoryLimit", "{model}, {round}");
        }
        assert_eq!(execute(rt, connection, "a = null; 1"), ok("1"), "{model}");
        let room = execute(rt, connection, "'x'.repeat(8e6).length");
        assert_eq!(room, ok("8000000"), "{model}");
    });
}

/// To free a registered value makes a job, which takes memory when there is none.
fn a_session_goes_on_after_values_that_are_freed_at_its_end(rt: AnyRuntime) {
    in_each(&rt, small(), |rt, connection, model| {
        for round in 0..3 {
            let code = "{ const registry = new FinalizationRegistry(() => {}); globalThis.kept = registry; \
                        for (let i = 0; i < 50; i++) { \
                            const e = {}; registry.register(e, i); Promise.reject(e); \
                        } \
                        const s = 'x'.repeat(4000); globalThis.b = []; for (let i = 0;; i++) b[i] = s + i }";
            let filled = name(execute(rt, connection, code));
            assert_eq!(filled, "MemoryLimit", "{model}, {round}");
            let next = execute(rt, connection, "1 + 1");
            assert_eq!(next, ok("2"), "{model}, {round}");
        }
    });
}

fn small() -> Limits {
    Limits {
        memory: 1024 * 1024,
        ..Limits::default()
    }
}

/// Less memory is left than this code leaves to `TAKES`.
const FILLS: &str = "var kept = [1, 2, 3].map(() => 'x'.repeat(300000)); ";
/// A function that takes about half a megabyte, in small blocks.
const TAKES: &str =
    "function take() { const b = []; for (let i = 0; i < 4000; i++) b.push({ i }); return b } ";

/// The next output, with its stream.
fn next_output(rt: &AnyRuntime, connection: &Connection) -> (String, String) {
    let answer = run(rt, rt.timeout(AGES, connection.outbox().pop()));
    match answer.expect("it is told").expect("it is open").reply {
        Reply::Output { stream, text } => (stream, text),
        other => panic!("{other:?}"),
    }
}

/// Executes code that leaves something behind which begins after these milliseconds and fills the memory.
fn leave_behind(rt: &AnyRuntime, connection: &Connection, code: impl Fn(u32) -> String) {
    for round in 0..12 {
        let ended = execute(rt, connection, &code(1 << round));
        if ended == ok("0") {
            return;
        }
        // On a slow machine it begins before the execution has ended: then later.
        assert_eq!(name(ended), "MemoryLimit");
        connection.reset("main");
    }
    panic!("it begins before the execution has ended, each time");
}

fn what_is_left_behind_in_full_memory_goes_on(rt: AnyRuntime) {
    in_each(&rt, small(), |rt, connection, _| {
        leave_behind(rt, connection, |time| {
            format!(
                "{TAKES} {FILLS} setTimeout(() => {{ take(); print('taken') }}, {time}); await null; 0"
            )
        });
        let told = next_output(rt, connection);
        assert_eq!(told, ("out".to_owned(), "taken\n".to_owned()));
    });
}

/// No request has this error as its reply.
fn what_is_left_behind_and_fills_the_memory_is_told(rt: AnyRuntime) {
    in_each(&rt, small(), |rt, connection, _| {
        leave_behind(rt, connection, |time| {
            format!(
                "setTimeout(() => {{ const b = []; for (;;) b.push({{}}) }}, {time}); await null; 0"
            )
        });
        let (stream, text) = next_output(rt, connection);
        assert_eq!(stream, "err");
        assert!(text.starts_with("Uncaught MemoryLimit: "), "{text}");
        assert_eq!(execute(rt, connection, "1 + 1"), ok("2"));
    });
}

fn completion_and_inspection_in_full_memory_discard_nothing(rt: AnyRuntime) {
    in_each(&rt, small(), |rt, connection, model| {
        for inspects in [false, true] {
            // The getter is called, as it is within the path. A job is always left.
            let code = format!(
                "{TAKES} var delta = {{ get epsilon() {{ take(); return {{ zeta: 1 }} }} }}; \
                 var ticks = 0; (async () => {{ for (;;) {{ ticks++; await null }} }})(); {FILLS} 0"
            );
            assert_eq!(execute(rt, connection, &code), ok("0"));
            if inspects {
                let inspected = run(
                    rt,
                    connection.inspect("main", "delta.epsilon".to_owned(), 1),
                );
                assert_eq!(inspected.unwrap(), "{ zeta: 1 }", "{model}");
            } else {
                let completed = connection.complete("main", "delta.epsilon.z".to_owned(), 1);
                assert_eq!(run(rt, completed).1, ["zeta"], "{model}");
            }
            let ticks = || {
                let shown = execute(rt, connection, "ticks").unwrap().unwrap();
                shown.parse::<u64>().unwrap()
            };
            let before = ticks();
            eventually("the work goes on", || ticks() > before);
            connection.reset("main");
        }
    });
}

fn completion_that_fills_the_memory_is_told(rt: AnyRuntime) {
    in_each(&rt, small(), |rt, connection, _| {
        let code = "var delta = { get epsilon() { const b = []; for (;;) b.push({}) } }; 0";
        assert_eq!(execute(rt, connection, code), ok("0"));
        let completed = connection.complete("main", "delta.epsilon.z".to_owned(), 1);
        assert!(run(rt, completed).1.is_empty());
        let (stream, text) = next_output(rt, connection);
        assert_eq!(stream, "err");
        assert!(text.starts_with("Uncaught MemoryLimit: "), "{text}");
        assert_eq!(execute(rt, connection, "1 + 1"), ok("2"));
    });
}

fn output(rt: AnyRuntime) {
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

fn output_that_nobody_takes_holds_up_nobody_else(rt: AnyRuntime) {
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

fn recursion(rt: AnyRuntime) {
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

fn sessions(rt: AnyRuntime) {
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
fn no_session_after_the_end(rt: AnyRuntime) {
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

fn tasks(rt: AnyRuntime) {
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

fn input(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let mut codes = vec!["(await input('name? ')).length"];
        if model != Model::Async {
            codes.push("input('name? ').length");
        }
        for code in codes {
            let execution = rt.spawn(connection.execute("main", code, 3));
            let request = loop {
                let answer = run(rt, connection.outbox().pop()).unwrap();
                if let Reply::InputRequest { request, prompt } = answer.reply {
                    assert_eq!((answer.id, prompt.as_str()), (Some(3), "name? "));
                    break request;
                }
            };
            assert!(!connection.outbox().answer(request + 100, String::new()));
            assert!(connection.outbox().answer(request, "Ada".to_owned()));
            assert_eq!(run(rt, execution).unwrap().1, ok("3"));
        }
    });
}

fn what_is_left_behind_goes_on_between_executions(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let code = "let ticks = 0; setTimeout(function again() { ticks++; setTimeout(again, 1); if (ticks === 3) print('three') }, 1); 0";
        assert_eq!(execute(rt, connection, code), ok("0"));
        // No execution runs; the output goes to the client of the last one.
        wait_for_output(rt, connection, "three");
        assert_eq!(execute(rt, connection, "ticks >= 3"), ok("true"));
    });
}

/// Its awaited result comes when another execution has the engine.
fn what_was_interrupted_does_not_answer_for_the_next_one(rt: AnyRuntime) {
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
fn what_was_interrupted_does_not_go_on(rt: AnyRuntime) {
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

fn errors_that_no_code_takes_are_bounded_and_end_with_an_interruption(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let errors = || {
            let answer = run(rt, connection.outbox().pop()).expect("it is open");
            match answer.reply {
                Reply::Output { stream, text } => (stream, text),
                other => panic!("{other:?}"),
            }
        };
        let code = "for (let i = 0; i < 1000; i++) Promise.reject(i); 1";
        assert_eq!(execute(rt, connection, code), ok("1"));
        let (stream, text) = errors();
        assert_eq!((stream.as_str(), text.lines().count()), ("err", 101));
        assert!(text.ends_with("Uncaught 99\n... 900 more\n"), "{text}");
        let code = "Promise.reject(Error('x'.repeat(1e6))); 2";
        assert_eq!(execute(rt, connection, code), ok("2"));
        assert!(errors().1.len() < 5000);

        let code = "Promise.reject('interrupted'); print('begun'); for (;;) {}";
        let endless = rt.spawn(connection.execute("main", code, 1));
        wait_for_output_blocking(connection);
        connection.interrupt("main", false);
        assert_eq!(name(endless.wait().unwrap().1), "Interrupted");
        let code = "Promise.reject('next'); 3";
        assert_eq!(execute(rt, connection, code), ok("3"));
        assert_eq!(errors().1, "Uncaught \"next\"\n", "{model}");
    });
}

/// The report reads an error's message, which may be code that rejects further promises.
fn errors_in_the_report_of_others_are_told_next(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, model| {
        let error = || next_output(rt, connection).1;
        let code = "var told = 0; \
                    { const e = Error(); const get = () => { \
                      for (let i = 0; i < 200; i++) Promise.reject(++told); return 'outer' }; \
                    Object.defineProperty(e, 'message', { get }); Promise.reject(e); } 1";
        assert_eq!(execute(rt, connection, code), ok("1"));
        assert!(error().starts_with("Uncaught Error: outer\n"), "{model}");
        let inner = error();
        assert!(inner.starts_with("Uncaught 1\nUncaught 2\n"), "{inner}");
        assert!(inner.ends_with("Uncaught 100\n... 100 more\n"), "{inner}");

        // It takes the next error that would be told, and one that is new.
        let code = "{ const e = Error(), first = Promise.reject(e), next = Promise.reject('taken'); \
                    const get = () => { next.catch(() => {}); Promise.reject('new').catch(() => {}); \
                      Promise.reject('told'); return 'first' }; \
                    Object.defineProperty(e, 'message', { get }); } 2";
        assert_eq!(execute(rt, connection, code), ok("2"));
        assert!(error().starts_with("Uncaught Error: first\n"), "{model}");
        assert_eq!(error(), "Uncaught \"told\"\n", "{model}");

        // One in each report, without an end, holds up nobody, and ends with an interruption.
        let code = "(function again() { const e = Error(); \
                    Object.defineProperty(e, 'message', { get() { again(); return 'again' } }); \
                    Promise.reject(e); })(); 3";
        assert_eq!(execute(rt, connection, code), ok("3"));
        for _ in 0..3 {
            assert!(error().starts_with("Uncaught Error: again\n"), "{model}");
        }
    });
}

fn a_reset_ends_what_runs(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let endless =
            rt.spawn(connection.execute("main", "print('begun'); await new Promise(() => {})", 1));
        wait_for_output(rt, connection, "begun");
        connection.reset("main");
        assert_eq!(name(run(rt, endless).unwrap().1), "Closed");
        assert_eq!(execute(rt, connection, "typeof x"), ok("\"undefined\""));
    });
}

fn completion_and_inspection(rt: AnyRuntime) {
    in_each(&rt, Limits::default(), |rt, connection, _| {
        let code = "var alpha = { beta: 1, get gamma() { throw 1 } }; let delta = { epsilon: { zeta: 1 } }";
        execute(rt, connection, code).unwrap();
        let complete = |text: &str| run(rt, connection.complete("main", text.to_owned(), 1));
        assert_eq!(complete("1 + alp"), (4, vec!["alpha".to_owned()]));
        // Names that are not properties of the global object. A local name and a lost one are not
        // listed.
        let declarations = [
            "const eta1 = 1, [{ eta2 }] = [{}]; class eta3 {} function f(eta5) { let eta6 }",
            "let eta4 = await 1",
            "let eta7 = (() => { throw 1 })()",
        ];
        for code in declarations {
            let _ = execute(rt, connection, code);
        }
        assert_eq!(complete("eta").1, ["eta1", "eta2", "eta3", "eta4"]);
        assert_eq!(complete("alpha.be"), (6, vec!["beta".to_owned()]));
        assert_eq!(complete("delta.epsilon.z"), (14, vec!["zeta".to_owned()]));
        assert!(complete("Mat").1.contains(&"Math".to_owned()));
        assert_eq!(complete("f(alpha).be").1, Vec::<String>::new());
        assert_eq!(complete("unknown.be").1, Vec::<String>::new());
        assert!(complete("awa").1.contains(&"await".to_owned()));
        let inspect = |name: &str| run(rt, connection.inspect("main", name.to_owned(), 1));
        assert_eq!(inspect("alpha").unwrap(), "{ beta: 1, gamma: [getter] }");
        assert_eq!(inspect("nothing").unwrap_err().name, "ReferenceError");
        assert_eq!(inspect("f()").unwrap_err().name, "Refused");
    });
}

/// The code of a host function, as the engine's own functions are guarded: it cannot be ended.
fn what_does_not_end_is_lost_and_others_notice_nothing(rt: AnyRuntime) {
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
fn what_does_not_end_at_its_limit_is_lost(rt: AnyRuntime) {
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

fn what_would_block_is_refused_in_place(rt: AnyRuntime) {
    let connection = Worker::new(rt.clone(), Model::Async, Limits::default()).connect();
    let error = execute(&rt, &connection, "sleep(1)").unwrap_err();
    assert!(error.message.contains("await sleep(..)"), "{error}");
}

#[test]
fn a_syntax_error_needs_no_pool() {
    let pool = fourway_testing::std_thread();
    let tasks = fourway_testing::any();
    let rt = AnyRuntime::new(Compose::new(tasks, pool.clone()));
    pool.close_pool().unwrap();
    let connection = Worker::new(rt.clone(), Model::Async, Limits::default()).connect();
    // The tokens tell that it is async, so it is run; then the parser is asked for a better error.
    let error = execute(&rt, &connection, "await x y").unwrap_err();
    assert_eq!(error.name, "SyntaxError", "{error}");
}
