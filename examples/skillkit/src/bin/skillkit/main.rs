//! Runs one library in every way, on every runtime, and checks that the results
//! are equal.
//!
//! Exit codes: 0, all agree; 1, something went wrong or results differ, or a listed file is
//! broken; 2, the arguments are wrong.

mod by_hand;
mod scenario;
mod screen;

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anstyle::AnsiColor;
use clap::{
    CommandFactory, FromArgMatches, Parser,
    builder::{PossibleValue, PossibleValuesParser},
};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use fourway::{AnyRuntime, prelude::*};
use indicatif::{ProgressBar, ProgressStyle};
use skillkit::{Collection, Problem, Reader, Skill, Skills};

use crate::{
    by_hand::ByHand,
    scenario::{On, Outcome, SCENARIOS, Scenario, plain},
    screen::{paragraph, plural, printable},
};

/// Discovers, parses and loads SKILL.md files from sync code, from async code and
/// in parallel, on every runtime compiled in, and compares.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The folder with the skills; a bundled set if not given.
    folder: Option<PathBuf>,
    /// Only this runtime, or these; all that are compiled in if not given.
    #[arg(
        long = "runtime",
        value_name = "NAME",
        env = VARIABLE,
        ignore_case = true,
        value_parser = runtime_names(),
    )]
    runtimes: Vec<String>,
    /// How many files an async body reads at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,
    /// How often each scenario runs; the tables show the median.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Shows the table of slow reads also for more than 200 files.
    #[arg(long)]
    slow_reads: bool,
    /// Lists each file as soon as it is found and read, in the order of the search, and compares
    /// nothing.
    #[arg(long)]
    list: bool,
    /// Shows no progress bar, also on a terminal.
    #[arg(long)]
    no_progress: bool,
}

const VARIABLE: &str = "FOURWAY_RUNTIME";

impl Arguments {
    fn of_the_process() -> Self {
        // Set to nothing, the variable counts as not set, as in `default_runtime`.
        let is_set = env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
        let command = Self::command().mut_arg("runtimes", |argument| {
            if is_set {
                argument
            } else {
                argument.env(None::<&str>)
            }
        });
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The requested runtimes among those compiled in.
    fn names(&self) -> Vec<&'static str> {
        let is_asked_for = |name: &&str| {
            let is = |asked: &String| asked.replace('_', "-").eq_ignore_ascii_case(name);
            self.runtimes.is_empty() || self.runtimes.iter().any(is)
        };
        let names = fourway::compiled_in().iter().copied();
        names.filter(is_asked_for).collect()
    }
}

/// The runtimes that are compiled in; their names may have `_` in place of `-`.
fn runtime_names() -> PossibleValuesParser {
    let value = |name: &&'static str| match *name {
        "std-thread" => PossibleValue::new("std-thread").alias("std_thread"),
        name => PossibleValue::new(name),
    };
    PossibleValuesParser::new(fourway::compiled_in().iter().map(value))
}

fn main() -> ExitCode {
    let arguments = Arguments::of_the_process();
    match run(&arguments, &mut anstream::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader closed the pipe, as `head` does.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error>;

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns whether all results agree.
fn run(arguments: &Arguments, out: &mut impl Write) -> Result<bool, Error> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("skills"),
    };
    if !folder.is_dir() {
        return Err(format!("{} is not a folder", folder.display()).into());
    }
    let names = arguments.names();
    if names.is_empty() {
        return Err("no runtime is compiled in; enable a feature: std-thread, tokio, smol".into());
    }
    if arguments.list {
        return list(fourway::runtime_named(names[0])?, &folder, out);
    }
    let expected = plain(&folder, skillkit::read)?;
    let files = expected.skills.len() + expected.problems.len();
    if files == 0 {
        return Err(format!("there is no SKILL.md under {}", folder.display()).into());
    }
    let on_purpose = arguments.folder.is_none();
    introduce(&names, &folder, &expected, on_purpose, out)?;
    load_one(&names, &folder, &expected, out)?;

    let mut loads = vec![Load {
        title: "Files that the system has cached: what writing it once costs.",
        reader: skillkit::read,
        rounds: arguments.rounds,
    }];
    if files <= 200 || arguments.slow_reads {
        loads.push(Load {
            title: "1 ms more for each file, as from a slow disk: what parallel work saves.",
            reader: slow_read,
            rounds: arguments.rounds.min(3),
        });
    }
    let comparison = Comparison {
        names: &names,
        folder: &folder,
        at_once: arguments.at_once as usize,
        expected: &expected,
        progress: progress(arguments),
    };
    let steps = loads.iter().map(|load| comparison.steps(load)).sum();
    comparison.progress.set_length(steps);
    let mut differences = Vec::new();
    for load in &loads {
        differences.extend(comparison.run(load, out)?);
    }
    comparison.progress.finish_and_clear();
    writeln!(
        out,
        "\nLess is better: the median, and how many times the plain loop's."
    )?;
    paragraph(
        out,
        0,
        "`… by hand` is the row above, written for that runtime alone, with spawn_blocking, \
         unblock or threads.",
    )?;
    for difference in &differences {
        eprintln!("error: {difference}");
    }
    let agree = differences.is_empty();
    let (color, words) = match agree {
        true => (AnsiColor::Green, "✓ all results agree"),
        false => (AnsiColor::Red, "✗ results differ"),
    };
    let style = color.on_default().bold();
    writeln!(out, "\n{style}{words}{style:#}")?;
    Ok(agree)
}

