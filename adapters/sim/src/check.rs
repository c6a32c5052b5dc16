//! Many runs of one program: [`check`] and [`Check`].

use std::{
    borrow::Cow,
    env, fs, io,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::Command,
    sync::{Arc, Once},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::{
    Builder, Failure, FailureKind, Sim, Strategy,
    failure::Shortened,
    here::Here,
    html,
    schedule::{DepthFirst, GO_ON},
    trace::Trace,
};

/// Simulates `main` under many seeds, with the settings of [`Check::default`].
///
/// # Panics
///
/// If a run fails, with the whole report.
///
/// # Examples
///
/// ```
/// use fourway_core::{Spawner, Task};
///
/// fourway_sim::check(|rt| {
///     let sum: u32 = (1..=3).map(|n| rt.spawn(async move { n })).map(|task| task.wait().unwrap()).sum();
///     assert_eq!(sum, 6);
/// });
/// ```
pub fn check<F>(main: F)
where
    F: Fn(Sim) + Send + Sync + 'static,
{
    Check::default().run(main);
}

/// Runs a program under many seeds, until one fails, or there are no more of them, or the time
/// is over.
///
/// | variable | what it does |
/// |---|---|
/// | `FOURWAY_SIM=SEED:STRATEGY[:HASH]` | replays one run, as a report says it |
/// | `FOURWAY_SIM_SEEDS=N` | tries so many seeds |
/// | `FOURWAY_SIM_SECONDS=N` | and for no longer than that |
/// | `FOURWAY_SIM_TWICE=1` | runs each seed twice and compares the traces |
/// | `FOURWAY_SIM_DIR=DIR` | writes the trace of a failure to that folder, in words and as a picture |
///
/// They override the program's settings, but for an empty `FOURWAY_SIM_DIR`, which is none. A check
/// panics if one of them makes no sense: a number that is none, a replay that cannot be read, or 0
/// seeds, which would be a check that passes without a run. However little time there is, the first
/// run is made.
#[derive(Clone, Debug)]
#[must_use = "nothing is run until `run` is called"]
pub struct Check {
    builder: Builder,
    first: u64,
    seeds: u64,
    time: Option<Duration>,
    strategies: Vec<Strategy>,
    twice: bool,
    shorten: bool,
    processes: bool,
    directory: Option<PathBuf>,
    replay: Option<(u64, Strategy, Option<String>)>,
}

impl Default for Check {
    /// 100 seeds, of which each second one has a random schedule and the others one of
    /// [`Strategy::Pct`] with depth 3.
    fn default() -> Self {
        let pct = Strategy::Pct {
            depth: 3,
            choices: 0,
        };
        Self {
            builder: Sim::builder(),
            first: 0,
            seeds: number(SEEDS).map_or(100, at_least_one),
            time: number(SECONDS).map(Duration::from_secs),
            strategies: vec![Strategy::Random, pct],
            twice: number(TWICE).is_some_and(|twice| twice > 0),
            shorten: true,
            processes: false,
            directory: directory(),
            replay: env::var_os(REPLAY).map(|text| parse(&text.to_string_lossy())),
        }
    }
}

const REPLAY: &str = "FOURWAY_SIM";
const SEEDS: &str = "FOURWAY_SIM_SEEDS";
const SECONDS: &str = "FOURWAY_SIM_SECONDS";
const TWICE: &str = "FOURWAY_SIM_TWICE";
const DIR: &str = "FOURWAY_SIM_DIR";
/// For a process that a check has started: it says that it has run, and how many steps.
const CHILD: &str = "FOURWAY_SIM_CHILD";
const HAS_RUN: &str = "fourway-sim: the run has ended well after steps: ";

/// The value of one of the variables.
fn number(name: &str) -> Option<u64> {
    let text = env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.trim().parse().ok());
    Some(number.unwrap_or_else(|| panic!("`{name}={}` is not a number", text.to_string_lossy())))
}

/// Without a run, a check would pass and have seen nothing.
#[track_caller]
fn at_least_one(seeds: u64) -> u64 {
    assert!(
        seeds > 0,
        "a check needs at least 1 seed: with 0, it would pass without a run"
    );
    seeds
}

/// The value of `FOURWAY_SIM_DIR`, unless it is empty.
fn directory() -> Option<PathBuf> {
    let directory = env::var_os(DIR).filter(|directory| !directory.is_empty());
    directory.map(PathBuf::from)
}

