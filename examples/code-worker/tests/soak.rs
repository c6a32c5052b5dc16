//! Many sessions that interrupt, time out, exceed their memory and leave at random: the worker
//! answers to the end, and memory and threads return to where they began.
//!
//! For `FOURWAY_SOAK_SECONDS` with 200 sessions, on each runtime and in each model for its share;
//! without that, for a moment with a few.

use std::{
    collections::HashMap,
    env,
    time::{Duration, Instant},
};

use code_worker::{
    Limits, Worker,
    protocol::{Line, Reply},
};
use fourway::{AnyRuntime, BlockOn, Spawner, Timer, execute::Model};
use fourway_testing::{AGES, eventually};
use serde_json::json;

/// Sessions at a time, in a soak and otherwise.
const SESSIONS: [usize; 2] = [200, 16];

/// The code of a client in a round, and its correct ends. In the model *async* sync code may not
/// block: there, `sleep(2)` is an error.
const CODES: &[(&str, &[&str])] = &[
    ("1 + 1", &["2"]),
    ("await sleep(1); 2", &["2"]),
    (
        "globalThis.n = (globalThis.n ?? 0) + 1; print(n); 0",
        &["0"],
    ),
    ("for (;;) {}", &["TimeLimit", "Interrupted"]),
    ("for (;;) await null", &["TimeLimit", "Interrupted"]),
    ("await new Promise(() => {})", &["TimeLimit", "Interrupted"]),
    // Memory, or if the machine is slow, time.
    (
        "{ const a = []; for (;;) a.push('x'.repeat(10000) + a.length) }",
        &["MemoryLimit", "TimeLimit", "Interrupted"],
    ),
    (
        "for (;;) print('x'.repeat(1000))",
        &["OutputLimit", "TimeLimit", "Interrupted"],
    ),
    (
        "setTimeout(function again() { setTimeout(again, 5) }, 5); 0",
        &["0"],
    ),
    (
        "(function again() { Promise.resolve().then(again) })(); 0",
        &["0"],
    ),
    ("(function f() { return f() + 1 })()", &["RangeError"]),
    (
        "[].reverse.call({ length: 2 ** 53 - 1 })",
        &["TimeLimit", "Interrupted"],
    ),
    (
        "{ const a = Array(1e4).fill(1); for (;;) JSON.stringify(a) }",
        &["TimeLimit", "Interrupted"],
    ),
    ("sleep(2); 2", &["2", "Error", "Interrupted"]),
    (
        "await fetchSkill('juggling').then(s => s.name)",
        &["\"juggling\""],
    ),
];

/// Numbers that look random, the same in each run of a client.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn limits(sessions: usize) -> Limits {
    Limits {
        time: Duration::from_millis(100),
        memory: 4 << 20,
        output: 100_000,
        sessions,
        ..Limits::default()
    }
}

