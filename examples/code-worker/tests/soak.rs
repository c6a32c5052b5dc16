//! Many sessions that interrupt, time out, exceed their memory and leave at random: the worker
//! answers to the end, and threads, descriptors and memory return to where they began.
//!
//! For `FOURWAY_SOAK_SECONDS` with 200 sessions, on each runtime and in each model for its share;
//! without that, for a moment with a few. `FOURWAY_SOAK_RUNTIME` chooses one runtime, for all of the
//! time.

use std::{
    env,
    time::{Duration, Instant},
};

use code_worker::{
    Limits, Worker,
    protocol::{Line, Reply},
};
use fourway::{AnyRuntime, BlockOn, Spawner, Timer, execute::Model};
use fourway_testing::{AGES, Counting, eventually, run};
use serde_json::json;

/// With it, memory is known to the byte. So this test is the only one of its file.
#[global_allocator]
static COUNTING: Counting = Counting;

/// Sessions at a time, in a soak and otherwise.
const SESSIONS: [usize; 2] = [200, 16];

type Make = fn() -> AnyRuntime;

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

/// How the requests of all clients ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    values: usize,
    errors: usize,
    /// Clients that left before the end of an execution.
    left: usize,
    /// New sessions that the worker refused, as the last ones still had their places.
    refused: usize,
}

impl Ends {
    fn add(&mut self, other: Self) {
        self.values += other.values;
        self.errors += other.errors;
        self.left += other.left;
        self.refused += other.refused;
    }
}

/// One client after the other, each with one session, until the time is over.
async fn clients(worker: Worker, seed: u64, end: Instant) -> Ends {
    let rt = worker.runtime().clone();
    let mut random = Random(seed);
    let mut ends = Ends::default();
    loop {
        client(&worker, &mut random, end, &mut ends).await;
        if Instant::now() >= end {
            return ends;
        }
        // Its place is free when its engine is gone.
        rt.sleep(Duration::from_millis(random.below(3) as u64))
            .await;
    }
}

async fn client(worker: &Worker, random: &mut Random, end: Instant, ends: &mut Ends) {
    let rt = worker.runtime().clone();
    let connection = worker.connect();
    let outbox = connection.outbox().clone();
    for round in 0..1 + random.below(10) {
        if round > 0 && Instant::now() >= end {
            break;
        }
        let id = 10 + 2 * round as u64;
        let (code, right_ends) = CODES[random.below(CODES.len())];
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
            // Without waiting for the end.
            ends.left += 1;
            return;
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
                Reply::Result { value, .. } => {
                    ends.values += 1;
                    value.unwrap_or_default()
                }
                Reply::Error(error) if error.name == "Refused" => {
                    ends.refused += 1;
                    return;
                }
                Reply::Error(error) => {
                    ends.errors += 1;
                    error.name
                }
                other => panic!("{other:?}"),
            };
            open -= 1;
            let right = right_ends.contains(&text.as_str())
                || interrupts && text == "Interrupted"
                // The machine may be slow, and work left by earlier executions may hold the
                // session for a turn.
                || text == "TimeLimit";
            assert!(right, "{code}: {text}");
        }
    }
}

fn soak(rt: &AnyRuntime, model: Model, sessions: usize, time: Duration) -> Ends {
    let worker = Worker::new(rt.clone(), model, limits(sessions));
    let end = Instant::now() + time;
    let all: Vec<_> = (1..=sessions as u64)
        .map(|seed| rt.spawn(clients(worker.clone(), seed * 0x9e37_79b9, end)))
        .collect();
    let mut ends = Ends::default();
    for clients in all {
        ends.add(rt.block_on(clients).unwrap());
    }
    // Driven here, if the runtime has no thread of its own.
    run(rt, async {
        while worker.sessions() > 0 {
            rt.sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(worker.lost(), 0);
    ends
}

#[test]
fn soak_of_sessions_that_misbehave() {
    let seconds = env::var("FOURWAY_SOAK_SECONDS").ok();
    let [many, few] = SESSIONS;
    let (seconds, sessions) = match seconds {
        Some(text) => (text.parse().unwrap(), many),
        None => (1, few),
    };
    let only = env::var("FOURWAY_SOAK_RUNTIME").ok();
    let mut runtimes: Vec<(&str, Make)> = vec![
        ("std-thread", fourway_testing::any),
        ("tokio", fourway_testing::any_tokio),
        ("tokio-current-thread", fourway_testing::any_current_thread),
        ("smol", fourway_testing::any_smol),
    ];
    runtimes.retain(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let models = Model::ALL;
    let parts = u32::try_from(runtimes.len() * models.len()).unwrap();
    assert_ne!(parts, 0, "no runtime has this name: {only:?}");
    let each = Duration::from_secs(seconds) / parts;
    #[cfg(target_os = "linux")]
    let start = fourway_testing::Resources::now();
    for (name, make) in runtimes {
        let rt = make();
        for model in models {
            let ends = soak(&rt, model, sessions, each);
            println!("{name}, {model}: {ends:?}");
            assert_ne!(ends.values, 0, "{name}, {model}");
        }
        drop(rt);
        #[cfg(target_os = "linux")]
        returns(name, start);
    }
}

/// Threads and descriptors of smol's reactor, which stays for as long as the process does: a poll, an event
/// and a timer.
#[cfg(target_os = "linux")]
const REACTOR: (usize, usize) = (1, 3);

/// Descriptors of the pipe by which Tokio hears of signals, if any crate of the build asks for that: made with
/// the first runtime, for the process.
#[cfg(target_os = "linux")]
const SIGNALS: usize = 2;

/// Bytes that may stay allocated: what is made once, as the byte code of `bootstrap.js` and `guards.js`,
/// and smol's reactor. It is 40 to 100 KB, however long the soak; one engine that stays has 300 KB.
#[cfg(target_os = "linux")]
const MADE_ONCE: usize = 256 * 1024;

/// Bytes that may stay resident: the allocated ones, pages where they have freed blocks beside them, and what
/// glibc keeps of its arenas and of the stacks of threads. It is 2 to 3 MiB, however long the soak.
#[cfg(target_os = "linux")]
const KEPT: usize = 16 * 1024 * 1024;

/// The process uses what it used at its very start, before there was a runtime.
#[cfg(target_os = "linux")]
fn returns(name: &str, start: fourway_testing::Resources) {
    use fourway_testing::Resources;

    let (threads, descriptors) = match name {
        "std-thread" => (0, 0),
        // After those of Tokio.
        "smol" => (REACTOR.0, REACTOR.1 + SIGNALS),
        _ => (0, SIGNALS),
    };
    // The threads of a runtime end when the last handle is gone, without being waited for.
    eventually("the threads end", || {
        Resources::now().threads <= start.threads + threads
    });
    let now = Resources::now();
    println!("{name}: {start:?} at the start, {now:?} now");
    assert!(now.descriptors <= start.descriptors + descriptors);
    assert!(now.allocated <= start.allocated + MADE_ONCE);
    assert!(now.resident <= start.resident + KEPT);
}