/// Prints the stream of the files: the first lines are there while the search goes on. Returns whether
/// no file is broken.
fn list(runtime: AnyRuntime, folder: &Path, out: &mut impl Write) -> Result<bool, Error> {
    let mut all_read = true;
    for skill in Skills::new(runtime, folder).each() {
        match skill {
            Ok(skill) => {
                let (name, about) = (printable(&skill.name), printable(&skill.description));
                writeln!(out, "{name}: {about}")?;
            }
            Err(problem) => {
                all_read = false;
                writeln!(out, "{}", printable(&problem.to_string()))?;
            }
        }
        out.flush()?;
    }
    Ok(all_read)
}

/// Prints what follows, and which files are broken.
fn introduce(
    names: &[&str],
    folder: &Path,
    expected: &Collection,
    on_purpose: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let title = format!(
        "One library, written once, is called in six ways on {}.",
        plural(names.len(), "runtime")
    );
    heading(out, &title)?;
    let count = plural(expected.problems.len(), "broken file");
    let found = plural(expected.skills.len(), "skill");
    writeln!(out, "\nIt finds {found} and {count} under")?;
    writeln!(out, "  {}", printable(&folder.display().to_string()))?;
    if expected.problems.is_empty() {
        return Ok(());
    }
    let is = if expected.problems.len() == 1 {
        "This is"
    } else {
        "These are"
    };
    let purpose = if on_purpose { " on purpose" } else { "" };
    writeln!(out, "{is} broken{purpose}:")?;
    for problem in &expected.problems {
        let path = problem.path.strip_prefix(folder).unwrap_or(&problem.path);
        let path = path.to_owned();
        let relative = Problem {
            path,
            ..problem.clone()
        };
        paragraph(out, 2, &relative.to_string())?;
    }
    Ok(())
}

/// Loads a skill with arguments on each runtime: by name, and with the same text
/// each time.
fn load_one(
    names: &[&str],
    folder: &Path,
    expected: &Collection,
    out: &mut impl Write,
) -> Result<(), Error> {
    let takes_arguments = |skill: &&Skill| skill.body.contains("$1");
    let Some(skill) = expected.skills.iter().find(takes_arguments) else {
        return Ok(());
    };
    // As many as a text can use.
    let arguments = [
        "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th",
    ];
    let mut texts = Vec::new();
    for name in names {
        let runtime = fourway::runtime_named(name)?;
        let skills = Skills::new(runtime.clone(), folder);
        texts.push(skills.load(&skill.name, &arguments).wait()?);
        texts.push(runtime.block_on(async { skills.load(&skill.name, &arguments).await })?);
    }
    if texts.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(format!("`{}` was loaded with different texts", skill.name).into());
    }
    writeln!(out)?;
    let text = format!(
        "loaded `{}` with its arguments, alike on {}",
        skill.name,
        names.join(", ")
    );
    Ok(paragraph(out, 0, &text)?)
}

/// The subject of a table.
struct Load {
    title: &'static str,
    reader: Reader,
    rounds: u32,
}