/// One client after the other, each with one session, until the time is over.
async fn clients(worker: Worker, seed: u64, end: Instant) -> usize {
    let rt = worker.runtime().clone();
    let mut random = Random(seed);
    let mut answered = 0;
    while Instant::now() < end {
        let connection = worker.connect();
        let outbox = connection.outbox().clone();
        for round in 0..1 + random.below(10) {
            if round > 0 && Instant::now() >= end {
                break;
            }
            let id = 10 + 2 * round as u64;
            let (code, ends) = CODES[random.below(CODES.len())];
            let say = |message: serde_json::Value| {
                connection.take(&Line::Whole(message.to_string().into_bytes()));
            };
            say(json!({ "id": id, "op": "execute", "code": code }));
            let interrupts = random.below(4) == 0;
            if interrupts {
                rt.sleep(Duration::from_millis(random.below(20) as u64))
                    .await;
                say(json!({ "id": id + 1, "op": "interrupt" }));
            }
            if random.below(20) == 0 {
                // Leaves, without waiting for the end.
                break;
            }
            let mut open = 1 + usize::from(interrupts);
            while open > 0 {
                let answer = rt
                    .timeout(AGES, outbox.pop())
                    .await
                    .unwrap_or_else(|_| panic!("no answer to {code}"))
                    .expect("it is open");
                // Output of work that an earlier execution has left has that execution's number.
                let is_output = matches!(answer.reply, Reply::Output { .. });
                assert!(
                    is_output || answer.id.is_some_and(|a| a == id || a == id + 1),
                    "{answer:?}"
                );
                let text = match answer.reply {
                    Reply::Output { .. } | Reply::InputRequest { .. } => continue,
                    Reply::Ok => {
                        open -= 1;
                        continue;
                    }
                    Reply::Result { value, .. } => value.unwrap_or_default(),
                    Reply::Error(error) if error.name == "Refused" => return answered,
                    Reply::Error(error) => error.name,
                    other => panic!("{other:?}"),
                };
                open -= 1;
                let right = ends.contains(&text.as_str())
                    || interrupts && text == "Interrupted"
                    // The machine may be slow, and work left by earlier executions may hold the
                    // session for a turn.
                    || text == "TimeLimit";
                assert!(right, "{code}: {text}");
                answered += 1;
            }
        }
        drop(connection);
        // Its place is free when its engine is gone.
        rt.sleep(Duration::from_millis(random.below(3) as u64))
            .await;
    }
    answered
}

fn soak(rt: &AnyRuntime, model: Model, sessions: usize, time: Duration) -> usize {
    let worker = Worker::new(rt.clone(), model, limits(sessions));
    let end = Instant::now() + time;
    let all: Vec<_> = (1..=sessions as u64)
        .map(|seed| rt.spawn(clients(worker.clone(), seed * 0x9e37_79b9, end)))
        .collect();
    let mut answered = 0;
    for clients in all {
        answered += rt.block_on(clients).unwrap();
    }
    eventually("all sessions are gone", || worker.sessions() == 0);
    assert_eq!(worker.lost(), 0);
    answered
}

#[cfg(target_os = "linux")]
fn threads_and_memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let fields: HashMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let number = |name: &str| {
        let text = fields[name].split_whitespace().next().unwrap();
        text.parse::<usize>().unwrap()
    };
    (number("Threads"), number("VmRSS"))
}

#[test]
fn soak_of_sessions_that_misbehave() {
    let seconds = env::var("FOURWAY_SOAK_SECONDS").ok();
    let [many, few] = SESSIONS;
    let (seconds, sessions) = match seconds {
        Some(text) => (text.parse().unwrap(), many),
        None => (1, few),
    };
    let runtimes = [
        ("std-thread", fourway_testing::any()),
        ("tokio", fourway_testing::any_tokio()),
        ("smol", fourway_testing::any_smol()),
    ];
    let models = Model::ALL;
    let each = Duration::from_secs(seconds) / (runtimes.len() * models.len()) as u32;
    for (name, rt) in &runtimes {
        for model in models {
            // Once before, for things that are made on first use.
            soak(rt, model, sessions, each / 4);
            #[cfg(target_os = "linux")]
            let before = threads_and_memory();
            let answered = soak(rt, model, sessions, each);
            println!("{name}, {model}: {answered} executions answered");
            assert!(answered > 0);
            #[cfg(target_os = "linux")]
            {
                // Pools keep threads for a while, for which a soak waits, and allocators keep
                // memory. A leak for each session would be far more.
                let kept = if sessions == many { 0 } else { sessions };
                let threads = before.0 + 2 + kept;
                eventually("the threads are as many as before", || {
                    threads_and_memory().0 <= threads
                });
                let (threads, after) = threads_and_memory();
                println!(
                    "{name}, {model}: threads {} before, {threads} after; KiB {}, {after}",
                    before.0, before.1
                );
                let allowed = before.1 + before.1 / 2 + 64 * 1024;
                assert!(after <= allowed, "{after} KiB, {} before", before.1);
            }
        }
    }
}
