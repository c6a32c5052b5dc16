//! `execute` for work of any kind, beside the methods for each kind; and sessions.

use std::{future::Future, hint::black_box, io};

use fourway_core::{BlockOn, Offload, Runtime, Spawner};
use fourway_execute::{Executor, Model, Session, execute};
use fourway_std_thread::StdThread;

use super::timed;
use crate::{
    operation::{Contender, Operation},
    peers::{self, Started},
    promise::Promise,
};

const SECTION: &str = "Execute";

const SPAWN: &str = "spawn";
const OFFLOAD: &str = "offload";
const EXECUTE: &str = "execute";
const EXECUTOR: &str = "Executor, route";
const SESSION: &str = "Session, route";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(SECTION, "a future", 100_000, |_| futures())
            .lead()
            .note("a task starts one after the other, and waits for each; on std-thread")
            // The same code: any difference is noise.
            .promise(Promise::ratio(EXECUTE, SPAWN, 1.05)),
        Operation::new(SECTION, "a closure", 20_000, |_| closures())
            .lead()
            .note("a task hands over one after the other, and waits for each; on std-thread")
            .promise(Promise::ratio(EXECUTE, OFFLOAD, 1.05)),
        Operation::new(SECTION, "100 executions in line", 20_000, |_| lines())
            .lead()
            .note(
                "of one session, all asked for at once, then waited for; the figure is for one. \
                 Those of both kinds alternate",
            ),
        Operation::new(SECTION, "64 sessions", 64_000, |_| sessions())
            .lead()
            .note("side by side, each with one execution after the other; the figure is for one"),
    ]
}

/// Awaits the result of `start`, this many times, in a task.
fn one_by_one<F>(
    name: &'static str,
    ours: bool,
    start: impl Fn(&StdThread) -> F + Copy + Send + 'static,
) -> io::Result<Contender>
where
    F: Future<Output: Send> + Send + 'static,
{
    let peer = peers::threads()?.named(name);
    Ok(timed(Started { ours, ..peer }, move |peer, times| {
        let rt = peer.0.clone();
        let all = async move {
            for _ in 0..times {
                black_box(start(&rt).await);
            }
        };
        peer.0
            .block_on(peer.0.spawn(all))
            .expect("it does not panic");
    }))
}

fn futures() -> io::Result<Vec<Contender>> {
    Ok(vec![
        one_by_one(SPAWN, false, |rt| rt.spawn(async { black_box(1) }))?,
        one_by_one(EXECUTE, true, |rt| execute(rt, async { black_box(1) }))?,
        in_a_model(EXECUTOR, Model::Route, |executor| {
            executor.execute(async { black_box(1) })
        })?,
        in_a_model("Executor, thread", Model::Thread, |executor| {
            executor.execute(async { black_box(1) })
        })?,
        in_a_session(SESSION, Model::Route, |session| {
            session.execute(async |mut n| *n += 1)
        })?,
        in_a_session("Session, thread", Model::Thread, |session| {
            session.execute(async |mut n| *n += 1)
        })?,
    ])
}

fn closures() -> io::Result<Vec<Contender>> {
    Ok(vec![
        one_by_one(OFFLOAD, false, |rt| rt.offload(|| black_box(1)))?,
        one_by_one(EXECUTE, true, |rt| execute(rt, || black_box(1)))?,
        in_a_model(EXECUTOR, Model::Route, |executor| {
            executor.execute(|| black_box(1))
        })?,
        in_a_model("short, async", Model::Async, |executor| {
            executor.execute(fourway_execute::short(|| black_box(1)))
        })?,
        in_a_session(SESSION, Model::Route, |session| {
            session.execute(|mut n| *n += 1)
        })?,
        in_a_session("Session, short, async", Model::Async, |session| {
            session.execute_short(|mut n| *n += 1)
        })?,
    ])
}

/// As [`one_by_one`], with a value that is made once on the runtime.
fn made<M, F>(
    name: &'static str,
    make: impl FnOnce(StdThread) -> M,
    start: impl Fn(&M) -> F + Copy + Send + 'static,
) -> io::Result<Contender>
where
    M: Clone + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let peer = peers::threads()?.named(name);
    let made = make(peer.peer.0.clone());
    Ok(timed(peer, move |peer, times| {
        let made = made.clone();
        let all = async move {
            for _ in 0..times {
                black_box(start(&made).await);
            }
        };
        peer.0
            .block_on(peer.0.spawn(all))
            .expect("it does not panic");
    }))
}

fn in_a_model<F>(
    name: &'static str,
    model: Model,
    start: impl Fn(&Executor<StdThread>) -> F + Copy + Send + 'static,
) -> io::Result<Contender>
where
    F: Future<Output: Send> + Send + 'static,
{
    made(name, |rt| Executor::new(rt, model), start)
}

fn in_a_session<F>(
    name: &'static str,
    model: Model,
    start: impl Fn(&Session<StdThread, u64>) -> F + Copy + Send + 'static,
) -> io::Result<Contender>
where
    F: Future<Output: Send> + Send + 'static,
{
    made(name, |rt| Session::new(rt, model, 0), start)
}

fn lines() -> io::Result<Vec<Contender>> {
    const LENGTH: u32 = 100;
    Model::ALL
        .map(|model| {
            let peer = peers::threads()?.named(model.name());
            Ok(timed(peer, move |peer, times| {
                let rt = peer.0.clone();
                let all = async move {
                    let session = Session::new(rt, model, 0_u64);
                    for _ in 0..times / LENGTH {
                        let line: Vec<_> = (0..LENGTH)
                            .map(|at| match at % 2 {
                                0 => session.execute(async |mut n| *n += 1),
                                _ => session.execute_short(|mut n| *n += 1),
                            })
                            .collect();
                        for execution in line {
                            execution.await.expect("nobody stops it");
                        }
                    }
                };
                peer.0
                    .block_on(peer.0.spawn(all))
                    .expect("it does not panic");
            }))
        })
        .into_iter()
        .collect()
}

fn sessions() -> io::Result<Vec<Contender>> {
    const SESSIONS: u32 = 64;
    fn all_of<R: Runtime>(rt: &R, model: Model, times: u32) {
        let tasks: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let session = Session::new(rt.clone(), model, 0_u64);
                rt.spawn(async move {
                    for at in 0..times / SESSIONS {
                        // A mix of both kinds, as in notebooks.
                        let execution = match (at + number) % 2 {
                            0 => session.execute(async |mut n| *n += 1),
                            _ => session.execute_short(|mut n| *n += 1),
                        };
                        execution.await.expect("nobody stops it");
                    }
                })
            })
            .collect();
        for task in tasks {
            rt.block_on(task).expect("it does not panic");
        }
    }
    Model::ALL
        .map(|model| {
            let peer = peers::threads()?.named(model.name());
            Ok(timed(peer, move |peer, times| {
                all_of(&peer.0, model, times)
            }))
        })
        .into_iter()
        .collect()
}
