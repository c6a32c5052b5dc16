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

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "f", "g"]).prop_map(str::to_owned)
}

/// An expression, as sync and as async code has it.
fn expression() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        (0..10u32).prop_map(|n| (n.to_string(), n.to_string())),
        name().prop_map(|name| (name.clone(), name)),
        name().prop_map(|name| (format!("{name}()"), format!("await ({name}())"))),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), inner).prop_map(|(one, two)| {
            (
                format!("({} + {})", one.0, two.0),
                format!("({} + {})", one.1, two.1),
            )
        })
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
        expression().prop_map(|(sync, asynchronous)| (sync, format!("await ({asynchronous})"))),
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
            let text = value.get::<Coerced<String>>().unwrap().0;
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

fn is_number_or_text(text: &str) -> bool {
    text.starts_with('"') || text.parse::<f64>().is_ok()
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
        for step in &steps {
            let expected = context.with(|ctx| plainly(&ctx, &step.sync));
            let code = if step.is_async { &step.asynchronous } else { &step.sync };
            let (kind, outcome) = run(rt, connection.execute("main", code, 1));
            match (expected, outcome) {
                // The texts of objects and functions differ in places.
                (Ok(expected), Ok(Some(value))) if is_number_or_text(&expected) => {
                    prop_assert_eq!(&value, &expected, "{}", code);
                }
                (Ok(_), Ok(_)) => {}
                (Err((name, message)), Err(error)) => {
                    prop_assert_eq!((&error.name, &error.message), (&name, &message), "{}", code);
                    continue;
                }
                (expected, outcome) => prop_assert!(false, "{code}: {expected:?}, {outcome:?}"),
            }
            prop_assert_eq!(kind == Kind::Async, step.is_async, "{}", code);
        }
    }
}
