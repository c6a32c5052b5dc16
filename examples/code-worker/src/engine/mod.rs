//! One session's engine: [`Engine`], which executions use one after another.
//!
//! Each has its own QuickJS runtime, and so its own limits and interruptions; and one context,
//! whose global scope is the namespace. It can be used on any thread, by one thread at a time,
//! which the session ensures.
//!
//! # Interrupting
//!
//! The engine calls a handler now and then while it runs code; the handler checks the token of the
//! execution. The code cannot catch such a stop, and a promise whose job was stopped is never
//! settled. So [`Shared::stopped`] records it, and the waiter for a promise checks it.
//!
//! The same happens if a block of memory cannot grow within the limit (`memory.rs`).
//!
//! Between two such calls code may run ten thousand instructions, and some functions of the engine
//! never call it. So allocations fail as well once the code must stop (`memory.rs`), and slow
//! functions that allocate nothing are replaced (`guards.js`).

mod natives;
#[cfg(test)]
mod parser_tests;
mod rejections;
mod shared;
mod stack;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fourway::{
    AbortHandle, AnyRuntime, CancellationToken,
    execute::{Scope, Session},
};
use rquickjs::{
    Context, Function, Promise, Runtime, Value, context::EvalOptions, runtime::InterruptHandler,
};

use natives::{bridge, natives, show, thrown};
use shared::{Current, Ended, Shared};
pub(crate) use stack::Stack;

use crate::{
    error::CellError,
    host::{Functions, Host},
    limits::Limits,
    memory::{Limited, Memory},
    names::Names,
    program,
    protocol::Reply,
};

/// The stack of the thread that runs code, in bytes: deeper nested calls are an error. Threads of a
/// pool have two megabytes.
pub(crate) const STACK: usize = 512 * 1024;

/// Jobs between two checks of the token, and of other waiters for the thread.
const JOBS: usize = 64;
/// How often sync code runs that many jobs before it ends. The remaining jobs go on after it.
const STEPS_AFTER_SYNC_CODE: usize = 16;

/// The memory to compile code: so much, and so much for each byte of it.
const ROOM: usize = 1024 * 1024;
const ROOM_EACH: usize = 64;

/// The most matches of a completion.
const MATCHES: usize = 1000;

/// A value as text, `None` for `undefined`; or why there is no value.
pub type Outcome = Result<Option<String>, CellError>;

/// A session of the library, with an engine as its namespace.
pub(crate) type EngineSession = Session<AnyRuntime, Engine>;
/// A turn with the engine.
pub(crate) type Turn = Scope<AnyRuntime, Engine>;

/// The engine of one session.
pub struct Engine {
    context: Context,
    shared: Arc<Shared>,
    names: Names,
    cells: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

/// How code runs, which decides the results of its host functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On a thread that may block: values.
    Blocking,
    /// On the executor, without an `await`: blocking functions are refused.
    InPlace,
    /// Async: promises.
    Async,
}

/// An execution that has its turn: its client and its code.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) host: Host,
    pub(crate) code: String,
}

