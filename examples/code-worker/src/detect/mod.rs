//! Is code sync or async? [`Parser`] asks the engine's own parser, and runs nothing.
//!
//! Code is async if it has an `await` at top level. Searching for the word is wrong: it may be in a
//! string, a comment, a template, a nested async function, or be the name of a property. Trying the
//! code as a script and, on a syntax error, again with top-level `await` is wrong as well: `await
//! (1)`, `await [1]` and `await +1` are correct scripts that use a variable named `await`; they
//! would fail half-way through their side effects.
//!
//! The engine can compile without running, for two goals: *script*, where `await` at top level is
//! a name, and *async*, where it is an operator.
//!
//! | as a script | as async code | the code is |
//! |---|---|---|
//! | compiles | does not | sync: `var await = 3` |
//! | does not | compiles | async: `await f()` |
//! | does not | does not | wrong |
//! | compiles | compiles | either without `await` at top level, or `await (1)` |
//!
//! In the last case, the word is doubled where it occurs, and the result compiled for both goals
//! again. Two names in a row are an error, two operators are not. So a place where `await await`
//! compiles as async code and not as a script has an operator in the one and a name in the other:
//! that is an `await` at top level. In a string, a comment or a nested async function it compiles
//! for both goals; as the name of a property or a variable it compiles for neither. All places that
//! compile as a script are excluded in one attempt, so a long text full of the word needs few
//! attempts.
//!
//! Code without the word, which is nearly all sync code, costs only a search for it. For most code
//! with the word, the tokens tell the kind without compiling: see `clear.rs`.

mod clear;

use std::{ffi::CString, sync::Mutex};

use rquickjs::{Context, Ctx, Runtime, qjs};

use crate::error::CellError;

/// The kind of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It has no `await` at top level.
    Sync,
    /// It has an `await` at top level.
    Async,
}

/// Is the input complete, for a prompt that may ask for another line?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It compiles.
    Complete,
    /// Something is missing at the end.
    Incomplete,
    /// It is wrong, whatever comes after it.
    Invalid,
}

const WORD: &str = "await";
/// Attempts for one piece of code; real code has far fewer ambiguous places.
const ATTEMPTS: usize = 500;
/// Engines that are kept for the next piece of code.
const KEPT: usize = 4;

/// Compiles, and runs nothing. It has its own engines, so that no session has to be free.
#[derive(Default)]
pub struct Parser {
    engines: Mutex<Vec<Context>>,
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Goal {
    Script,
    Async,
}

impl Parser {
    /// Sync or async? For code that runs next: a syntax error is found then, before any of it runs;
    /// [`explain`](Self::explain) improves the error.
    ///
    /// # Errors
    ///
    /// If the parser was needed and found an error: the error of the goal that got further.
    pub fn detect(&self, code: &str) -> Result<Kind, CellError> {
        if !code.contains(WORD) {
            return Ok(Kind::Sync);
        }
        match clear::kind(code) {
            Some(kind) => Ok(kind),
            None => self.parse(code),
        }
    }

    fn parse(&self, code: &str) -> Result<Kind, CellError> {
        self.with(|ctx| detect(ctx, code))
    }

    /// The error of code that does not compile, in place of the error from running it; the given
    /// error if the code compiles.
    #[must_use]
    pub fn explain(&self, code: &str, error: CellError) -> CellError {
        if error.name != "SyntaxError" || !code.contains(WORD) {
            return error;
        }
        self.parse(code).err().unwrap_or(error)
    }

    /// [`detect`](Self::detect), for code that is not run next.
    ///
    /// # Errors
    ///
    /// The error of the code, also if it has no `await`.
    pub fn check(&self, code: &str) -> Result<Kind, CellError> {
        self.with(|ctx| match compile(ctx, code, Goal::Script) {
            Err(error) if !code.contains(WORD) => Err(error),
            _ => detect(ctx, code),
        })
    }