/// Reads the value of `FOURWAY_SIM`.
fn parse(text: &str) -> (u64, Strategy, Option<String>) {
    let mut parts = text.splitn(3, ':');
    let seed = parts.next().and_then(|seed| seed.parse().ok());
    let strategy = parts.next().map_or(Some(Strategy::Random), Strategy::parse);
    match (seed, strategy) {
        (Some(seed), Some(strategy)) => (seed, strategy, parts.next().map(str::to_owned)),
        _ => panic!("`FOURWAY_SIM={text}` is not SEED:STRATEGY[:HASH], as a report says it"),
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Runs that went well.
    pub runs: u64,
    /// The steps of all of them.
    pub steps: u64,
    /// Have all schedules been tried ([`Strategy::DepthFirst`])?
    pub exhausted: bool,
}

impl Check {
    /// How each simulation is built. Its seed and strategy do not matter.
    pub fn with(mut self, builder: Builder) -> Self {
        self.builder = builder;
        self
    }

    /// How many seeds, unless `FOURWAY_SIM_SEEDS` says it. Default: 100.
    ///
    /// # Panics
    ///
    /// If it is 0: the check would pass without a run.
    pub fn seeds(mut self, seeds: u64) -> Self {
        let seeds = at_least_one(seeds);
        if env::var_os(SEEDS).is_none() {
            self.seeds = seeds;
        }
        self
    }

    /// The first seed. Default: 0. After the largest number comes 0.
    pub fn first_seed(mut self, seed: u64) -> Self {
        self.first = seed;
        self
    }

    /// After so long no further run is begun, unless `FOURWAY_SIM_SECONDS` says it. Default:
    /// no limit.
    pub fn time_limit(mut self, time: Duration) -> Self {
        if env::var_os(SECONDS).is_none() {
            self.time = Some(time);
        }
        self
    }

    /// The strategies, which take turns.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn strategies(mut self, strategies: impl IntoIterator<Item = Strategy>) -> Self {
        self.strategies = strategies.into_iter().collect();
        assert!(
            !self.strategies.is_empty(),
            "at least one strategy is needed"
        );
        self
    }

    /// Runs each seed twice, and fails if the two runs differ, unless `FOURWAY_SIM_TWICE` says
    /// it. Default: no.
    pub fn twice(mut self, yes: bool) -> Self {
        if env::var_os(TWICE).is_none() {
            self.twice = yes;
        }
        self
    }

    /// Looks for a schedule with fewer preemptions that fails in the same way, for up to five
    /// seconds. Default: yes.
    ///
    /// The panic hook does not report the panics of these runs: the first time, it is replaced by a
    /// hook that calls the old one for all other panics.
    pub fn shorten(mut self, yes: bool) -> Self {
        self.shorten = yes;
        self
    }

    /// Runs each seed in a process of its own, for programs with statics that remember. It
    /// starts the test binary again with the name of the calling test, so that this has to be
    /// a test of Rust's harness; an ignored one is run, too. A first run, which tells
    /// [`Strategy::Pct`] how many choices there are, is made here. Default: no.
    pub fn processes(mut self, yes: bool) -> Self {
        self.processes = yes;
        self
    }

    /// Where to write the trace of a failure: `TEST.txt`, and `TEST.html` with a picture.
    /// Nowhere by default. `FOURWAY_SIM_DIR` says it for all.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        if self::directory().is_none() {
            self.directory = Some(directory.into());
        }
        self
    }

    /// Runs `main` under all these seeds.
    ///
    /// # Panics
    ///
    /// If a run fails, with the whole report.
    pub fn run<F>(self, main: F) -> Checked
    where
        F: Fn(Sim) + Send + Sync + 'static,
    {
        match self.try_run(main) {
            Ok(checked) => checked,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// As [`run`](Self::run), with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// The first run that fails.
    ///
    /// # Panics
    ///
    /// If the options are not valid ([`Strategy::DepthFirst`] with [`processes`](Self::processes)
    /// is not, because the path would have to be handed on). With `processes`, also if a process
    /// fails, or does not come to the run, for example because its test is not found.
    pub fn try_run<F>(mut self, main: F) -> Result<Checked, Box<Failure>>
    where
        F: Fn(Sim) + Send + Sync + 'static,
    {
        let main: Main = Arc::new(main);
        let started = Instant::now();
        let mut checked = Checked::default();
        if let Some((seed, strategy, hash)) = self.replay.take() {
            let ran = self.one(&main, seed, &strategy, self.twice);
            let trace = match &ran {
                Ok((trace, _)) => trace,
                Err(failure) => &failure.trace,
            };
            let now = format!("{:08x}", trace.hash() >> 32);
            if hash.is_some_and(|hash| hash != now) {
                eprintln!(
                    "fourway-sim: the run is another one than that of the report: the program, or \
                     something that it depends on besides the seed, has changed"
                );
            }
            return match ran {
                Ok((_, steps)) => {
                    if env::var_os(CHILD).is_some() {
                        eprintln!("{HAS_RUN}{steps}");
                    }
                    checked.runs = 1;
                    checked.steps = steps;
                    Ok(checked)
                }
                Err(failure) => Err(self.report(&main, failure)),
            };
        }
        let search = self.strategies.contains(&Strategy::DepthFirst);
        let search = search.then(DepthFirst::default);
        assert!(
            search.is_none() || !self.processes,
            "a depth-first search in processes of their own is not to be had: each goes on from \
             where the last one was; choose another strategy, or leave out `processes`"
        );
        self.measure(&main);
        for number in 0..self.seeds {
            let is_over = self.time.is_some_and(|time| started.elapsed() >= time);
            if is_over && number > 0 {
                break;
            }
            let turn = usize::try_from(number).unwrap_or(0) % self.strategies.len();
            let strategy = self.strategies[turn].clone();
            let depth_first = strategy == Strategy::DepthFirst;
            // Faults and jitter are drawn from it too, and must be the same on each path.
            let seed = if depth_first {
                self.first
            } else {
                self.first.wrapping_add(number)
            };
            if self.processes {
                checked.steps += self.in_process(seed, &strategy);
                checked.runs += 1;
                continue;
            }
            let builder = self.builder.clone();
            if depth_first {
                self.builder = builder.clone().search(search.clone());
            }
            let ran = self.one(&main, seed, &strategy, self.twice && !depth_first);
            self.builder = builder;
            match ran {
                Ok((_, steps)) => {
                    checked.runs += 1;
                    checked.steps += steps;
                }
                Err(failure) => return Err(self.report(&main, failure)),
            }
            if depth_first && search.as_ref().is_some_and(|search| !search.advance()) {
                checked.exhausted = true;
                if self.strategies.len() == 1 {
                    break;
                }
            }
        }
        Ok(checked)
    }

    /// PCT has to know how many choices there are.
    fn measure(&mut self, main: &Main) {
        let unknown =
            |strategy: &&mut Strategy| matches!(strategy, Strategy::Pct { choices: 0, .. });
        let mut unknown: Vec<&mut Strategy> = self.strategies.iter_mut().filter(unknown).collect();
        if unknown.is_empty() {
            return;
        }
        let sim = self.builder.clone().seed(self.first).quiet();
        let ran = simulate(sim, main);
        let trace = match &ran {
            Ok((trace, _)) => trace,
            Err(failure) => &failure.trace,
        };
        let counted = usize::try_from(trace.choice_count())
            .unwrap_or(usize::MAX)
            .max(2);
        for strategy in &mut unknown {
            if let Strategy::Pct { choices, .. } = strategy {
                *choices = counted;
            }
        }
    }

    fn one(
        &self,
        main: &Main,
        seed: u64,
        strategy: &Strategy,
        twice: bool,
    ) -> Result<(Trace, u64), Box<Failure>> {
        let builder = self
            .builder
            .clone()
            .seed(seed)
            .strategy_unless_custom(strategy.clone());
        let first = simulate(builder.clone(), main)?;
        if !twice {
            return Ok(first);
        }
        let second = simulate(builder, main);
        let trace = match &second {
            Ok((trace, _)) => trace,
            Err(failure) => &failure.trace,
        };
        let Some(event) = first.0.first_difference(trace) else {
            return second.map(|_| first);
        };
        let tell = |trace: &Trace| {
            let found = trace.events().get(event);
            found.map_or_else(
                || "nothing".into(),
                |event| trace.describe(event).trim().to_owned(),
            )
        };
        let kind = FailureKind::NonDeterminism {
            event,
            first: tell(&first.0),
            second: tell(trace),
        };
        Err(Box::new(Failure {
            kind,
            seed,
            strategy: strategy.clone(),
            steps: first.1,
            trace: first.0,
            waiting: Vec::new(),
            shortened: None,
            command: None,
            files: Vec::new(),
        }))
    }

    /// Gives the number of steps.
    fn in_process(&self, seed: u64, strategy: &Strategy) -> u64 {
        let thread = thread::current();
        let name = test_name(&thread).expect(
            "the harness names a test's thread after it, unless it has but one \
             (`--test-threads=1`), which is its main thread",
        );
        let run = format!("{seed}:{}", strategy.name());
        let program = env::current_exe().expect("a program knows where it is");
        let output = Command::new(program)
            .args([name, "--exact", "--include-ignored", "--nocapture"])
            .env(REPLAY, &run)
            .env(TWICE, if self.twice { "1" } else { "0" })
            .env(CHILD, "1")
            .output()
            .expect("a process can be started");
        let told = String::from_utf8_lossy(&output.stderr);
        // If the test has several checks, the last line is of the check that started this, or
        // later.
        let steps = told
            .lines()
            .filter_map(|line| line.strip_prefix(HAS_RUN)?.parse().ok())
            .next_back();
        match steps {
            Some(steps) if output.status.success() => steps,
            _ => {
                let what = if output.status.success() {
                    "has not begun: is the caller a test, of that name?"
                } else {
                    "failed"
                };
                let said = String::from_utf8_lossy(&output.stdout);
                panic!(
                    "the run in a process of its own, of the test `{name}` with {REPLAY}={run}, \
                     {what}\n{said}{told}"
                )
            }
        }
    }

    /// Makes a failure readable for people.
    fn report(&self, main: &Main, mut failure: Box<Failure>) -> Box<Failure> {
        let leaks = matches!(failure.kind, FailureKind::ForeignBlock { .. });
        let differs = matches!(failure.kind, FailureKind::NonDeterminism { .. });
        if self.shorten && !leaks && !differs {
            failure.shortened = self.shortened(main, &failure);
        }
        let thread = thread::current();
        // A thread without a test's name: what replays it is not known, but for the variables.
        failure.command = test_name(&thread).map(|name| {
            let name = quoted(name);
            match env::var("CARGO_PKG_NAME") {
                Ok(package) => format!("cargo test -p {package} {name} -- --exact"),
                Err(_) => format!("cargo test {name} -- --exact"),
            }
        });
        let name = thread.name().unwrap_or("main");
        if let Some(directory) = &self.directory {
            match write(directory, name, &failure) {
                Ok(files) => failure.files = files,
                Err(error) => eprintln!("fourway-sim: no trace was written: {error}"),
            }
        }
        failure
    }

    /// Removes the parts of the schedule that the failure does not need. Each part is replaced by
    /// "the running unit goes on", and stays so if the run fails in the same way.
    fn shortened(&self, main: &Main, failure: &Failure) -> Option<Shortened> {
        let end = Instant::now() + Duration::from_secs(5);
        let mut choices = failure.trace.choices().to_vec();
        if choices.len() as u64 != failure.trace.choice_count() {
            return None;
        }
        let fails = |choices: &[_]| {
            let strategy = Strategy::Replay(choices.to_vec());
            let builder = self
                .builder
                .clone()
                .seed(failure.seed)
                .strategy(strategy)
                .quiet();
            let failed = simulate(builder, main).err()?;
            failed.kind.is_like(&failure.kind).then_some(failed)
        };
        let mut best = fails(&choices)?;
        let mut size = choices.len();
        while size > 0 {
            let mut at = 0;
            while at < choices.len() && Instant::now() < end {
                let mut fewer = choices.clone();
                let to = (at + size).min(fewer.len());
                if fewer[at..to].iter().all(|choice| *choice == GO_ON) {
                    at += size;
                    continue;
                }
                fewer[at..to].fill(GO_ON);
                if let Some(failed) = fails(&fewer) {
                    choices = fewer;
                    best = failed;
                }
                at += size;
            }
            size /= 2;
        }
        while choices.last() == Some(&GO_ON) {
            choices.pop();
        }
        Some(Shortened {
            preemptions: best.trace.preemptions(),
            choices: best.trace.choice_count(),
            schedule: choices,
            trace: best.trace,
        })
    }
}

/// The name of the test that runs on the thread. The harness has none for its main thread, on which
/// it runs the tests if they are to run one at a time.
fn test_name(thread: &Thread) -> Option<&str> {
    thread.name().filter(|name| *name != "main")
}

/// As one word of a shell.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''")).into()
}

type Main = Arc<dyn Fn(Sim) + Send + Sync>;

fn simulate(builder: Builder, main: &Main) -> Result<(Trace, u64), Box<Failure>> {
    if builder.config.quiet {
        hush();
    }
    let sim = builder
        .build()
        .expect("the options of a simulation are valid");
    let main = main.clone();
    let ran = sim.try_run(move |rt| main(rt))?;
    Ok((ran.trace, ran.steps))
}

/// From here on the panic hook is not called for runs that look for a shorter schedule.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let quiet = catch_unwind(AssertUnwindSafe(Here::get)).ok().flatten();
            if !quiet.is_some_and(|here| here.inner.config.quiet) {
                before(info);
            }
        }));
    });
}

/// Writes a failure's trace, in words and as a picture.
fn write(directory: &PathBuf, name: &str, failure: &Failure) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let trace = failure.shortest_trace();
    let text = directory.join(format!("{name}.txt"));
    fs::write(&text, format!("{failure}\n\n{trace}"))?;
    let picture = directory.join(format!("{name}.html"));
    fs::write(&picture, html::page(&failure.to_string(), trace))?;
    Ok(vec![text, picture])
}
