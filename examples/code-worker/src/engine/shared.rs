//! State that the engine's functions share with the worker: [`Shared`]. Output, and host functions as
//! values or promises.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use fourway::{AbortHandle, BlockOn, Call, CallError, CancellationToken, execute::Background};

use super::{Engine, EngineSession, Mode, Outcome, rejections::Rejections};
use crate::{
    host::{Functions, Host, Output},
    limits::Limits,
    memory::Memory,
    protocol::Reply,
};

/// How many bytes of JSON a session may have on the way to host functions and back: they are in the
/// worker's memory, not in the engine's.
const TRAFFIC: usize = 16 * 1024 * 1024;

/// One execution, or the continuation of work that earlier ones have left.
pub(super) struct Current {
    pub(super) mode: Mode,
    // The name of the code, as in stacks. Only for async code, whose promise tells it.
    pub(super) file: String,
    pub(super) token: CancellationToken,
    pub(super) session: EngineSession,
    pub(super) host: Host,
    pub(super) written: usize,
    // Host functions that it has started, and the numbers of their promises.
    pub(super) started: Vec<(usize, AbortHandle)>,
    pub(super) outcome: Option<Outcome>,
}

/// State that the engine's functions share with the worker.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) functions: Functions,
    pub(super) memory: Arc<Memory>,
    pub(super) state: Mutex<State>,
    // The handler has stopped code of the current execution, or the execution has written too much.
    // Only the holder of the engine reads and writes both flags, so no other access depends on
    // their order.
    pub(super) stopped: AtomicBool,
    pub(super) over_output: AtomicBool,
    pub(super) rejections: Arc<Rejections>,
    // Numbers for promises.
    pub(super) promises: AtomicUsize,
    // Bytes on their way to host functions and back.
    pub(super) traffic: Arc<AtomicUsize>,
}

