//! The functions of the engine that `src/guards.js` replaces: they behave as before, and code
//! within them can be interrupted.

use std::time::Duration;

use code_worker::{Limits, Worker};
use fourway::{Spawner, execute::Model};
use fourway_testing::{AGES, run};
use rquickjs::{Context, Function, Runtime};

const GUARDS: &str = include_str!("../src/guards.js");
/// Calls the replaced functions in some thousand ways, and returns a line for each call.
const CALLS: &str = include_str!("guards.js");

/// The results of the calls, with these guards or without any. Without the texts of errors, as an
/// error within a proxy mentions the proxy.
fn calls(guards: Option<&str>) -> Vec<String> {
    let runtime = Runtime::new().unwrap();
    runtime.set_max_stack_size(512 * 1024);
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| {
        if let Some(guards) = guards {
            let guards: Function<'_> = ctx.eval(guards).unwrap();
            let stopped = Function::new(ctx.clone(), || false).unwrap();
            guards.call::<_, ()>((stopped,)).unwrap();
        }
        ctx.eval(CALLS).unwrap()
    })
}

/// Guards with tiny limits, so that every call takes the slow path.
fn tiny() -> String {
    let mut guards = GUARDS.to_owned();
    for (usual, tiny) in [
        ("LONGEST_ARRAY = 4e6", "LONGEST_ARRAY = 2"),
        ("WORK = 1e7", "WORK = 3"),
        ("LONGEST_TEXT = 1e6", "LONGEST_TEXT = 0"),
        ("BITS = 3e4", "BITS = 8"),
        ("LARGEST = 1n << 30000n", "LARGEST = 2n"),
        ("SHORT = 100", "SHORT = 1"),
        ("LONG = 1000", "LONG = 0"),
        ("STEPS = 1e6", "STEPS = 10"),
    ] {
        assert_eq!(guards.matches(usual).count(), 1, "{usual}");
        guards = guards.replace(usual, tiny);
    }
    guards
}

#[test]
fn what_is_replaced_does_what_it_did() {
    let plain = calls(None);
    assert!(plain.len() > 5000, "{}", plain.len());
    for guards in [GUARDS, &tiny()] {
        for (plain, guarded) in plain.iter().zip(calls(Some(guards))) {
            assert_eq!(*plain, guarded);
        }
    }
}

/// Each would take minutes or years in one function of the engine, or calls a slow function ten
/// thousand times.
const ENDLESS: &[&str] = &[
    "[].reverse.call({ length: 2 ** 53 - 1 })",
    "Array(2 ** 32 - 1).reverse()",
    "Object.defineProperty([], 'length', { value: 2 ** 32 - 1 }).sort()",
    "[].sort.call({ length: 2 ** 53 - 1 })",
    "[].splice.call({ length: 2 ** 53 - 1 }, 0, 1)",
    "[].copyWithin.call({ length: 2 ** 53 - 1 }, 0, 5)",
    "[].join.call({ length: 2 ** 53 - 1 }, '')",
    "[].toString.call({ length: 2 ** 53 - 1, join: [].join })",
    "[].toLocaleString.call({ length: 2 ** 53 - 1 })",
    "[].concat({ length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true })",
    "[].concat.apply([], Array(10000).fill(Array(2 ** 31)))",
    "[].slice.call({ length: 2 ** 53 - 1 }, 0, 2 ** 32 - 2)",
    "Array(2 ** 32 - 1).slice()",
    "[].shift.call({ length: 2 ** 53 - 1 })",
    "[].unshift.call({ length: 2 ** 53 - 2 }, 1)",
    "[].flat.call({ length: 2 ** 53 - 1 })",
    "{ let a = []; for (let i = 0; i < 60; i++) a = [a, a]; a.flat(Infinity) }",
    "{ let a = []; for (let i = 0; i < 60; i++) a = [a, a]; JSON.stringify(a) }",
    "[].indexOf.call({ length: 2 ** 53 - 1 }, 1)",
    "[].map.call({ length: 2 ** 32 - 1 }, isNaN)",
    "String.raw({ raw: { length: 2 ** 53 - 1 } })",
    "{ const s = 'a'.repeat(2e7); s.indexOf('a'.repeat(1e7) + 'b') }",
    "{ const s = 'a'.repeat(2e7); s.lastIndexOf('b' + 'a'.repeat(1e7)) }",
    "{ const s = 'a'.repeat(2e7); s.includes('a'.repeat(1e7) + 'b') }",
    "{ const s = 'a'.repeat(2e7); s.split('a'.repeat(1e7) + 'b') }",
    "{ const s = 'a'.repeat(2e7); s.replaceAll('a'.repeat(1e7) + 'b', '') }",
    "{ const s = ' '.repeat(3e7) + 'x'; for (;;) s.trim() }",
    "{ const s = ' '.repeat(3e7) + 'x'; for (;;) s.trimLeft() }",
    "{ const s = 'a'.repeat(1e7); for (;;) s.replace(/a/g, '') }",
    "{ const s = 'a'.repeat(1e5); for (;;) s.replace(/a/g, '') }",
    "{ const n = (1n << 1000000n) - 1n; for (;;) n.toString() }",
    "[].values.call({ length: 2 ** 53 - 1 }).drop(2 ** 53 - 1).next()",
    "new Set([1]).union({ size: 1, has: Boolean, keys: () => [].values.call({ length: 2 ** 53 - 1 }) })",
    // In a loop of code, the engine checks once in ten thousand turns.
    "{ const a = Array(1e5).fill(1); for (;;) a.slice() }",
    "{ const a = Array(1e5).fill(1); for (;;) a.includes(3) }",
    "{ const a = Array(1e4).fill(1); for (;;) JSON.stringify(a) }",
    "{ const a = new Uint8Array(1e7); for (;;) a.fill(1) }",
    "for (;;) { try { 'x'.repeat(1e6) } catch {} }",
    "{ const s = 'a'.repeat(1e7); for (;;) s.indexOf('b') }",
    "{ const a = []; for (;;) { a.push(1); if (a.length > 1e5) [...a] } }",
    "[].reduce.call({ length: 2 ** 53 - 1 }, Math.max, 1)",
];

