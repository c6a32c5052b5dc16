//! The worker's own code in each session. It is compiled once for the process, as compiling takes
//! ten times as long as running.

use std::sync::OnceLock;

use rquickjs::{Context, Ctx, Function, Module, Runtime, WriteOptions};

/// The replacements of slow functions of the engine. The argument of the returned function tells
/// whether the code must stop.
pub(crate) fn guards<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
    function(ctx, &COMPILED, "guards", include_str!("guards.js"))
}

/// The functions of a session besides the language. The arguments of the returned function are the
/// worker's functions, and the names of the host's functions.
pub(crate) fn bootstrap<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
    function(ctx, &COMPILED, "bootstrap", include_str!("bootstrap.js"))
}

/// Evaluates the source, which is a function expression.
fn function<'js>(
    ctx: &Ctx<'js>,
    compiled: &'static OnceLock<Vec<u8>>,
    name: &str,
    source: &str,
) -> rquickjs::Result<Function<'js>> {
    let bytes = match compiled.get() {
        Some(bytes) => bytes,
        None => {
            // Two threads may both compile at first; their results are equal.
            let bytes = compile(name, source)?;
            compiled.get_or_init(|| bytes)
        }
    };
    let (module, _) = load(ctx, bytes)?.eval()?;
    module.get("default")
}

fn compile(name: &str, source: &str) -> rquickjs::Result<Vec<u8>> {
    let context = Context::full(&Runtime::new()?)?;
    context.with(|ctx| {
        // A module, as only modules can be serialized.
        let module = Module::declare(ctx, name, format!("export default {source}"))?;
        module.write(WriteOptions {
            // Each session would have a copy of the source, and users need not read it.
            strip_source: true,
            ..WriteOptions::default()
        })
    })
}

#[allow(
    unsafe_code,
    reason = "the bindings trust the bytes, which cannot be checked"
)]
fn load<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Module<'js>> {
    // SAFETY: the same engine must have written the bytes. `compile` has written them in this
    // process, and they were not changed.
    unsafe { Module::load(ctx.clone(), bytes) }
}