impl Engine {
    /// A fresh one.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new(limits: Limits, functions: Functions) -> rquickjs::Result<Self> {
        let memory = Memory::new();
        let runtime = Runtime::new_with_alloc(Limited(memory.clone()))?;
        runtime.set_max_stack_size(STACK);
        let context = Context::full(&runtime)?;
        let names: Vec<&str> = functions.names().collect();
        let shared = Arc::new(Shared {
            limits,
            functions: functions.clone(),
            memory: memory.clone(),
            state: Mutex::default(),
            stopped: AtomicBool::new(false),
            over_output: AtomicBool::new(false),
            rejections: Arc::default(),
            promises: AtomicUsize::new(1),
            traffic: Arc::default(),
        });
        let (tracker, stack, stack_of_memory) = context.with(|ctx| {
            let watching = shared.clone();
            let is_stopped = Function::new(ctx.clone(), move || watching.is_stopped())?;
            program::guards(&ctx)?.call::<_, ()>((is_stopped,))?;
            let native = natives(&ctx, &shared)?;
            let bridge: Function<'_> = program::bootstrap(&ctx)?.call((native, names))?;
            // Kept where code cannot find it.
            ctx.store_userdata(bridge)
                .map_err(|_| rquickjs::Error::Unknown)?;
            let tracker = shared.rejections.track(&ctx)?;
            Ok::<_, rquickjs::Error>((tracker, Stack::of(&ctx), Stack::of(&ctx)))
        })?;
        runtime.set_host_promise_rejection_tracker(Some(tracker));
        // From here on: memory of the engine itself does not count for the user.
        memory.limit_to(limits.memory);
        // Weak, as a strong reference would keep the memory alive.
        let watching = Arc::downgrade(&shared);
        memory.refuse_if(move || {
            let shared = watching.upgrade();
            shared.is_some_and(|shared| shared.is_stopped())
        });
        end_parser_with(&memory, stack_of_memory);
        runtime.set_interrupt_handler(Some(interrupt_handler(&shared, stack)));
        Ok(Self {
            context,
            shared,
            names: Names::default(),
            cells: 0,
        })
    }

    /// How much memory the engine has, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.memory.used()
    }

    fn begin(turn: &Turn, mode: Mode, host: Host, file: String) {
        let shared = &turn.shared;
        shared.stopped.store(false, Ordering::Relaxed);
        shared.over_output.store(false, Ordering::Relaxed);
        shared.memory.take_refused();
        // Memory may have run out between two executions, which takes the stack.
        shared.memory.take_over();
        turn.context.runtime().set_max_stack_size(STACK);
        let current = Current {
            mode,
            file,
            token: turn.token().clone(),
            session: turn.session().clone(),
            host,
            written: 0,
            started: Vec::new(),
            outcome: None,
        };
        let mut state = shared.state();
        state.driven = true;
        state.current = Some(current);
    }

    /// Runs sync code, on this thread.
    pub(crate) fn run(mut turn: Turn, cell: Cell, mode: Mode) -> Outcome {
        turn.make_room(&cell.code)?;
        let file = turn.next_cell(&cell.code);
        Self::begin(&turn, mode, cell.host, String::new());
        let current = Entered(&turn);
        let outcome = turn.context.with(|ctx| {
            let options = options(file, false);
            let result = ctx.eval_with_options::<Value<'_>, _>(cell.code.as_str(), options);
            let outcome = result.and_then(|value| show(&ctx, &value));
            outcome.map_err(|error| thrown(&ctx, error, &turn.file()))
        });
        // Runs jobs that the code has started without waiting for them, as far as possible now.
        for _ in 0..STEPS_AFTER_SYNC_CODE {
            if !turn.has_more() || !turn.step(turn.token()) {
                break;
            }
        }
        turn.tell_rejections(turn.token());
        let outcome = turn.judge(outcome, turn.token(), &cell.code);
        drop(current);
        outcome
    }

    /// Runs async code in steps, between which other tasks may use the thread.
    pub(crate) async fn drive(mut turn: Turn, cell: Cell) -> Outcome {
        turn.make_room(&cell.code)?;
        let file = turn.next_cell(&cell.code);
        Self::begin(&turn, Mode::Async, cell.host.clone(), file.clone());
        let current = Entered(&turn);
        let started = turn.context.with(|ctx| {
            let options = options(file.clone(), true);
            let result = ctx.eval_with_options::<Promise<'_>, _>(cell.code.as_str(), options);
            let watched = result
                .and_then(|promise| bridge(&ctx)?.call::<_, ()>(("watch", promise, file.as_str())));
            watched.map_err(|error| thrown(&ctx, error, &file))
        });
        let outcome = match started {
            Err(error) => Err(error),
            Ok(()) => turn.settle_all(turn.token(), &cell.host, true).await,
        };
        turn.tell_rejections(turn.token());
        let outcome = turn.judge(outcome, turn.token(), &cell.code);
        drop(current);
        outcome
    }

    /// Settles promises of host functions that have ended between executions, and runs some of the
    /// jobs that wait for them or were left by earlier executions.
    async fn go_on(turn: Turn) {
        let Some(host) = turn.shared.state().last.clone() else {
            return;
        };
        // Earlier code may have left none. Where there is too little, it goes on with that.
        let _ = turn.shared.memory.make_room(ROOM);
        Self::begin(&turn, Mode::Async, host.clone(), "nothing".to_owned());
        let current = Entered(&turn);
        let outcome = turn.settle_all(turn.token(), &host, false).await;
        turn.tell_rejections(turn.token());
        if let Err(error) = turn.judge(outcome, turn.token(), "") {
            turn.tell_discarded(&host, &error);
        }
        drop(current);
    }

    /// Tells the client that its work left behind is discarded, as it has exceeded a limit. No request
    /// has this error as its reply. If it was interrupted or reset, the client has asked for that.
    fn tell_discarded(&self, host: &Host, error: &CellError) {
        if !["MemoryLimit", "OutputLimit", "TimeLimit"].contains(&error.name.as_str()) {
            return;
        }
        let stream = "err".to_owned();
        let text = format!(
            "Uncaught {}: {}; work left behind was discarded\n",
            error.name, error.message
        );
        host.outbox
            .push(Some(host.id), Reply::Output { stream, text });
    }

    /// Runs jobs until there is an outcome; or only some jobs, if no outcome is awaited.
    async fn settle_all(&self, token: &CancellationToken, host: &Host, waits: bool) -> Outcome {
        loop {
            let more = self.step(token);
            if host.outbox.is_full() {
                host.outbox.ready().await;
            }
            if let Some(outcome) = self.take_outcome() {
                return outcome;
            }
            if self.shared.has_stopped() || token.is_cancelled() {
                // `judge` finds out which limit it was.
                return Err(CellError::new("Interrupted", ""));
            }
            if more && waits {
                fourway::yield_now().await;
                continue;
            }
            if !waits {
                // Further jobs get another turn, behind the executions in line.
                return Ok(None);
            }
            std::future::poll_fn(|cx| {
                let waker = cx.waker().clone();
                let mut state = self.shared.state();
                if !state.ended.is_empty() {
                    return std::task::Poll::Ready(());
                }
                let before = state.waker.replace(waker);
                drop(state);
                drop(before);
                std::task::Poll::Pending
            })
            .await;
        }
    }

    fn take_outcome(&self) -> Option<Outcome> {
        let mut state = self.shared.state();
        state
            .current
            .as_mut()
            .and_then(|current| current.outcome.take())
    }

    /// Is there anything to settle, or to run?
    fn has_more(&self) -> bool {
        self.context.runtime().is_job_pending() || !self.shared.state().ended.is_empty()
    }

    /// Settles the promises of ended functions, and runs some jobs. Is there more to do?
    fn step(&self, token: &CancellationToken) -> bool {
        if self.shared.has_stopped() || token.is_cancelled() {
            return false;
        }
        let ended = std::mem::take(&mut self.shared.state().ended);
        if !ended.is_empty() {
            self.context.with(|ctx| {
                for Ended {
                    number, ok, text, ..
                } in ended
                {
                    let settled =
                        bridge(&ctx).and_then(|f| f.call::<_, ()>(("settle", number, ok, text)));
                    if settled.is_err() {
                        // Out of memory: the promise stays as it is.
                        ctx.catch();
                    }
                }
            });
        }
        let runtime = self.context.runtime();
        for _ in 0..JOBS {
            // A job that throws rejects its promise; an error here means that the job was stopped.
            if let Ok(false) = runtime.execute_pending_job() {
                return !self.shared.state().ended.is_empty();
            }
            if self.shared.has_stopped() {
                return false;
            }
        }
        true
    }

    /// Writes the errors that no code has taken to the client: those of timers, for example, and of
    /// promises that no code awaits. Pending jobs may still take them, so then a later turn does it.
    fn tell_rejections(&self, token: &CancellationToken) {
        let shared = &self.shared;
        if shared.rejections.any()
            && !token.is_cancelled()
            && !shared.has_stopped()
            && !self.context.runtime().is_job_pending()
        {
            self.context.with(|ctx| shared.rejections.tell(&ctx));
        }
    }

    /// Stopped code must not go on unnoticed by the client.
    fn give_up(&self) {
        let mut state = self.shared.state();
        // From here on no code runs that could be stopped or print.
        let current = state.current.take();
        drop(state);
        let Some(current) = current else { return };
        self.context.runtime().set_max_stack_size(STACK);
        for (_, task) in &current.started {
            task.abort();
        }
        self.forget(&current.started);
        self.discard_jobs();
        self.context.with(|ctx| self.shared.rejections.forget(&ctx));
        let last = self.shared.state().last.replace(current.host);
        drop(last);
    }

    /// Leaves these promises unsettled, even if their functions have ended already.
    fn forget(&self, started: &[(usize, AbortHandle)]) {
        self.context.with(|ctx| {
            for (number, _) in started {
                let forgotten = bridge(&ctx).and_then(|f| f.call::<_, ()>(("forget", *number)));
                if forgotten.is_err() {
                    // Out of memory: the promise is settled later, and its output goes to the wrong
                    // client.
                    ctx.catch();
                }
            }
        });
    }

    /// Discards all jobs: each fails before its code runs, as the stack has no room for a call.
    /// Their promises stay unsettled.
    ///
    /// Setting `stopped` is not enough: the engine does not check it in each job, and a job may
    /// leave another job.
    fn discard_jobs(&self) {
        let runtime = self.context.runtime();
        runtime.set_max_stack_size(1);
        while runtime.is_job_pending() {
            // The error, if there is one, is that.
            let _ = runtime.execute_pending_job();
        }
        runtime.set_max_stack_size(STACK);
    }

    /// Memory to compile this code, also if earlier code has left none.
    fn make_room(&self, code: &str) -> Result<(), CellError> {
        let room = ROOM.saturating_add(code.len().saturating_mul(ROOM_EACH));
        if self.shared.memory.make_room(room) {
            return Ok(());
        }
        let message = "the session has too little memory left for this code; reset it";
        Err(CellError::new("MemoryLimit", message))
    }

    fn next_cell(&mut self, code: &str) -> String {
        self.cells += 1;
        self.names.note(code);
        self.file()
    }

    /// The name of the code that is executed.
    fn file(&self) -> String {
        format!("cell-{}", self.cells)
    }

    /// The outcome, unless the worker stopped the code.
    fn judge(&self, outcome: Outcome, token: &CancellationToken, code: &str) -> Outcome {
        let over = self.shared.over_output.load(Ordering::Relaxed);
        let error = match outcome {
            Ok(Some(value)) if value.len() > self.shared.limits.output => {
                let limit = self.shared.limits.output;
                let message = format!("the value has more than {limit} bytes as text");
                return Err(CellError::new("OutputLimit", message));
            }
            // The stop came too late.
            Ok(value) if !self.shared.has_stopped() && !over => return Ok(value),
            Ok(_) => CellError::new("Interrupted", ""),
            Err(error) => error,
        };
        if over {
            let limit = self.shared.limits.output;
            return Err(CellError::new(
                "OutputLimit",
                format!("more than {limit} bytes of output"),
            ));
        }
        match token.reason() {
            Some(reason) => Err(stopped(&reason)),
            // The engine's own error, or the value that it throws without memory for an error.
            None if self.shared.memory.take_refused()
                && (self.shared.memory.is_over()
                    || error.message == "out of memory"
                    || (error.name == "Thrown" && error.message == "null")) =>
            {
                Err(CellError::new(
                    "MemoryLimit",
                    format!("more than {} bytes of memory", self.shared.limits.memory),
                ))
            }
            None => Err(error.with_caret(code)),
        }
    }

    /// Completions of this text: where they begin, and the names.
    pub(crate) fn complete(turn: &mut Turn, host: Host, text: &str) -> (usize, Vec<String>) {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
        let start = text
            .char_indices()
            .rev()
            .take_while(|(_, c)| is_part(*c))
            .last()
            .map_or(text.len(), |(at, _)| at);
        let path = &text[start..];
        let (object, prefix) = match path.rsplit_once('.') {
            Some((object, prefix)) => (Some(object), prefix),
            None => (None, path),
        };
        let start = text.len() - prefix.len();
        // Before the dot there is no name but a value, as in `f().x`, and nothing is executed here.
        if !object.is_none_or(is_path) {
            return (start, Vec::new());
        }
        let object = object.unwrap_or_default();
        let declared = match object {
            "" => turn.names.starting_with(prefix),
            _ => Vec::new(),
        };
        if turn.make_room(path).is_err() {
            // It would fail half-way, and take the work left behind with it.
            return (start, Vec::new());
        }
        Self::begin(turn, Mode::InPlace, host.clone(), String::new());
        let current = Entered(turn);
        let found = turn.context.with(|ctx| {
            let list = |names: rquickjs::Result<Vec<String>>| {
                names.unwrap_or_else(|_| {
                    ctx.catch();
                    Vec::new()
                })
            };
            let mut found = list(bridge(&ctx).and_then(|f| f.call(("members", object))));
            found.extend(list(bridge(&ctx).and_then(|f| f.call(("exist", declared)))));
            found
        });
        if let Err(error) = turn.judge(Ok(None), turn.token(), text) {
            // The reply has no place for it.
            turn.tell_discarded(&host, &error);
        }
        drop(current);
        let mut names: Vec<String> = found.into_iter().filter(|name| is_path(name)).collect();
        if object.is_empty() {
            names.extend(KEYWORDS.iter().map(|word| (*word).to_owned()));
        }
        names.retain(|name| name.starts_with(prefix));
        names.sort_unstable();
        names.dedup();
        names.truncate(MATCHES);
        (start, names)
    }

    /// The value of a name, in detail.
    pub(crate) fn inspect(turn: &mut Turn, host: Host, name: &str) -> Result<String, CellError> {
        if !is_path(name) {
            let message = format!("`{name}` is no name; names with dots between are inspected");
            return Err(CellError::new("Refused", message));
        }
        turn.make_room(name)?;
        Self::begin(turn, Mode::InPlace, host, String::new());
        let current = Entered(turn);
        let result = turn.context.with(|ctx| {
            let found = bridge(&ctx).and_then(|f| f.call::<_, Vec<String>>(("inspect", name)));
            found.map_err(|error| thrown(&ctx, error, "inspected"))
        });
        let result = turn.judge(result.map(|mut found| found.pop()), turn.token(), name);
        drop(current);
        result.map(Option::unwrap_or_default)
    }
}