/// A part of [`Shared::traffic`].
///
/// It has the counter alone. [`State::ended`] keeps such parts, and nobody takes them out once the engine is
/// gone: a reference to all of [`Shared`] would keep that, and the runtime, for ever.
struct Traffic {
    counter: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Relaxed: a counter; no other access depends on it.
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The result of a host function.
pub(super) struct Ended {
    // The number of its promise.
    pub(super) number: usize,
    pub(super) ok: bool,
    // The JSON of the value, or the error.
    pub(super) text: String,
    _traffic: Option<Traffic>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) current: Option<Current>,
    // The client that executed last: it gets the output of work left behind.
    pub(super) last: Option<Host>,
    // Host functions that have ended, and whose promises must be settled.
    pub(super) ended: Vec<Ended>,
    // An execution has the engine, or is about to get it, and will look at `ended`.
    pub(super) driven: bool,
    pub(super) waker: Option<Waker>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was the code stopped, or has it no stack to go on with?
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.memory.is_over()
    }

    /// Must the code stop? Called by the engine while it runs.
    pub(super) fn is_stopped(&self) -> bool {
        let state = self.state();
        let Some(current) = &state.current else {
            return false;
        };
        let token = current.token.clone();
        drop(state);
        let stop = self.over_output.load(Ordering::Relaxed)
            || self.memory.is_over()
            || token.is_cancelled();
        if stop {
            self.stopped.store(true, Ordering::Relaxed);
        }
        stop
    }

    /// Output. `false` if the code must stop.
    pub(super) fn print(&self, stream: &str, text: String) -> Result<bool, String> {
        let mut state = self.state();
        let Some(current) = &mut state.current else {
            return Ok(true);
        };
        current.written += text.len();
        // Code that does not wait for its client, while the client reads nothing.
        let unread = current.host.outbox.is_overfull();
        if current.written > self.limits.output || unread {
            self.over_output.store(true, Ordering::Relaxed);
            return Err("too much output".to_owned());
        }
        let (host, mode, token) = (current.host.clone(), current.mode, current.token.clone());
        drop(state);
        let stream = stream.to_owned();
        host.outbox
            .push(Some(host.id), Reply::Output { stream, text });
        if mode == Mode::Blocking && host.outbox.is_full() {
            // The thread may wait; async code waits between its jobs.
            let waited = token.run_until_cancelled(host.outbox.ready());
            let _ = host.rt.try_block_on(waited);
            return Ok(!token.is_cancelled());
        }
        Ok(true)
    }

    /// A host function, for sync code a value and for async code the number of a promise. `None`
    /// if the code was asked to stop while it waited.
    pub(super) fn call(self: &Arc<Self>, name: &str, arguments: &str) -> Option<Called> {
        let state = self.state();
        let Some(current) = &state.current else {
            return Some(Called::Error("nothing is executed here".to_owned()));
        };
        let (host, mode, token) = (current.host.clone(), current.mode, current.token.clone());
        drop(state);
        if arguments.len() > TRAFFIC {
            let error = format!("more than {TRAFFIC} bytes are given to `{name}`");
            return Some(Called::Error(error));
        }
        Some(match mode {
            Mode::Async => match self.start(name, arguments) {
                Ok(number) => Called::Promise(number),
                Err(error) => Called::Error(error),
            },
            Mode::InPlace => Called::Error(format!(
                "`{name}` would block the executor in this model: write `await {name}(..)`"
            )),
            Mode::Blocking => {
                let call = self.functions.call(&host, name, arguments);
                // Not `call.wait()`: a thread that waits for a blocking body could not be
                // interrupted.
                let waited = token.run_until_cancelled(call.fallible());
                let waited = host.rt.try_block_on(waited);
                if token.is_cancelled() {
                    return None;
                }
                match waited {
                    Ok(Ok(result)) => match flatten(result) {
                        Ok(value) => Called::Value(json(&value)),
                        Err(error) => Called::Error(error),
                    },
                    Ok(Err(cancelled)) => Called::Error(cancelled.to_string()),
                    Err(error) => Called::Error(error.to_string()),
                }
            }
        })
    }

    /// Starts a host function as a task of the session, and gives the number of its promise.
    pub(super) fn start(self: &Arc<Self>, name: &str, arguments: &str) -> Result<usize, String> {
        let state = self.state();
        let Some(current) = &state.current else {
            return Err("nothing is executed here".to_owned());
        };
        let (host, session) = (current.host.clone(), current.session.clone());
        if session.left_behind().len() >= self.limits.tasks {
            return Err("too many host functions at a time".to_owned());
        }
        drop(state);
        let traffic = self
            .carry(arguments.len())
            .ok_or("too much is given to host functions at a time")?;
        let call = self.functions.call(&host, name, arguments);
        let number = self.promises.fetch_add(1, Ordering::Relaxed);
        let shared = self.clone();
        let later = session.clone();
        let task = async move {
            let result = flatten(call.fallible().await);
            drop(traffic);
            shared.ended(number, result, &later);
        };
        let task: Background<_, ()> = session.spawn(name.to_owned(), task);
        if let Some(current) = &mut self.state().current {
            current.started.push((number, task.abort_handle()));
        }
        Ok(number)
    }

    /// Counts the bytes; `None` if they would be too many.
    fn carry(&self, bytes: usize) -> Option<Traffic> {
        // Counted before the comparison, so that no two share the last bytes; given back on drop.
        let before = self.traffic.fetch_add(bytes, Ordering::Relaxed);
        let traffic = Traffic {
            counter: self.traffic.clone(),
            bytes,
        };
        (before.saturating_add(bytes) <= TRAFFIC).then_some(traffic)
    }

    /// A host function has ended: the holder of the engine settles its promise, or else a new turn
    /// does.
    fn ended(&self, number: usize, output: Output, session: &EngineSession) {
        let (mut ok, mut text) = match output {
            Ok(value) => (true, json(&value)),
            Err(error) => (false, error),
        };
        let traffic = self.carry(text.len());
        if traffic.is_none() {
            ok = false;
            text = "host functions give too much at a time".to_owned();
        }
        let mut state = self.state();
        state.ended.push(Ended {
            number,
            ok,
            text,
            _traffic: traffic,
        });
        let waker = state.waker.take();
        let take_a_turn = !std::mem::replace(&mut state.driven, true);
        drop(state);
        if take_a_turn {
            session
                .execute(async |turn| Engine::go_on(turn).await)
                .detach();
        }
        waker.into_iter().for_each(Waker::wake);
    }
}

pub(super) enum Called {
    Value(String),
    Promise(usize),
    Error(String),
}

fn flatten(result: Result<Output, CallError>) -> Output {
    result.unwrap_or_else(|error| Err(error.to_string()))
}

fn json(value: &serde_json::Value) -> String {
    match value {
        // There is no `undefined` in JSON.
        serde_json::Value::Null => String::new(),
        value => value.to_string(),
    }
}
