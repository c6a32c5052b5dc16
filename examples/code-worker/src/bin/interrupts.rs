//! Measures how long interrupted code takes to end, in each model:
//! `cargo run --release -p code-worker --bin interrupts`. Prints the table of the README.
//!
//! The time is from the call that interrupts until a waiting thread has the outcome.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use code_worker::{Connection, Limits, Worker, protocol::Reply};
use fourway::{AnyRuntime, BlockOn, Spawner, execute::Model, std_thread::StdThread};

const ROUNDS: usize = 500;
const WORKERS: usize = 2;

/// Code that runs first, and code that would not end.
const CODES: &[(&str, &str)] = &[
    ("", "while (true) {}"),
    (
        "",
        "while (true) { try { for (;;) {} } finally { continue } }",
    ),
    ("", "await new Promise(() => {})"),
    ("", "await sleep(1e9)"),
    ("", "for (;;) await null"),
    (
        "const again = () => Promise.resolve().then(again)",
        "again(); await new Promise(() => {})",
    ),
    ("const a = Array(1e4).fill(1)", "for (;;) JSON.stringify(a)"),
    ("const a = Array(1e6).fill(1)", "for (;;) a.slice()"),
    ("", "[].reverse.call({ length: 2 ** 53 - 1 })"),
    ("const s = 'a'.repeat(1e7)", "for (;;) s.indexOf('b')"),
    ("const s = 'a'.repeat(1e7)", "for (;;) s.replace(/a/g, '')"),
    ("const n = (1n << 1000000n) - 1n", "for (;;) n.toString()"),
];

fn main() {
    let builder = StdThread::builder().worker_threads(WORKERS);
    let rt = AnyRuntime::new(builder.build().expect("threads"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "std-thread, {WORKERS} worker threads, {cores} cores; {ROUNDS} interruptions each; p50 / p99 / max.\n"
    );
    print!("| code |");
    for model in Model::ALL {
        print!(" *{model}* |");
    }
    println!("\n|---|---|---|---|");
    for (before, code) in CODES {
        match *before {
            "" => print!("| `{code}` |"),
            before => print!("| `{before}`; `{code}` |"),
        }
        for model in Model::ALL {
            let limits = Limits {
                time: Duration::from_secs(3600),
                ..Limits::default()
            };
            let connection = Worker::new(rt.clone(), model, limits).connect();
            let mut times: Vec<Duration> = (0..ROUNDS)
                .map(|_| {
                    let code = format!("{{ {before}; print('begun'); {code} }}");
                    interrupt(&rt, &connection, &code)
                })
                .collect();
            times.sort_unstable();
            let at = |part: usize| millis(times[(ROUNDS * part / 100).min(ROUNDS - 1)]);
            print!(" {} / {} / {} ms |", at(50), at(99), at(100));
        }
        println!();
    }
}

/// The time from the interruption of running code to its end.
fn interrupt(rt: &AnyRuntime, connection: &Connection, code: &str) -> Duration {
    let execution = rt.spawn(connection.execute("main", code, 1));
    loop {
        let answer = rt.block_on(connection.outbox().pop());
        if matches!(answer.expect("it is open").reply, Reply::Output { .. }) {
            break;
        }
    }
    // No event tells that the code is in its loop, right behind its output. A measurement that begins
    // too early would be shorter, so it is given more than enough.
    std::thread::sleep(Duration::from_millis(2));
    let start = Instant::now();
    connection.interrupt("main", false);
    let (_, outcome) = rt.block_on(execution).expect("it does not panic");
    let time = start.elapsed();
    let error = outcome.expect_err("it does not end by itself");
    assert_eq!(error.name, "Interrupted", "{code}");
    time
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}