#[allow(
    unsafe_code,
    reason = "the stack of an engine is taken by its own handler"
)]
fn interrupt_handler(shared: &Arc<Shared>, stack: Stack) -> InterruptHandler {
    let watching = shared.clone();
    Box::new(move || {
        let stop = watching.is_stopped();
        if stop {
            // SAFETY: the engine calls this while it runs, on the thread that has it.
            unsafe { stack.take() };
        }
        stop
    })
}

#[allow(
    unsafe_code,
    reason = "the stack of an engine is taken by its own allocator"
)]
pub(crate) fn end_parser_with(memory: &Memory, stack: Stack) {
    memory.end_with(move || {
        // SAFETY: the engine calls its allocator on the thread that has it, and frees itself last.
        unsafe { stack.take() };
    });
}

/// Why code was stopped, for its client.
pub(crate) fn stopped(reason: &fourway::cancel::Reason) -> CellError {
    use fourway::cancel::Reason;
    match reason {
        Reason::Deadline => CellError::new("TimeLimit", "the execution took longer than it may"),
        Reason::Shutdown => CellError::new("Closed", "the session was closed"),
        _ => CellError::new(
            "Interrupted",
            "the execution was interrupted; the session goes on",
        ),
    }
}

/// Words that stand for themselves, for completion and colours.
pub const KEYWORDS: &[&str] = &[
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "default",
    "delete",
    "else",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "instanceof",
    "let",
    "new",
    "null",
    "return",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "yield",
];

