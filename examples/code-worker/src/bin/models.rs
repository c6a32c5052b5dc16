//! Measures the three models, and prints tables: `cargo run --release -p code-worker --bin models`.
//!
//! On Linux also context switches, memory and threads, out of `/proc`.

#![forbid(unsafe_code)]

use std::{
    future::Future,
    hint::black_box,
    time::{Duration, Instant},
};

use code_worker::{Connection, Limits, Worker, detect};
use fourway::{AnyRuntime, BlockOn, Offload, Spawner, execute::Model, std_thread::StdThread};
use rquickjs::{Context, Runtime, Value};

const WORKERS: usize = 2;
const SESSIONS: usize = 1000;

fn main() {
    let rt = AnyRuntime::new(
        StdThread::builder()
            .worker_threads(WORKERS)
            .build()
            .expect("threads"),
    );
    println!("std-thread, {WORKERS} worker threads; medians.\n");
    executions(&rt);
    detection();
    many(&rt);
    blocked(&rt);
}

fn worker(rt: &AnyRuntime, model: Model) -> Worker {
    let limits = Limits {
        sessions: 2 * SESSIONS,
        time: Duration::from_secs(5),
        ..Limits::default()
    };
    Worker::new(rt.clone(), model, limits)
}

fn execute(rt: &AnyRuntime, connection: &Connection, session: &str, code: &str) {
    let (_, outcome) = rt.block_on(connection.execute(session, code, 1));
    if let Err(error) = outcome {
        panic!("{code}: {error}");
    }
}

/// The median of `rounds`, each the mean of `times`.
fn median(rounds: usize, times: u32, mut run: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..=rounds)
        .map(|_| {
            let start = Instant::now();
            (0..times).for_each(|_| run());
            start.elapsed() / times
        })
        .skip(1)
        .collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A loop that takes a millisecond in this engine, on this machine.
fn busy() -> String {
    let runtime = Runtime::new().expect("memory");
    let context = Context::full(&runtime).expect("memory");
    let time = |count: u64| {
        let code = code_of(count);
        median(9, 1, || {
            context.with(|ctx| {
                black_box(
                    ctx.eval::<Value<'_>, _>(code.as_str())
                        .expect("it is right"),
                );
            });
        })
    };
    let first = 100_000;
    let millis = time(first).as_secs_f64() * 1e3;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "some ten thousands"
    )]
    let count = (first as f64 / millis) as u64;
    code_of(count)
}

fn code_of(count: u64) -> String {
    format!("(() => {{ let n = 0; for (let i = 0; i < {count}; i++) n += i; return n }})()")
}