/// Ends by its time limit or its memory limit, and the namespace lives on. The test's own deadline
/// catches code that does not end.
#[test]
fn what_takes_long_in_the_engine_ends_in_time() {
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    let rt = fourway_testing::any();
    for model in [Model::Route, Model::Async] {
        let worker = Worker::new(rt.clone(), model, limits);
        let connection = worker.connect();
        let execute = |code: &str| {
            let execution = rt.spawn(connection.execute("main", code, 1));
            let outcome = run(&rt, fourway::Timer::timeout(&rt, AGES, execution));
            outcome
                .unwrap_or_else(|_| panic!("{code} does not end"))
                .unwrap()
                .1
        };
        // On a slow machine even this code may reach the time limit.
        let at_last = |code: &str| loop {
            match execute(code) {
                Err(error) if error.name == "TimeLimit" => {}
                outcome => break outcome.unwrap_or_else(|error| panic!("{code}: {error}")),
            }
        };
        at_last("var kept = 1");
        for code in ENDLESS {
            for code in [(*code).to_owned(), format!("await null; {code}")] {
                let error = execute(&code).expect_err(&code);
                assert!(
                    ["TimeLimit", "MemoryLimit"].contains(&error.name.as_str()),
                    "{code}, {model}: {error}"
                );
                assert_eq!(at_last("kept").as_deref(), Some("1"), "{code}, {model}");
            }
        }
    }
}

/// The engine sorts marks in a row one by one, without a check for interruptions.
#[test]
fn too_many_marks_are_refused() {
    let rt = fourway_testing::any();
    let connection = Worker::new(rt.clone(), Model::Route, Limits::default()).connect();
    for code in [
        "s.normalize()",
        "s.localeCompare('a')",
        "'a'.localeCompare(s)",
    ] {
        let code = format!("{{ const s = 'a' + '\\u0301\\u0323'.repeat(1e6); {code} }}");
        let (_, outcome) = run(&rt, connection.execute("main", &code, 1));
        assert_eq!(outcome.unwrap_err().name, "RangeError");
    }
    let code = "('a' + '\\u0301'.repeat(400)).normalize().length + 'é'.normalize('NFD').length";
    let (_, outcome) = run(&rt, connection.execute("main", code, 1));
    assert_eq!(outcome, Ok(Some("402".to_owned())));
}