    /// Is the code complete, or is something missing?
    pub fn completeness(&self, code: &str) -> Completeness {
        match self.check(code) {
            Ok(_) => Completeness::Complete,
            Err(error) if is_at_the_end(code, &error) => Completeness::Incomplete,
            Err(_) => Completeness::Invalid,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
        let engines = || self.engines.lock().expect("nothing panics under it");
        let kept = engines().pop();
        let context = kept.unwrap_or_else(|| {
            let runtime = Runtime::new().expect("memory for an engine");
            runtime.set_max_stack_size(crate::engine::STACK);
            Context::full(&runtime).expect("memory for a context")
        });
        let result = context.with(|ctx| f(&ctx));
        let mut engines = engines();
        if engines.len() < KEPT {
            engines.push(context);
        }
        result
    }
}

fn detect(ctx: &Ctx<'_>, code: &str) -> Result<Kind, CellError> {
    match (
        compile(ctx, code, Goal::Script),
        compile(ctx, code, Goal::Async),
    ) {
        (Ok(()), Err(_)) => Ok(Kind::Sync),
        (Err(_), Ok(())) => Ok(Kind::Async),
        (Err(script), Err(asynchronous)) => Err(explain(code, script, asynchronous)),
        (Ok(()), Ok(())) => {
            let places: Vec<usize> = words(code).collect();
            let mut attempts = 0;
            match has_operator(ctx, code, &places, &mut attempts) {
                Some(true) => Ok(Kind::Async),
                Some(false) => Ok(Kind::Sync),
                None => Err(CellError::new(
                    "SyntaxError",
                    "the word `await` is used too often, and in too many ways, to tell what this is",
                )),
            }
        }
    }
}

/// The places where the word stands alone.
fn words(code: &str) -> impl Iterator<Item = usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    code.match_indices(WORD)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = code[..at].chars().next_back();
            let after = code[at + WORD.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
}

/// Is one of these places an `await` at top level? `None` if it took too long to find out.
fn has_operator(ctx: &Ctx<'_>, code: &str, places: &[usize], attempts: &mut usize) -> Option<bool> {
    if places.is_empty() {
        return Some(false);
    }
    *attempts += 1;
    if *attempts > ATTEMPTS {
        return None;
    }
    let doubled = double(code, places);
    if compile(ctx, &doubled, Goal::Script).is_ok() {
        return Some(false);
    }
    if let [_] = places {
        return Some(compile(ctx, &doubled, Goal::Async).is_ok());
    }
    let (front, back) = places.split_at(places.len() / 2);
    match has_operator(ctx, code, front, attempts)? {
        true => Some(true),
        false => has_operator(ctx, code, back, attempts),
    }
}

fn double(code: &str, places: &[usize]) -> String {
    let mut doubled = String::with_capacity(code.len() + places.len() * (WORD.len() + 1));
    let mut from = 0;
    for &place in places {
        doubled.push_str(&code[from..place]);
        doubled.push_str(WORD);
        doubled.push(' ');
        from = place;
    }
    doubled.push_str(&code[from..]);
    doubled
}

/// Which of the two errors to show, with a better text if `await` is the mistake.
fn explain(code: &str, script: CellError, asynchronous: CellError) -> CellError {
    let position = |error: &CellError| (error.line.unwrap_or(0), error.column.unwrap_or(0));
    let mut error = if position(&asynchronous) >= position(&script) {
        asynchronous
    } else {
        script
    };
    if let Some(offset) = error.offset(code) {
        // The parser stops after the word, which it takes as a name.
        let before = code[..offset].trim_end();
        if before.ends_with(WORD) {
            error.message = "`await` stands in a function that is not async".to_owned();
            error.hint = Some(
                "write `async function` or `async () =>` around it; outside of functions `await` \
                 needs nothing"
                    .into(),
            );
        }
    }
    error.with_caret(code)
}

fn is_at_the_end(code: &str, error: &CellError) -> bool {
    let unfinished = ["unexpected end", "unterminated", "end of"];
    if unfinished
        .iter()
        .any(|words| error.message.to_lowercase().contains(words))
    {
        return error.offset(code).is_none_or(|_| true);
    }
    error
        .offset(code)
        .is_some_and(|offset| code[offset..].trim().is_empty())
}

/// Compiles, without running.
fn compile(ctx: &Ctx<'_>, code: &str, goal: Goal) -> Result<(), CellError> {
    let mut flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
    if goal == Goal::Async {
        flags |= qjs::JS_EVAL_FLAG_ASYNC;
    }
    let Ok(source) = CString::new(code) else {
        return Err(CellError::new("SyntaxError", "the code has a zero byte"));
    };
    compile_raw(ctx, &source, flags)
}

#[allow(
    unsafe_code,
    reason = "the engine's bindings have no safe name for compiling without running"
)]
fn compile_raw(ctx: &Ctx<'_>, source: &CString, flags: u32) -> Result<(), CellError> {
    let raw = ctx.as_raw().as_ptr();
    let flags = i32::try_from(flags).expect("a few bits");
    // SAFETY: `raw` is a live context: `ctx` holds a reference, and, as it exists, the lock on its
    // runtime. The source is a C string; the engine gets its length without the terminating zero,
    // and reads the zero, which is there. Both strings outlive the call. We own the returned value,
    // and free it once, on the same context. If it is the exception, there is nothing to free, and
    // `catch` takes the error from the context.
    let failed = unsafe {
        let value = qjs::JS_Eval(
            raw,
            source.as_ptr(),
            source.as_bytes().len() as _,
            c"cell".as_ptr(),
            flags,
        );
        let failed = qjs::JS_IsException(value);
        if !failed {
            qjs::JS_FreeValue(raw, value);
        }
        failed
    };
    if failed {
        let thrown = ctx.catch();
        return Err(CellError::thrown(ctx, &thrown, "cell"));
    }
    Ok(())
}