/// As from a disk or a network that takes a moment.
fn slow_read(path: &Path, size_limit: u64) -> Result<Skill, Problem> {
    thread::sleep(Duration::from_millis(1));
    skillkit::read(path, size_limit)
}

/// The common part of all tables.
struct Comparison<'a> {
    names: &'a [&'static str],
    folder: &'a Path,
    at_once: usize,
    expected: &'a Collection,
    progress: ProgressBar,
}

impl Comparison<'_> {
    fn steps(&self, load: &Load) -> u64 {
        (self.names.len() * SCENARIOS.len()) as u64 * u64::from(load.rounds + 1)
    }

    /// Runs all scenarios on all runtimes, shows a table, and gives the differences.
    fn run(&self, load: &Load, out: &mut impl Write) -> Result<Vec<String>, Error> {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        // A column a runtime, so that three fit into 80 columns.
        table.set_header(std::iter::once("caller → body").chain(self.names.iter().copied()));
        let name = |scenario: &Scenario| vec![scenario.name.to_owned()];
        let mut rows: Vec<_> = SCENARIOS.iter().map(name).collect();
        let (mut plain_times, mut differences) = (Vec::new(), Vec::new());
        for name in self.names {
            let measured = self.on_one(name, load, &mut differences)?;
            let plain = median(&measured[0]);
            plain_times.extend_from_slice(&measured[0]);
            for (times, row) in measured[1..].iter().zip(&mut rows) {
                let time = median(times);
                row.push(format!("{time:.2} ms  {:.2}×", time / plain));
            }
        }
        table.add_rows(rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.progress.suspend(|| {
            writeln!(out)?;
            heading(out, load.title)?;
            let plain = median(&plain_times);
            writeln!(out, "A plain loop takes {plain:.2} ms:")?;
            writeln!(out, "{table}")
        })?;
        Ok(differences)
    }

    /// Times in milliseconds of all rounds on one runtime: of the plain loop, and then of each
    /// scenario. They take turns, as the speed of a machine varies.
    fn on_one(
        &self,
        name: &str,
        load: &Load,
        differences: &mut Vec<String>,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let runtime = fourway::runtime_named(name)?;
        let skills = Skills::new(runtime.clone(), self.folder).at_once(self.at_once);
        let on = On {
            runtime,
            skills: skills.reader(load.reader),
            by_hand: ByHand::new(name)?,
            folder: self.folder.to_owned(),
            at_once: self.at_once,
            reader: load.reader,
        };
        let mut times = vec![Vec::new(); 1 + SCENARIOS.len()];
        for round in 0..=load.rounds {
            // The first warms up: the threads start, the system reads the files.
            let mut keep = |at: usize, time: f64| {
                if round > 0 {
                    times[at].push(time);
                }
            };
            keep(0, timed(|| plain(self.folder, load.reader))?.1);
            for (at, scenario) in SCENARIOS.iter().enumerate() {
                self.progress
                    .set_message(format!("{name}: {}", scenario.name));
                let (found, time) = timed(|| (scenario.run)(&on))?;
                keep(at + 1, time);
                if found != *self.expected {
                    let difference = difference(self.expected, &found);
                    differences.push(format!("{name}, {}: {difference}", scenario.name));
                }
                self.progress.inc(1);
            }
        }
        Ok(times)
    }
}

/// The result, and how long it took, in milliseconds.
fn timed(run: impl FnOnce() -> Outcome) -> Result<(Collection, f64), Error> {
    let start = Instant::now();
    let found = run()?;
    Ok((found, start.elapsed().as_secs_f64() * 1e3))
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    let bold = anstyle::Style::new().bold();
    write!(out, "{bold}")?;
    paragraph(out, 0, text)?;
    write!(out, "{bold:#}")
}

fn difference(expected: &Collection, found: &Collection) -> String {
    format!(
        "{} and {}, where the plain loop finds {} and {}",
        plural(found.skills.len(), "skill"),
        plural(found.problems.len(), "problem"),
        expected.skills.len(),
        expected.problems.len()
    )
}

fn progress(arguments: &Arguments) -> ProgressBar {
    if arguments.no_progress || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // No wider than a terminal: the longest message is `std-thread: async → blocking`.
    if let Ok(style) = ProgressStyle::with_template("{bar:36} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}
