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
//! with the word, the tokens tell the kind without compiling: see `clear`.
//!
//! A client may send code that is hard to classify on purpose. So the number of compiled bytes is
//! bounded, linear in the length of the code (`Budget`). The engine's parser itself takes quadratic
//! time for some code, so its time is bounded too (`PATIENCE`). Code that exceeds either bound gets
//! an error.

mod clear;

use std::{
    ffi::CString,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rquickjs::{Context, Ctx, Runtime, Value, qjs};

use crate::{
    engine::{Stack, end_parser_with},
    error::CellError,
    memory::{Limited, Memory},
};

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
/// The most bytes compiled for one piece of code: `BYTES`, and `TIMES` the length of the code.
const BYTES: usize = 4 * 1024 * 1024;
/// Finding one place among hundreds of thousands takes about forty attempts.
const TIMES: usize = 48;
/// The most time and memory for one piece of code.
const PATIENCE: Duration = Duration::from_secs(5);
const MEMORY: usize = 256 * 1024 * 1024;
/// Engines that are kept for the next piece of code.
const KEPT: usize = 4;

/// The engine has arenas for blocks of up to 512 bytes, in steps of at least 8.
const SIZES: usize = 64;
const STEP: usize = 8;

/// Compiles, and runs nothing. It has its own engines, so that no session has to be free.
#[derive(Default)]
pub struct Parser {
    engines: Mutex<Vec<Engine>>,
}

struct Engine {
    context: Context,
    clock: Arc<Clock>,
    memory: Arc<Memory>,
}

/// The deadline of a compilation.
#[derive(Default)]
struct Clock {
    until: Mutex<Option<Instant>>,
    // The deadline has passed. Relaxed: one thread at a time has the engine, and hands it on with a
    // lock.
    over: AtomicBool,
}

impl Clock {
    fn start(&self) {
        *self.until.lock().expect("nothing panics under it") = Some(Instant::now() + PATIENCE);
        self.over.store(false, Ordering::Relaxed);
    }

    /// Ends the measurement. Has the deadline passed?
    fn stop(&self) -> bool {
        *self.until.lock().expect("nothing panics under it") = None;
        self.over.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        let until = *self.until.lock().expect("nothing panics under it");
        let is_over = until.is_some_and(|until| Instant::now() > until);
        if is_over {
            self.over.store(true, Ordering::Relaxed);
        }
        is_over
    }
}

impl Engine {
    fn new() -> Self {
        let memory = Memory::new();
        let runtime =
            Runtime::new_with_alloc(Limited(memory.clone())).expect("memory for an engine");
        runtime.set_max_stack_size(crate::engine::STACK);
        let context = Context::full(&runtime).expect("memory for a context");
        context.with(|ctx| keep_arenas(&ctx));
        memory.limit_to(MEMORY);
        let clock = Arc::new(Clock::default());
        // The parser allocates all the time, and can be stopped nowhere else.
        memory.refuse_if({
            let clock = clock.clone();
            move || clock.is_over()
        });
        // A refused allocation alone would not end it.
        let stack = context.with(|ctx| Stack::of(&ctx));
        end_parser_with(&memory, stack);
        Self {
            context,
            clock,
            memory,
        }
    }
}

/// Leaves a small block of each size. The engine takes blocks of a size from an arena, and gives the
/// arena back with the last block; so a compilation would make an arena of each size anew, which takes
/// an eighth of its time.
fn keep_arenas(ctx: &Ctx<'_>) {
    // A closure has a block with a pointer for each variable that it captures; a text has a header.
    let closures = "(() => { let a, b, c, d; \
                    return [() => a, () => [a, b], () => [a, b, c], () => [a, b, c, d]] })()";
    let texts: Vec<String> = (1..=SIZES).map(|n| " ".repeat(n * STEP)).collect();
    // What is compiled never runs, so it does not see the names. Without the memory, it is slower.
    if let Ok(closures) = ctx.eval::<Value<'_>, _>(closures) {
        let _ = ctx.globals().set("closures", closures);
    }
    let _ = ctx.globals().set("texts", texts);
}

/// Counts the attempts and compiled bytes for one piece of code.
#[derive(Debug, Default)]
struct Budget {
    attempts: usize,
    bytes: usize,
    most: usize,
}

impl Budget {
    /// The budget for code of this length.
    fn of(length: usize) -> Self {
        Self {
            most: BYTES + TIMES * length,
            ..Self::default()
        }
    }

