//! Measures the three models, and prints tables: `cargo run --release -p code-worker --bin models`.
//! With `--document docs` it writes them into `docs/MODELS.md`, with plots.
//!
//! On Linux also context switches, memory and threads, from `/proc`.

#![forbid(unsafe_code)]

mod plot;
mod table;

use std::{
    fmt::Write,
    fs,
    future::Future,
    hint::black_box,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::Parser as _;
use code_worker::{Connection, Limits, Worker, detect};
use fourway::{
    AnyRuntime, BlockOn, Offload, Spawner,
    execute::{Model, Session},
    std_thread::StdThread,
    tokio::Tokio,
};
use rquickjs::{Context, Runtime, Value};

use table::{Figure, Row, Table, Unit};

/// Measures the three models.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Write the tables into `MODELS.md` of this folder, and plots beside it.
    #[arg(long, value_name = "FOLDER")]
    document: Option<PathBuf>,

    /// Measure only this.
    #[arg(long, value_name = "PART", conflicts_with = "document")]
    only: Option<Part>,

    /// Do one thing, again and again, and measure nothing: for a profiler, on Tokio, whose threads
    /// do not look for work before they sleep.
    #[arg(long, value_name = "WHAT", requires = "times")]
    profile: Option<Profile>,

    /// So often.
    #[arg(long, value_name = "TIMES", requires = "profile")]
    times: Option<u32>,

    /// Print how many KiB of memory a session takes in this model. Each model is measured by a process of its
    /// own: in the same one, a model would find the memory that the model before has freed.
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["document", "only", "profile"])]
    memory: Option<Model>,
}

/// A short measurement.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Part {
    /// Empty code in the model *route*, and its parts.
    Promise,
    /// Telling sync from async.
    Detection,
}

/// What empty code takes in the model *route*, and its parts.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Profile {
    /// The engine's own evaluation.
    Evaluation,
    /// A closure on the pool.
    HandOver,
    /// The engine's own evaluation, in a closure on the pool.
    ByHand,
    /// A closure in a session, which changes a number.
    Session,
    /// An execution.
    Route,
}

/// The measurements follow this line of the document.
const MARK: &str = "<!-- measured -->\n";

