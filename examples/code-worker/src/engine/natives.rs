//! The border to the engine's code: functions that it is given, and values and errors that it gives.

use std::sync::Arc;

use rquickjs::{Array, Ctx, Function, Value};

use super::shared::{Called, Shared};
use crate::error::CellError;

pub(super) fn bridge<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
    let kept = ctx.userdata::<Function<'_>>();
    kept.map(|f| f.clone()).ok_or(rquickjs::Error::Unknown)
}

pub(super) fn show<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<Option<String>> {
    if value.is_undefined() {
        return Ok(None);
    }
    let mut shown: Vec<String> = bridge(ctx)?.call(("show", value.clone()))?;
    Ok(shown.pop())
}

pub(super) fn thrown(ctx: &Ctx<'_>, error: rquickjs::Error, file: &str) -> CellError {
    if !error.is_exception() {
        return CellError::new("Error", error.to_string());
    }
    let thrown = ctx.catch();
    let described =
        bridge(ctx).and_then(|f| f.call::<_, Vec<String>>(("describe", thrown.clone())));
    match described.as_deref() {
        Ok([name, message, stack]) => {
            CellError::of(name.clone(), message.clone(), Some(stack.clone()), file)
        }
        _ => {
            ctx.catch();
            CellError::thrown(ctx, &thrown, file)
        }
    }
}

/// The functions that the bootstrap is given.
pub(super) fn natives<'js>(
    ctx: &Ctx<'js>,
    shared: &Arc<Shared>,
) -> rquickjs::Result<rquickjs::Object<'js>> {
    let native = rquickjs::Object::new(ctx.clone())?;

    let this = shared.clone();
    let print = move |ctx: Ctx<'js>, stream: String, text: String| {
        this.print(&stream, text)
            .map_err(|message| rquickjs::Exception::throw_message(&ctx, &message))
    };
    native.set("print", Function::new(ctx.clone(), print)?)?;

    let this = shared.clone();
    let call = move |ctx: Ctx<'js>, name: String, arguments: String| {
        let Some(called) = this.call(&name, &arguments) else {
            // Not an array: code that must stop gets no memory, and could catch that error.
            return Ok(None);
        };
        let answer = Array::new(ctx.clone())?;
        match called {
            Called::Value(text) => {
                answer.set(0, "v")?;
                answer.set(1, text)?;
            }
            Called::Promise(number) => {
                answer.set(0, "p")?;
                answer.set(1, number)?;
            }
            Called::Error(message) => {
                answer.set(0, "e")?;
                answer.set(1, message)?;
            }
        }
        Ok::<_, rquickjs::Error>(Some(answer))
    };
    native.set("call", Function::new(ctx.clone(), call)?)?;

    let this = shared.clone();
    let start = move |ctx: Ctx<'js>, name: String, arguments: String| {
        this.start(&name, &arguments)
            .map_err(|message| rquickjs::Exception::throw_message(&ctx, &message))
    };
    native.set("start", Function::new(ctx.clone(), start)?)?;

    let this = shared.clone();
    let done = move |file: String, ok: bool, mut parts: Vec<String>| {
        let mut state = this.state();
        // Not the call of an earlier execution, which was stopped while it waited, and whose wait
        // ends now.
        let Some(current) = state.current.as_mut().filter(|c| c.file == file) else {
            return;
        };
        current.outcome = Some(if ok {
            Ok(parts.pop())
        } else {
            parts.resize(3, String::new());
            let stack = parts.pop();
            let message = parts.pop().unwrap_or_default();
            let name = parts.pop().unwrap_or_default();
            Err(CellError::of(name, message, stack, &current.file))
        });
    };
    native.set("done", Function::new(ctx.clone(), done)?)?;
    Ok(native)
}
