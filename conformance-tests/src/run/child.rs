//! One case in its own process, or on a thread, with a watchdog.
//!
//! The parent starts its own executable again with the case's name in the environment. The child
//! reports the result by its exit code, and the reason on its standard error. The parent sees an
//! abort, a stack overflow or a hang from outside.

use std::{
    env,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use fourway_suite::{Unfinished, panic_message, watch};

use super::{Entry, Isolation, Options};
use crate::{Case, Level, report::Status, util};

const CASE: &str = "FOURWAY_CONFORMANCE_CASE";
pub(crate) const SEED: &str = "FOURWAY_CONFORMANCE_SEED";
pub(crate) const STRESS: &str = "FOURWAY_CONFORMANCE_STRESS_MILLIS";
const MUST: &str = "FOURWAY_CONFORMANCE_MUST_MILLIS";
const MUST_NOT: &str = "FOURWAY_CONFORMANCE_MUST_NOT_MILLIS";

/// Exit codes of a child that ended normally. Far from those of shells, signals and Rust's own
/// panics.
const PASS: u8 = 40;
const FAIL: u8 = 41;
const INCONCLUSIVE: u8 = 42;

/// Separates the output of the case from the reason of its failure.
const WHY: &str = "\u{1}fourway-conformance-why\u{1}";
/// Before the number of rounds of a stress case, which comes last.
const ROUNDS: &str = "\u{1}fourway-conformance-rounds\u{1}";

/// The advice of Rust's panic hook.
const BACKTRACES: &str =
    "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

/// The result of a case.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) message: Option<String>,
    /// The number of rounds of a stress case, if it ended.
    pub(super) rounds: Option<u64>,
}

impl Outcome {
    fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: Some(message.into()),
            rounds: None,
        }
    }
}

/// A case that takes longer counts as hung. This is far more than any case needs, also on a slow
/// machine; the waits inside the cases give up earlier and name the missing event.
fn watchdog(options: &Options) -> Duration {
    let scaled = options.watchdog.saturating_mul(options.time_scale.max(1));
    scaled.saturating_add(options.stress_time)
}

/// If this process was started by [`run_entries`](super::run_entries) to run one case, runs it and
/// gives the exit code. A custom `main` must call it first.
#[must_use]
pub fn serve(entries: &[Entry]) -> Option<ExitCode> {
    let name = env::var(CASE).ok()?;
    let found = name.split_once("::").and_then(|(subject, id)| {
        let entry = entries.iter().find(|entry| entry.name == subject)?;
        let case = entry.cases.iter().find(|case| case.id == id)?;
        Some((entry, case))
    });
    let Some((entry, case)) = found else {
        eprintln!("{WHY}there is no case `{name}` in this binary");
        return Some(ExitCode::from(FAIL));
    };
    let millis = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    if let (Some(must), Some(must_not)) = (millis(MUST), millis(MUST_NOT)) {
        util::set_limits(must, must_not);
    }
    if let Some(prepare) = entry.prepare {
        prepare();
    }
    let code = match guarded(case) {
        (Status::Pass, _) => PASS,
        (Status::Inconclusive, why) => {
            eprintln!("{WHY}{}", why.unwrap_or_default());
            INCONCLUSIVE
        }
        (_, why) => {
            eprintln!("{WHY}{}", why.unwrap_or_default());
            FAIL
        }
    };
    if case.level == Level::Stress {
        eprintln!("{ROUNDS}{}", util::take_rounds());
    }
    // Without waiting for threads that a broken runtime may have left behind.
    Some(ExitCode::from(code))
}

/// Runs a case and gives its result, with the reason.
pub(super) fn run(entry: &Entry, case: &Case, options: &Options) -> Outcome {
    match options.isolation {
        Isolation::Process => in_process(entry, case, options),
        Isolation::Thread => on_thread(case, options),
    }
}

fn in_process(entry: &Entry, case: &Case, options: &Options) -> Outcome {
    let (must, must_not) = options.limits();
    let child = env::current_exe().and_then(|program| {
        Command::new(program)
            .env(CASE, format!("{}::{}", entry.name, case.id))
            .env(SEED, options.seed.to_string())
            .env(STRESS, options.stress_time.as_millis().to_string())
            .env(MUST, must.to_string())
            .env(MUST_NOT, must_not.to_string())
            .env("RUST_BACKTRACE", if options.backtraces { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let message = format!("the case's process could not be started: {error}");
            return Outcome::new(Status::Inconclusive, message);
        }
    };
    // Read on separate threads, so that a full pipe does not look like a hang.
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let limit = watchdog(options);
    let ended = wait(&mut child, limit);
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = [stdout, stderr]
        .into_iter()
        .filter_map(|thread| thread.and_then(|thread| thread.join().ok()))
        .collect::<String>();
    let (text, rounds) = text.rsplit_once(ROUNDS).unwrap_or((&text, ""));
    let rounds = rounds.trim().parse().ok();
    let (output, why) = text.split_once(WHY).unwrap_or((text, ""));
    // An option of the suite shows backtraces here.
    let output = output.replace(BACKTRACES, "");
    let (output, why) = (output.trim(), why.trim());
    let told = |reason: &str| {
        if output.is_empty() {
            reason.to_owned()
        } else {
            format!("{reason}\n{output}")
        }
    };
    let (status, message) = match ended.map(|status| (status.code(), status)) {
        None => {
            let reason = format!("it hung for {} s", limit.as_secs());
            (Status::Timeout, Some(told(&reason)))
        }
        Some((Some(code), _)) if code == i32::from(PASS) => (Status::Pass, None),
        Some((Some(code), _)) if code == i32::from(FAIL) => (Status::Fail, Some(told(why))),
        Some((Some(code), _)) if code == i32::from(INCONCLUSIVE) => {
            (Status::Inconclusive, Some(why.to_owned()))
        }
        Some((_, status)) => {
            let reason = format!("its process ended by itself: {status}");
            (Status::Crashed, Some(told(&reason)))
        }
    };
    Outcome {
        status,
        message,
        rounds,
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Option<thread::JoinHandle<String>> {
    let mut pipe = pipe?;
    thread::Builder::new()
        .spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .ok()
}

fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() < limit => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Runs it on a thread of this process; a hung thread stays behind.
fn on_thread(case: &Case, options: &Options) -> Outcome {
    // Rounds are counted by process, so one stress case runs at a time.
    static STRESS_CASE: Mutex<()> = Mutex::new(());
    let stress = (case.level == Level::Stress).then(|| {
        let alone = STRESS_CASE.lock().unwrap_or_else(PoisonError::into_inner);
        util::take_rounds();
        alone
    });
    let (must, must_not) = options.limits();
    util::set_limits(must, must_not);
    let case = case.clone();
    match watch(watchdog(options), move || guarded(&case)) {
        Ok((status, message)) => Outcome {
            status,
            message,
            rounds: stress.is_some().then(util::take_rounds),
        },
        Err(Unfinished::Hung(limit)) => Outcome::new(
            Status::Timeout,
            format!("it hung for {} s", limit.as_secs()),
        ),
        Err(error) => Outcome::new(Status::Inconclusive, error.to_string()),
    }
}

fn guarded(case: &Case) -> (Status, Option<String>) {
    match catch_unwind(AssertUnwindSafe(|| case.run())) {
        Ok(()) => (Status::Pass, None),
        Err(payload) => (Status::Fail, Some(panic_message(&*payload))),
    }
}