const WORKERS: usize = 2;
const SESSIONS: usize = 1000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some((profile, times)) = arguments.profile.zip(arguments.times) {
        self::profile(profile, times);
        return ExitCode::SUCCESS;
    }
    if let Some(model) = arguments.memory {
        let Some(memory) = memory(model) else {
            eprintln!("this system has no `/proc/self/status`");
            return ExitCode::FAILURE;
        };
        println!("{memory}");
        return ExitCode::SUCCESS;
    }
    let rt = runtime();
    if let Some(part) = arguments.only {
        let text = match part {
            Part::Promise => promise(&rt),
            Part::Detection => detection(),
        };
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!("std-thread, {WORKERS} worker threads, {cores} cores; medians.\n\n");
    let (executions, promise) = executions(&rt);
    let tables = [executions, many(), blocked(&rt)];
    text += &promise;
    text += &detection();
    for table in &tables {
        text += "\n";
        text += &table.text();
        if arguments.document.is_some() {
            // Writing to a `String` does not fail.
            let _ = write!(text, "\n![{}](models/{}.svg)\n", table.title, table.file);
        }
    }
    println!("{text}");
    let Some(folder) = arguments.document else {
        return ExitCode::SUCCESS;
    };
    match document(&folder, &text, &tables) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> AnyRuntime {
    let builder = StdThread::builder().worker_threads(WORKERS);
    AnyRuntime::new(builder.build().expect("threads"))
}

fn document(folder: &Path, text: &str, tables: &[Table]) -> io::Result<()> {
    let path = folder.join("MODELS.md");
    let before = fs::read_to_string(&path)?;
    let (head, _) = before
        .split_once(MARK)
        .ok_or_else(|| io::Error::other(format!("MODELS.md has no line {}", MARK.trim())))?;
    for table in tables {
        plot::write(table, &folder.join("models"))?;
    }
    fs::write(path, format!("{head}{MARK}\n{text}"))
}

fn worker(rt: &AnyRuntime, model: Model) -> Worker {
    let limits = Limits {
        sessions: 2 * SESSIONS,
        client_sessions: 2 * SESSIONS,
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

fn time(time: Duration) -> String {
    Unit::Time.text(time.as_secs_f64())
}

/// A loop that takes a millisecond in this engine, on this machine.
fn busy() -> String {
    let runtime = Runtime::new().expect("memory");
    let context = Context::full(&runtime).expect("memory");
    let timed = |count: u64| {
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
    let millis = timed(first).as_secs_f64() * 1e3;
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

/// The table, and the promise for one of its figures.
fn executions(rt: &AnyRuntime) -> (Table, String) {
    let busy = busy();
    let codes = [
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
    let rows = codes.map(|(name, code, times)| {
        let figures = Model::ALL.map(|model| {
            if model == Model::Async && code.starts_with("sleep") {
                return None;
            }
            let connection = worker(rt, model).connect();
            let before = switches();
            let time = median(31, times, || execute(rt, &connection, "main", &code));
            let mut figure = Figure::time(time);
            if let Some((after, before)) = switches().zip(before) {
                let each = after.saturating_sub(before) as f64 / f64::from(times * 32);
                figure.note = format!(", {each:.1} switches");
            }
            Some(figure)
        });
        Row {
            name: name.to_owned(),
            unit: Unit::Time,
            figures,
        }
    });
    let table = Table {
        title: "One execution after the other",
        file: "executions",
        about: "With context switches of the whole process.".to_owned(),
        what: "code",
        rows: rows.into(),
    };
    (table, promise(rt))
}

/// The promise for an execution of empty code in the model *route*.
fn promise(rt: &AnyRuntime) -> String {
    let connection = worker(rt, Model::Route).connect();
    let mut evaluate = evaluation();
    let mut by_hand = by_hand(rt);
    // Measured in turn, many times: the speed of the machine varies.
    let rounds: Vec<[Duration; 4]> = (0..101)
        .map(|_| {
            let plain = median(1, 200, &mut evaluate);
            let hand_over = median(1, 200, || hand_over(rt));
            let routed = median(1, 200, || execute(rt, &connection, "main", ""));
            let by_hand = median(1, 200, &mut by_hand);
            [plain, hand_over, routed, by_hand]
        })
        .collect();
    let ratio = |part: usize, round: [Duration; 4]| {
        round[part].as_secs_f64() / (round[0] + round[1]).as_secs_f64()
    };
    let ratios = |part: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| ratio(part, *round)).collect();
        all.sort_unstable_by(f64::total_cmp);
        format!(
            "{:.2} times the sum of the two in the same round (quartiles {:.2} and {:.2})",
            all[50], all[25], all[75]
        )
    };
    let sorted = |part: usize| {
        let mut all: Vec<Duration> = rounds.iter().map(|round| round[part]).collect();
        all.sort_unstable();
        all
    };
    let [plain, hand_over, routed, by_hand] = [0, 1, 2, 3].map(sorted);
    let fastest = [plain[0], hand_over[0], routed[0], by_hand[0]];
    format!(
        "The engine's own evaluation of empty code takes {} in an engine of its own, a hand-over to the pool and back, \
         waited for by a thread, {} (at best {}). The same evaluation in such a hand-over, by hand, \
         takes {}: {}; the fastest of each, {:.2} times. An execution of empty code in the model \
         *route* takes {}: {}; the fastest of each, {:.2} times.\n",
        time(plain[50]),
        time(hand_over[50]),
        time(hand_over[0]),
        time(by_hand[50]),
        ratios(3),
        ratio(3, fastest),
        time(routed[50]),
        ratios(2),
        ratio(2, fastest),
    )
}

fn profile(what: Profile, times: u32) {
    fn again(times: u32, mut run: impl FnMut()) {
        (0..times).for_each(|_| run());
    }
    let rt = &AnyRuntime::new(Tokio::new().expect("threads"));
    match what {
        Profile::Evaluation => again(times, evaluation()),
        Profile::HandOver => again(times, || hand_over(rt)),
        Profile::ByHand => again(times, by_hand(rt)),
        Profile::Session => {
            let session = Session::new(rt.clone(), Model::Route, 0);
            again(times, || {
                let execution = session.execute(|mut n| *n += 1);
                rt.block_on(execution).expect("no panic");
            });
        }
        Profile::Route => {
            let connection = worker(rt, Model::Route).connect();
            again(times, || execute(rt, &connection, "main", ""));
        }
    }
}

/// The engine's own evaluation of empty code.
fn evaluation() -> impl FnMut() {
    let runtime = Runtime::new().expect("memory");
    let context = Context::full(&runtime).expect("memory");
    move || {
        context.with(|ctx| {
            black_box(ctx.eval::<Value<'_>, _>("").expect("it is right"));
        });
    }
}

/// The engine's own evaluation of empty code, on the thread where a hand-over takes it.
fn by_hand(rt: &AnyRuntime) -> impl FnMut() {
    let runtime = Runtime::new().expect("memory");
    let mut engine = Some(Context::full(&runtime).expect("memory"));
    move || {
        let context = engine.take().expect("it was put back");
        let evaluated = rt.offload(move || {
            context.with(|ctx| {
                black_box(ctx.eval::<Value<'_>, _>("").expect("it is right"));
            });
            context
        });
        engine = Some(rt.block_on(evaluated).expect("no panic"));
    }
}

fn hand_over(rt: &AnyRuntime) {
    rt.block_on(rt.offload(|| black_box(1))).expect("no panic");
}

/// It is the same in all models.
fn detection() -> String {
    let mut text = "\n## Telling sync from async\n\n\
                    | code | detection | evaluation | share |\n|---|--:|--:|--:|\n"
        .to_owned();
    let parser = detect::Parser::default();
    // Fifty functions; a second one of the same name would be an error.
    let many = |body: &str| -> String {
        (0..50)
            .map(|n| format!("async function f{n}(x) {{ {body} }}\n"))
            .collect()
    };
    let functions = many("const y = [1, 2, 3].map(n => n * x); return y[0]");
    let awaiting = many("for (const y of x) { await g(y) }");
    let work = "let s = 0; for (let i = 0; i < 1000; i++) s += i;\n";
    let codes = [
        ("no `await`, 50 bytes", format!("{{ {work} }}")),
        ("no `await`, 4 KB", format!("{{ {} }}", functions)),
        ("`await x`, alone", "await 1".to_owned()),
        ("`await x`, 70 bytes", format!("{{ {work} await s }}")),
        (
            "`await x` in functions, 3 KB",
            format!("{{ {} }}", awaiting),
        ),
        (
            "`await` in a comment, 70 bytes",
            format!("{{ {work} /* await */ }}"),
        ),
        ("`await (x)`, 70 bytes", format!("{{ {work} await (s) }}")),
        (
            "`await (x)`, 4 KB",
            format!("{{ {} {work} await (1) }}", functions),
        ),
        ("`await +x`, 70 bytes", format!("{{ {work} await +s }}")),
        (
            "`{ a: await x }`, 80 bytes",
            format!("{{ {work} ({{ a: await s }}) }}"),
        ),
        (
            "`case 1: { await x }`, 100 bytes",
            format!("{{ {work} switch (1) {{ case 1: {{ await s }} }} }}"),
        ),
        (
            "`label: { await x }`, 80 bytes",
            format!("{{ {work} label: {{ await s }} }}"),
        ),
        (
            "`const { a = await x } = y`, 90 bytes",
            format!("{{ {work} const {{ a = await s }} = {{}} }}"),
        ),
        (
            "`await` at the end of a line, 70 bytes",
            format!("{{ {work} await\ns\n}}"),
        ),
        (
            "`await +x`, beside a power, 80 bytes",
            format!("{{ {work} await +s - s ** 2 }}"),
        ),
        (
            "`await x` behind an arrow and the end of a line, 90 bytes",
            format!("{{ {work} const f = x => x\nawait s }}"),
        ),
        (
            "`await x` in the key of a method, 90 bytes",
            format!("{{ {work} (class {{ [await s]() {{}} }}) }}"),
        ),
        (
            "`await (x)` in the key of a method, 90 bytes",
            format!("{{ {work} (class {{ [await (s)]() {{}} }}) }}"),
        ),
        (
            "for the parser: `await x` beside a name with another letter, 80 bytes",
            format!("{{ {work} const ü = await s }}"),
        ),
        (
            "for the parser, which compiles it four times: `await (x)` beside a property `await`, 90 bytes",
            format!("{{ {work} await (s).await }}"),
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
        // Writing to a `String` does not fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {:.1} % |",
            time(detected),
            time(evaluated),
            share * 100.0
        );
    }
    text
}

/// Opens many sessions.
fn open(rt: &AnyRuntime, connection: &Connection) -> Vec<String> {
    let sessions: Vec<String> = (0..SESSIONS).map(|n| n.to_string()).collect();
    for session in &sessions {
        execute(rt, connection, session, "globalThis.x = 1");
    }
    sessions
}

/// How many KiB a session takes, in a process that has had none before.
fn memory(model: Model) -> Option<u64> {
    let rt = &runtime();
    let connection = worker(rt, model).connect();
    let before = status("VmRSS")?;
    open(rt, &connection);
    let all = status("VmRSS")?.saturating_sub(before);
    Some(all / SESSIONS as u64)
}

/// What [`memory`] gives in each model, by processes of their own.
fn memories() -> Option<String> {
    let all = Model::ALL.map(|model| {
        let own = std::env::current_exe().ok()?;
        let child = Command::new(own)
            .args(["--memory", &model.to_string()])
            .output()
            .ok()?;
        let memory = String::from_utf8(child.stdout).ok()?;
        (child.status.success()).then(|| format!("{} KiB in *{model}*", memory.trim()))
    });
    let [thread, route, in_place] = all;
    Some(format!(
        "Each takes {} of memory, {} and {}, each model measured in a process of its own.",
        thread?, route?, in_place?
    ))
}

fn many() -> Table {
    let mut names = ["", "", ""].map(str::to_owned);
    let mut columns: Vec<[Option<Figure>; 3]> = Vec::new();
    for model in Model::ALL {
        // Threads of the last runtime would count.
        let rt = &runtime();
        let connection = worker(rt, model).connect();
        let start = Instant::now();
        let sessions = open(rt, &connection);
        let opened = start.elapsed() / u32::try_from(SESSIONS).expect("a thousand");
        let all = |code: &str| {
            let start = Instant::now();
            let all: Vec<_> = sessions
                .iter()
                .map(|session| rt.spawn(connection.execute(session, code, 1)))
                .collect();
            let mut threads = 0;
            for task in all {
                threads = threads.max(status("Threads").unwrap_or(0));
                drop(rt.block_on(task).expect("no panic").1.expect("no error"));
            }
            let mut figure = Figure::time(start.elapsed());
            figure.note = format!(", {threads} threads");
            figure
        };
        names = [
            "opening one, with its first execution".to_owned(),
            "all execute `await sleep(10)` at once".to_owned(),
            "all execute `sleep(10)` at once".to_owned(),
        ];
        let waits = all("await sleep(10)");
        let blocks = (model != Model::Async).then(|| all("sleep(10)"));
        columns.push([Some(Figure::time(opened)), Some(waits), blocks]);
    }
    let rows = names.into_iter().enumerate().map(|(at, name)| Row {
        unit: Unit::Time,
        name,
        figures: [0, 1, 2].map(|model| columns[model][at].clone()),
    });
    Table {
        title: "A thousand sessions",
        file: "sessions",
        about: memories().map_or_else(String::new, |memories| format!("Of one client. {memories}")),
        what: "",
        rows: rows.collect(),
    }
}

fn blocked(rt: &AnyRuntime) -> Table {
    let long = "{ const end = Date.now() + 300; while (Date.now() < end) {} }";
    let mut rows = Vec::new();
    for others in [0, 1, 2, 8] {
        for kind in ["", "await null; "] {
            if others == 0 && !kind.is_empty() {
                continue;
            }
            let code = format!("{kind}{long}");
            let figures = Model::ALL.map(|model| {
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
                let mut figure = Figure::time(times[times.len() / 2]);
                figure.most = times.last().map(Duration::as_secs_f64);
                Some(figure)
            });
            let name = match kind {
                _ if others == 0 => "none".to_owned(),
                "" => format!("{others} without `await`"),
                _ => format!("{others} with `await`"),
            };
            rows.push(Row {
                name,
                unit: Unit::Time,
                figures,
            });
        }
    }
    Table {
        title: "What sessions that block do to another one",
        file: "blocked",
        about: "How long `await 1` takes in a session, while others compute for 300 ms without a \
                pause."
            .to_owned(),
        what: "others",
        rows,
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
        // The thread may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(thread.ok()?.path().join("status")) else {
            continue;
        };
        sum += number(&status, "voluntary_ctxt_switches").unwrap_or(0);
        sum += number(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    Some(sum)
}