    /// Takes one attempt of this many bytes; `None` if the budget does not suffice.
    fn take(&mut self, bytes: usize) -> Option<()> {
        let (attempts, bytes) = (self.attempts + 1, self.bytes + bytes);
        (attempts <= ATTEMPTS && bytes <= self.most).then(|| {
            (self.attempts, self.bytes) = (attempts, bytes);
        })
    }

    /// Compiles the whole code for a goal: the budget suffices for both.
    fn compile(&mut self, ctx: &Ctx<'_>, code: &str, goal: Goal) -> Result<(), CellError> {
        let _ = self.take(code.len());
        compile(ctx, code, goal)
    }
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
    /// [`explain`](Self::explain) improves the error. Wrong code may be called either.
    ///
    /// # Errors
    ///
    /// If the code contains a character of number zero, or is too hard to tell.
    pub fn detect(&self, code: &str) -> Result<Kind, CellError> {
        refuse_zero(code)?;
        if !code.contains(WORD) {
            return Ok(Kind::Sync);
        }
        if let Some(kind) = clear::kind(code) {
            return Ok(kind);
        }
        self.with(|ctx| {
            let mut budget = Budget::of(code.len());
            let _ = budget.take(code.len());
            // If it is no async code either, that is found when it runs: so the second compilation
            // would tell nothing.
            if !compiles(ctx, code, Goal::Script) {
                return Ok(Kind::Async);
            }
            detect(ctx, code, Ok(()), &mut budget)
        })
    }

    fn parse(&self, code: &str) -> Result<Kind, CellError> {
        self.with(|ctx| {
            let mut budget = Budget::of(code.len());
            let script = budget.compile(ctx, code, Goal::Script);
            detect(ctx, code, script, &mut budget)
        })
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
        refuse_zero(code)?;
        self.with(|ctx| {
            let mut budget = Budget::of(code.len());
            match budget.compile(ctx, code, Goal::Script) {
                Err(error) if !code.contains(WORD) => Err(error),
                script => detect(ctx, code, script, &mut budget),
            }
        })
    }

    /// Is the code complete, or is something missing?
    pub fn completeness(&self, code: &str) -> Completeness {
        match self.check(code) {
            Ok(_) => Completeness::Complete,
            Err(error) if self.may_go_on(code, &error) => Completeness::Incomplete,
            Err(_) => Completeness::Invalid,
        }
    }

    /// Is the error that something is missing at the end of the code?
    fn may_go_on(&self, code: &str, error: &CellError) -> bool {
        if !ends_a_text(error) {
            return is_at_the_end(code, error);
        }
        // The engine says the same of a template, which goes on in the next line, and of a text, which
        // does so only after a backslash. So: can it be closed there?
        let line = match code.ends_with('\n') {
            true => "",
            false => "\n",
        };
        let closes: &[char] = match code.trim_end_matches(['\r', '\n']).ends_with('\\') {
            true => &['`', '\'', '"'],
            false => &['`'],
        };
        closes.iter().any(|close| {
            match self.check(&format!("{code}{line}{close}")) {
                Ok(_) => true,
                // A limit, of time or memory, says nothing about the text.
                Err(error) => error.name == "SyntaxError" && !ends_a_text(&error),
            }
        })
    }