fn executions(rt: &AnyRuntime) {
    let hand_over = median(31, 200, || {
        rt.block_on(rt.offload(|| black_box(1))).expect("no panic");
    });
    let plain = {
        let runtime = Runtime::new().expect("memory");
        let context = Context::full(&runtime).expect("memory");
        median(31, 200, || {
            context.with(|ctx| {
                black_box(ctx.eval::<Value<'_>, _>("").expect("it is right"));
            });
        })
    };
    println!("## One execution after the other\n");
    println!(
        "The engine's own evaluation of empty code: {}. A hand-over to the pool and back, waited \
         for by a thread: {}.\n",
        micros(plain),
        micros(hand_over)
    );
    println!("| code | thread | route | async |");
    println!("|---|---|---|---|");
    let busy = busy();
    let rows = [
        ("empty", String::new(), 200),
        ("empty, with `await`", "await null".to_owned(), 200),
        ("1 ms of CPU", busy.clone(), 10),
        ("1 ms of CPU, with `await`", format!("await {busy}"), 10),
        ("1 ms of waiting, `sleep(1)`", "sleep(1)".to_owned(), 10),
        (
            "1 ms of waiting, `await sleep(1)`",
            "await sleep(1)".to_owned(),
            10,
        ),
    ];
    for (name, code, times) in rows {
        let cells = Model::ALL.map(|model| {
            if model == Model::Async && code.starts_with("sleep") {
                return "refused".to_owned();
            }
            let connection = worker(rt, model).connect();
            let before = switches();
            let time = median(31, times, || execute(rt, &connection, "main", &code));
            let switched = switches()
                .zip(before)
                .map_or(String::new(), |(after, before)| {
                    format!(
                        ", {:.1} switches",
                        after.saturating_sub(before) as f64 / f64::from(times * 32)
                    )
                });
            format!("{}{switched}", micros(time))
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!();
}

fn detection() {
    println!("## Telling sync from async\n");
    println!("| code | detection | evaluation | share |");
    println!("|---|---|---|---|");
    let parser = detect::Parser::default();
    let function = "async function f(x) { const y = [1, 2, 3].map(n => n * x); return y[0] }\n";
    let work = "let s = 0; for (let i = 0; i < 1000; i++) s += i;\n";
    let codes = [
        ("no `await`, 50 bytes", format!("{{ {work} }}")),
        ("no `await`, 4 KB", format!("{{ {} }}", function.repeat(50))),
        ("`await`, 70 bytes", format!("{{ {work} await s }}")),
        ("`await (1)`, 70 bytes", format!("{{ {work} await (s) }}")),
        (
            "`await (1)`, 4 KB",
            format!("{{ {} {work} await (1) }}", function.repeat(50)),
        ),
        (
            "`await` in a comment, 70 bytes",
            format!("{{ {work} /* await */ }}"),
        ),
    ];
    for (name, code) in codes {
        let detected = median(31, 50, || {
            black_box(parser.detect(&code).expect("it is right"));
        });
        let runtime = Runtime::new().expect("memory");
        let context = Context::full(&runtime).expect("memory");
        let evaluated = median(31, 50, || {
            context.with(|ctx| {
                let promise = ctx.eval_promise(code.as_str()).expect("it is right");
                black_box(&promise);
                while ctx.execute_pending_job() {}
            });
        });
        let share = detected.as_secs_f64() / evaluated.as_secs_f64();
        println!(
            "| {name} | {} | {} | {:.0} % |",
            micros(detected),
            micros(evaluated),
            share * 100.0
        );
    }
    println!();
}

fn many(rt: &AnyRuntime) {
    println!("## {SESSIONS} sessions\n");
    println!("| | thread | route | async |");
    println!("|---|---|---|---|");
    let mut opened = Vec::new();
    let mut memory = Vec::new();
    let mut waits = Vec::new();
    let mut blocks = Vec::new();
    for model in Model::ALL {
        let connection = worker(rt, model).connect();
        let names: Vec<String> = (0..SESSIONS).map(|n| n.to_string()).collect();
        let before = status("VmRSS");
        let start = Instant::now();
        for name in &names {
            execute(rt, &connection, name, "globalThis.x = 1");
        }
        opened.push(micros(
            start.elapsed() / u32::try_from(SESSIONS).expect("a thousand"),
        ));
        memory.push(match (before, status("VmRSS")) {
            (Some(before), Some(after)) => {
                format!("{} KiB", after.saturating_sub(before) / SESSIONS as u64)
            }
            _ => "?".to_owned(),
        });
        let all = |code: &str| {
            let start = Instant::now();
            let all: Vec<_> = names
                .iter()
                .map(|name| rt.spawn(connection.execute(name, code, 1)))
                .collect();
            let mut threads = 0;
            for task in all {
                threads = threads.max(status("Threads").unwrap_or(0));
                drop(rt.block_on(task).expect("no panic").1.expect("no error"));
            }
            format!("{}, {threads} threads", millis(start.elapsed()))
        };
        waits.push(all("await sleep(10)"));
        blocks.push(match model {
            Model::Async => "refused".to_owned(),
            _ => all("sleep(10)"),
        });
    }
    println!(
        "| opening one, with its first execution | {} |",
        opened.join(" | ")
    );
    println!("| memory of one | {} |", memory.join(" | "));
    println!(
        "| all execute `await sleep(10)` at once | {} |",
        waits.join(" | ")
    );
    println!(
        "| all execute `sleep(10)` at once | {} |",
        blocks.join(" | ")
    );
    println!();
}

fn blocked(rt: &AnyRuntime) {
    println!("## What sessions that block do to another one\n");
    println!(
        "How long `await 1` takes in a session, while others compute for 300 ms without a pause; \
         {} cores.\n",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    println!("| others | thread | route | async |");
    println!("|---|---|---|---|");
    let long = "{ const end = Date.now() + 300; while (Date.now() < end) {} }";
    for others in [0, 1, 2, 8] {
        for kind in ["", "await null; "] {
            if others == 0 && !kind.is_empty() {
                continue;
            }
            let code = format!("{kind}{long}");
            let cells = Model::ALL.map(|model| {
                let connection = worker(rt, model).connect();
                for other in 0..others {
                    execute(rt, &connection, &other.to_string(), "0");
                }
                execute(rt, &connection, "main", "0");
                let busy: Vec<_> = (0..others)
                    .map(|other| rt.spawn(connection.execute(&other.to_string(), &code, 1)))
                    .collect();
                std::thread::sleep(Duration::from_millis(50));
                let mut times: Vec<Duration> = Vec::new();
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(200) {
                    let start = Instant::now();
                    execute(rt, &connection, "main", "await 1");
                    times.push(start.elapsed());
                }
                wait_for(rt, busy);
                times.sort_unstable();
                format!(
                    "{}, at most {}",
                    micros(times[times.len() / 2]),
                    millis(times[times.len() - 1])
                )
            });
            let kind = match kind {
                _ if others == 0 => "",
                "" => " without `await`",
                _ => " with `await`",
            };
            println!("| {others}{kind} | {} |", cells.join(" | "));
        }
    }
}

fn wait_for<T>(rt: &AnyRuntime, all: Vec<impl Future<Output = T>>) {
    for task in all {
        black_box(rt.block_on(task));
    }
}

/// A number in `/proc/self/status`.
fn status(name: &str) -> Option<u64> {
    number(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Context switches of all threads that are alive.
fn switches() -> Option<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        // It may have gone meanwhile.
        let Ok(status) = std::fs::read_to_string(thread.ok()?.path().join("status")) else {
            continue;
        };
        sum += number(&status, "voluntary_ctxt_switches").unwrap_or(0);
        sum += number(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    Some(sum)
}
