//! The namespace that executions of both kinds share is that of one plain interpreter, for random
//! programs of definitions and uses.

use code_worker::{Limits, Worker, detect::Kind};
use fourway::{AnyRuntime, execute::Model};
use fourway_testing::run;
use proptest::prelude::*;
use rquickjs::{Coerced, Context, Ctx, Runtime, Value, context::EvalOptions};

/// A step in a sync and an async form, which must have the same effect.
#[derive(Clone, Debug)]
struct Step {
    sync: String,
    asynchronous: String,
    // Which form the worker gets.
    is_async: bool,
}

const NAMES: [&str; 5] = ["a", "b", "c", "f", "g"];

/// The first execution: a text for each value, the same in every interpreter. Of functions and classes it
/// has their source, and of objects and classes their properties.
const SHOW: &str = "globalThis.show = value => {
    const parts = () => Object.keys(value).map(key => `${key}: ${show(value[key])}`).join();
    switch (typeof value) {
        case 'function': return `${value.toString()} {${parts()}}`;
        case 'object': return value === null ? 'null' : `{${parts()}}`;
        default: return `${typeof value} ${String(value)}`;
    }
}; 0";

/// The last execution: all names, and what they stand for.
fn all_names() -> String {
    let shown = NAMES.map(|name| {
        format!(
            "(() => {{ try {{ return show({name}) }} catch (e) {{ return `${{e.name}} ${{e.message}}` }} }})()"
        )
    });
    format!("[{}].join('; ')", shown.join(", "))
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

/// An expression, as sync and as async code has it.
fn expression() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        (0..10u32).prop_map(|n| (n.to_string(), n.to_string())),
        name().prop_map(|name| (name.clone(), name)),
        name().prop_map(|name| (format!("{name}()"), format!("await ({name}())"))),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, two)| {
                (
                    format!("({} + {})", one.0, two.0),
                    format!("({} + {})", one.1, two.1),
                )
            }),
            // An arrow has its body as sync code has it: an `await` there would be none of the top level.
            (inner.clone(), inner).prop_map(|(one, two)| {
                (
                    format!("({{ x: {}, f: () => {} }})", one.0, two.0),
                    format!("({{ x: {}, f: () => {} }})", one.1, two.0),
                )
            }),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    let both = prop_oneof![
        (
            prop::sample::select(vec!["let ", "const ", "var ", ""]),
            name(),
            expression()
        )
            .prop_map(|(keyword, name, (sync, asynchronous))| (
                format!("{keyword}{name} = {sync}; 0"),
                format!("{keyword}{name} = await ({asynchronous}); 0"),
            )),
        (name(), expression()).prop_map(|(name, (sync, _))| {
            let code = format!("function {name}() {{ return {sync} }} 0");
            (code.clone(), format!("await null; {code}"))
        }),
        (name(), expression()).prop_map(|(name, (sync, _))| {
            let code = format!("class {name} {{ static x = {sync} }} 0");
            (code.clone(), format!("{code}; await null; 0"))
        }),
        expression().prop_map(|(sync, asynchronous)| (
            format!("show({sync})"),
            format!("show(await ({asynchronous}))"),
        )),
        name().prop_map(|name| (
            format!("typeof {name}"),
            format!("await null; typeof {name}")
        )),
    ];
    (both, any::<bool>()).prop_map(|((sync, asynchronous), is_async)| Step {
        sync,
        asynchronous,
        is_async,
    })
}

/// The result of the plain interpreter: a text, or the name and message of an error.
fn plainly(ctx: &Ctx<'_>, code: &str) -> Result<String, (String, String)> {
    let mut options = EvalOptions::default();
    options.strict = false;
    match ctx.eval_with_options::<Value<'_>, _>(code, options) {
        Ok(value) => {
            let is_text = value.is_string();
            assert!(is_text || value.is_number(), "{code}");
            let text = value.get::<Coerced<String>>().unwrap().0;
            // Of these texts, JSON is what Rust writes.
            Ok(if is_text { format!("{text:?}") } else { text })
        }
        Err(_) => {
            let thrown = ctx.catch();
            let exception = thrown.as_exception().expect("no values are thrown");
            let name = exception.as_object().get::<_, String>("name").unwrap();
            Err((name, exception.message().unwrap_or_default()))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_namespace_is_that_of_one_interpreter(
        steps in prop::collection::vec(step(), 1..12),
        which in 0..4usize,
        model in prop::sample::select(Model::ALL.to_vec()),
    ) {
        // Made once: a test has many cases.
        static RUNTIMES: std::sync::OnceLock<Vec<AnyRuntime>> = std::sync::OnceLock::new();
        let runtimes = RUNTIMES.get_or_init(|| vec![fourway_testing::any(), fourway_testing::any_tokio(), fourway_testing::any_current_thread(), fourway_testing::any_smol()]);
        let rt = &runtimes[which];
        let connection = Worker::new(rt.clone(), model, Limits::default()).connect();
        let runtime = Runtime::new().unwrap();
        runtime.set_max_stack_size(512 * 1024);
        let context = Context::full(&runtime).unwrap();
        let only_sync = |code: String| Step {
            asynchronous: String::new(),
            sync: code,
            is_async: false,
        };
        let first = only_sync(SHOW.to_owned());
        let last = only_sync(all_names());
        for step in [&first].into_iter().chain(&steps).chain([&last]) {
            let expected = context.with(|ctx| plainly(&ctx, &step.sync));
            let code = if step.is_async { &step.asynchronous } else { &step.sync };
            let (kind, outcome) = run(rt, connection.execute("main", code, 1));
            let outcome = outcome.map_err(|error| (error.name, error.message));
            prop_assert_eq!(outcome, expected.map(Some), "{}", code);
            prop_assert_eq!(kind == Kind::Async, step.is_async, "{}", code);
        }
    }
}
