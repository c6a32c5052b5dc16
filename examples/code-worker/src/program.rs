//! Code of the worker's own that each session has: compiled once for the process, as to compile it
//! takes ten times as long as to run it.

use std::sync::OnceLock;

use rquickjs::{Context, Ctx, Function, Module, Runtime, WriteOptions};

/// The functions that replace those of the engine which take long. Called with a function that
/// tells whether the code is to stop.
pub(crate) fn guards<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
    function(ctx, &COMPILED, "guards", include_str!("guards.js"))
}

/// What there is besides the language. Called with the worker's functions and the names of those of
/// the host.
pub(crate) fn bootstrap<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    static COMPILED: OnceLock<Vec<u8>> = OnceLock::new();
    function(ctx, &COMPILED, "bootstrap", include_str!("bootstrap.js"))
}

/// The function that the source is an expression of.
fn function<'js>(
    ctx: &Ctx<'js>,
    compiled: &'static OnceLock<Vec<u8>>,
    name: &str,
    source: &str,
) -> rquickjs::Result<Function<'js>> {
    let bytes = match compiled.get() {
        Some(bytes) => bytes,
        None => {
            // Twice, if two are the first; they come to the same.
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
        // A module, as only those can be written.
        let module = Module::declare(ctx, name, format!("export default {source}"))?;
        module.write(WriteOptions {
            // It would be in each session; and none of it is a user's to read.
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
    // SAFETY: the bytes must be what the same engine has written: they are from `compile`, in this
    // process, and were not changed.
    unsafe { Module::load(ctx.clone(), bytes) }
}
