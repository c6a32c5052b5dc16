//! The limit of memory, and sessions that go on after they have reached it.

use code_worker::{Connection, Limits};
use fourway::AnyRuntime;
use fourway_testing::eventually;

use super::{execute, in_each, name, next_output, ok, run};

pub(super) fn memory(rt: AnyRuntime) {
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
pub(super) fn code_in_full_memory_is_compiled(rt: AnyRuntime) {
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
pub(super) fn code_that_compiles_in_full_memory_ends(rt: AnyRuntime) {
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
pub(super) fn a_session_goes_on_after_an_array_that_fills_its_memory(rt: AnyRuntime) {
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
pub(super) fn a_session_goes_on_after_values_that_are_freed_at_its_end(rt: AnyRuntime) {
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

pub(super) fn what_is_left_behind_in_full_memory_goes_on(rt: AnyRuntime) {
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
pub(super) fn what_is_left_behind_and_fills_the_memory_is_told(rt: AnyRuntime) {
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

pub(super) fn completion_and_inspection_in_full_memory_discard_nothing(rt: AnyRuntime) {
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

pub(super) fn completion_that_fills_the_memory_is_told(rt: AnyRuntime) {
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