    fn with<T>(&self, f: impl FnOnce(&Ctx<'_>) -> Result<T, CellError>) -> Result<T, CellError> {
        let engines = || self.engines.lock().expect("nothing panics under it");
        let kept = engines().pop();
        let engine = kept.unwrap_or_else(Engine::new);
        engine.clock.start();
        let result = engine.context.with(|ctx| f(&ctx));
        if engine.clock.stop() {
            // The refused allocation may have caused any error, which this one replaces.
            let message = format!("it took more than {PATIENCE:?} to tell what this is");
            return Err(CellError::new("TimeLimit", message));
        }
        if engine.memory.take_over() {
            // The same holds for this; and the engine has no stack left.
            let message = "there is too little memory to tell what this is";
            return Err(CellError::new("MemoryLimit", message));
        }
        let mut engines = engines();
        if engines.len() < KEPT {
            engines.push(engine);
        }
        result
    }
}

/// The engine takes code as a C string.
fn refuse_zero(code: &str) -> Result<(), CellError> {
    let Some(at) = code.find('\0') else {
        return Ok(());
    };
    let before = &code[..at];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    Err(CellError {
        line: u32::try_from(line).ok(),
        column: u32::try_from(column).ok(),
        hint: Some("write `\\0` in a text".into()),
        ..CellError::new("SyntaxError", "the code has a character of number zero")
    })
}

/// Compares what the code is as a script with what it is as async code.
fn detect(
    ctx: &Ctx<'_>,
    code: &str,
    script: Result<(), CellError>,
    budget: &mut Budget,
) -> Result<Kind, CellError> {
    match (script, budget.compile(ctx, code, Goal::Async)) {
        (Ok(()), Err(_)) => Ok(Kind::Sync),
        (Err(_), Ok(())) => Ok(Kind::Async),
        (Err(script), Err(asynchronous)) => Err(explain(code, script, asynchronous)),
        (Ok(()), Ok(())) => {
            let places: Vec<usize> = words(code).collect();
            match has_operator(ctx, code, &places, budget) {
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

/// Is one of these places an `await` at top level? `None` if there is too much to compile.
fn has_operator(ctx: &Ctx<'_>, code: &str, places: &[usize], budget: &mut Budget) -> Option<bool> {
    if places.is_empty() {
        return Some(false);
    }
    let doubled = double(code, places);
    budget.take(doubled.len())?;
    if compiles(ctx, &doubled, Goal::Script) {
        return Some(false);
    }
    if let [_] = places {
        budget.take(doubled.len())?;
        return Some(compiles(ctx, &doubled, Goal::Async));
    }
    let (front, back) = places.split_at(places.len() / 2);
    match has_operator(ctx, code, front, budget)? {
        true => Some(true),
        false => has_operator(ctx, code, back, budget),
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

/// Is it the error of a text or a template without an end?
fn ends_a_text(error: &CellError) -> bool {
    error.message == "unexpected end of string"
}

fn is_at_the_end(code: &str, error: &CellError) -> bool {
    let message = error.message.to_lowercase();
    if message == "unexpected end of regexp" {
        // It ends with its line.
        return false;
    }
    if message.starts_with("unexpected end of") {
        return true;
    }
    error
        .offset(code)
        .is_some_and(|offset| code[offset..].trim().is_empty())
}

/// Compiles, without running.
fn compile(ctx: &Ctx<'_>, code: &str, goal: Goal) -> Result<(), CellError> {
    let Ok(source) = CString::new(code) else {
        // Refused before, with the place.
        return Err(CellError::new("SyntaxError", "a character of number zero"));
    };
    if compile_raw(ctx, &source, goal) {
        return Ok(());
    }
    let thrown = ctx.catch();
    Err(CellError::thrown(ctx, &thrown, "cell"))
}

/// [`compile`], without the error: to read it takes about as long as to find it.
fn compiles(ctx: &Ctx<'_>, code: &str, goal: Goal) -> bool {
    let Ok(source) = CString::new(code) else {
        return false;
    };
    let compiles = compile_raw(ctx, &source, goal);
    if !compiles {
        drop(ctx.catch());
    }
    compiles
}

/// Does it compile? If not, the error is left in the context.
#[allow(
    unsafe_code,
    reason = "the engine's bindings have no safe name for compiling without running"
)]
fn compile_raw(ctx: &Ctx<'_>, source: &CString, goal: Goal) -> bool {
    let mut flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
    if goal == Goal::Async {
        flags |= qjs::JS_EVAL_FLAG_ASYNC;
    }
    let flags = i32::try_from(flags).expect("a few bits");
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: `raw` is a live context: `ctx` holds a reference, and, as it exists, the lock on its
    // runtime. The source is a C string; the engine gets its length without the terminating zero,
    // and reads the zero, which is there. Both strings outlive the call. We own the returned value,
    // and free it once, on the same context. If it is the exception, there is nothing to free, and
    // the callers take the error from the context with `catch`.
    unsafe {
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
        !failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Detects the kind of the code, and returns what that took.
    fn budget(code: &str) -> (Result<Kind, CellError>, Budget) {
        let mut budget = Budget::of(code.len());
        // A test thread has more stack than the engine uses.
        let result = Parser::default().with(|ctx| {
            let script = budget.compile(ctx, code, Goal::Script);
            detect(ctx, code, script, &mut budget)
        });
        (result, budget)
    }

    fn is_bounded(code: &str) -> Result<(), TestCaseError> {
        let (result, budget) = budget(code);
        prop_assert!(budget.attempts <= ATTEMPTS, "{budget:?}");
        prop_assert!(budget.bytes <= BYTES + TIMES * code.len(), "{budget:?}");
        if let Err(error) = result {
            prop_assert!(
                [
                    "SyntaxError",
                    "RangeError",
                    "TimeLimit",
                    "InternalError",
                    "MemoryLimit",
                    "Thrown"
                ]
                .contains(&error.name.as_str()),
                "{error}"
            );
        }
        // Also by the tokens alone, and by tokens and parser together.
        let parser = Parser::default();
        let _ = (parser.detect(code), parser.completeness(code));
        Ok(())
    }

    #[test]
    fn many_places_that_are_all_to_be_tried_are_an_error() {
        let names = "x.await;".repeat(20_000);
        let (result, budget) = budget(&names);
        assert_eq!(result.unwrap_err().name, "SyntaxError");
        assert!(budget.bytes <= BYTES + TIMES * names.len());
        // A few places are no error, nor are many that one attempt excludes.
        let few = format!("{}; await (1)", "x.await;".repeat(50));
        assert_eq!(Parser::default().parse(&few), Ok(Kind::Async));
        let texts = format!("{}; await (1)", "'await (1)';".repeat(10_000));
        assert_eq!(Parser::default().parse(&texts), Ok(Kind::Async));
    }

    /// The reply to wrong code is the error of the goal that got further, as before it runs.
    #[test]
    fn code_that_is_no_script_needs_one_compilation() {
        let parser = Parser::default();
        for code in ["let ü = (await x)", "let ü = (await x", "var await; ]"] {
            assert_eq!(clear::kind(code), None, "{code}");
            assert_eq!(parser.detect(code), Ok(Kind::Async), "{code}");
        }
        assert_eq!(parser.check("let ü = (await x)"), Ok(Kind::Async));
        let error = CellError::new("SyntaxError", "as it runs");
        for code in ["let ü = (await x", "var await; ]"] {
            let explained = parser.explain(code, error.clone());
            assert_eq!(explained, parser.check(code).unwrap_err());
            assert_ne!(explained, error);
        }
    }

    #[test]
    fn a_zero_is_an_error_with_a_place() {
        let parser = Parser::default();
        for code in ["1;\n'é\0'", "1;\n'é\0'; await 1"] {
            for error in [parser.detect(code), parser.check(code)] {
                let error = error.unwrap_err();
                assert_eq!(error.name, "SyntaxError");
                assert_eq!((error.line, error.column), (Some(2), Some(3)));
            }
            assert_eq!(parser.completeness(code), Completeness::Invalid);
        }
    }

    /// A function that needs more of the engine's stack than there is, before a text without an end.
    #[test]
    fn a_text_does_not_go_on_if_closed_it_exceeds_a_limit() {
        let parser = Parser::default();
        let arguments = "1,".repeat(40_000);
        let code = format!("f({arguments} g({arguments} 1)); `a");
        let closed = parser.check(&format!("{code}`")).unwrap_err();
        assert_ne!(closed.name, "SyntaxError");
        assert_eq!(parser.completeness(&code), Completeness::Invalid);
        assert_eq!(parser.completeness("f(1); `a"), Completeness::Incomplete);
    }

    /// The parser takes quadratic time for this code.
    #[test]
    fn what_the_engines_parser_takes_long_for_is_an_error() {
        use std::fmt::Write;
        let mut code = "class A { ".to_owned();
        for number in 0..50_000 {
            write!(code, "#a{number} = 1; ").unwrap();
        }
        code.push_str("} await (1)");
        let parser = Parser::default();
        let found = parser.parse(&code);
        // A fast machine may finish in time.
        assert!(
            found == Ok(Kind::Async) || found.as_ref().is_err_and(|e| e.name == "TimeLimit"),
            "{found:?}"
        );
        assert_eq!(parser.parse("await (1)"), Ok(Kind::Async));
    }

    fn pieces() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "await ",
            "await (x);",
            "await (",
            "x.await;",
            "'await';",
            "`${await (1)}`;",
            "`${",
            "}`",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "async () => { ",
            "await = 1;",
            "function f() { ",
            "/await/;",
            "// await\n",
            "/* await",
            "x;",
            "=>",
            "({ await: ",
            "}) ",
            "class { ",
            "var await;",
            "\n",
            "\0",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24, failure_persistence: None, ..ProptestConfig::default()
        })]

        /// Long code of a few pieces, each repeated many times: nested, or full of places to try.
        #[test]
        fn what_is_compiled_is_linear_in_the_code(
            parts in prop::collection::vec((pieces(), 1..2000usize), 1..6),
            times in 1..20usize,
        ) {
            let mut code: String = parts.iter().map(|(piece, count)| piece.repeat(*count)).collect();
            code = code.repeat(times);
            let end = (0..=code.len().min(1 << 19)).rev().find(|at| code.is_char_boundary(*at));
            code.truncate(end.unwrap_or(0));
            is_bounded(&code)?;
        }

        /// Short code of arbitrary pieces.
        #[test]
        fn what_is_compiled_for_short_code_is_bounded(
            parts in prop::collection::vec(pieces(), 0..300)
        ) {
            is_bounded(&parts.concat())?;
        }
    }
}