/// Names with dots between: evaluating this calls no function, except perhaps a getter.
fn is_path(text: &str) -> bool {
    let is_name = |name: &str| {
        let mut characters = name.chars();
        let first = characters.next();
        let starts = |c: char| c.is_alphabetic() || c == '_' || c == '$';
        first.is_some_and(starts) && characters.all(|c| starts(c) || c.is_numeric())
    };
    text.split('.').all(is_name)
}

/// The execution is over when this is dropped, also when its future is dropped by an interruption.
struct Entered<'a>(&'a Turn);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let turn = self.0;
        let shared = &turn.shared;
        let is_stopped = turn.token().is_cancelled()
            || shared.over_output.load(Ordering::Relaxed)
            || shared.memory.is_over();
        if is_stopped {
            turn.give_up();
            // To free values may make jobs, as those of a `FinalizationRegistry`, and so may run out
            // of memory itself, which takes the stack.
            if shared.memory.take_over() {
                turn.context.runtime().set_max_stack_size(STACK);
            }
        }
        // Only the holder makes jobs and rejections, also by the report of earlier rejections; but
        // promises may have to be settled meanwhile.
        let left = turn.context.runtime().is_job_pending() || shared.rejections.any();
        let mut state = shared.state();
        let waker = state.waker.take();
        let gone = state.current.take().map(|current| {
            let last = state.last.replace(current.host);
            (last, current.token, current.session, current.started)
        });
        let more = left || !state.ended.is_empty();
        // If promises must still be settled, the next turn does that.
        state.driven = more;
        drop(state);
        // Their destructors run under no lock.
        drop((gone, waker));
        if more {
            let session = turn.session();
            session
                .execute(async |turn| Engine::go_on(turn).await)
                .detach();
        }
    }
}

fn options(file: String, promise: bool) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.promise = promise;
    options.filename = Some(file);
    options
}
