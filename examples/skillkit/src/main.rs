//! Runs one library in every way, on every runtime, and checks that the results
//! are equal.
//!
//! Exit codes: 0, all agree; 1, something went wrong or results differ; 2, the
//! arguments are wrong.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anstyle::AnsiColor;
use clap::{
    Parser,
    builder::{PossibleValue, PossibleValuesParser},
};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use fourway::{AnyRuntime, prelude::*};
use indicatif::{ProgressBar, ProgressStyle};
use skillkit::{Collection, Problem, Skills, collect};

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
        env = "FOURWAY_RUNTIME",
        ignore_case = true,
        value_parser = runtime_names(),
    )]
    runtimes: Vec<String>,
    /// How many files an async body parses at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,
    /// How often each scenario runs; the table shows the median.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Shows no progress bar, also on a terminal.
    #[arg(long)]
    no_progress: bool,
}

/// Those that are compiled in; in their names, `_` is as good as `-`.
fn runtime_names() -> PossibleValuesParser {
    let value = |name: &&'static str| match *name {
        "std-thread" => PossibleValue::new("std-thread").alias("std_thread"),
        name => PossibleValue::new(name),
    };
    PossibleValuesParser::new(fourway::compiled_in().iter().map(value))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments, &mut anstream::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads has seen enough, as `head` has.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

type Outcome = Result<Collection, Box<dyn std::error::Error>>;

/// One way to get at everything in the folder.
struct Scenario {
    name: &'static str,
    run: fn(&AnyRuntime, &Skills) -> Outcome,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sync → blocking",
        run: |_, skills| {
            let paths = skills.discover().wait()?;
            let parse = |path: PathBuf| {
                let result = skills.parse(&path).wait();
                (path, result)
            };
            Ok(collect(paths.into_iter().map(parse).collect()))
        },
    },
    Scenario {
        name: "sync → async",
        run: |_, skills| Ok(skills.gather().wait()?),
    },
    Scenario {
        name: "async → blocking",
        run: |runtime, skills| {
            runtime.block_on(async {
                let mut results = Vec::new();
                for path in skills.discover().await? {
                    let result = skills.parse(&path).await;
                    results.push((path, result));
                }
                Ok(collect(results))
            })
        },
    },
    Scenario {
        name: "async → async",
        run: |runtime, skills| runtime.block_on(async { Ok(skills.gather().await?) }),
    },
    Scenario {
        name: "in parallel",
        run: |runtime, skills| {
            let paths = skills.discover().wait()?;
            let tasks: Vec<_> = paths
                .into_iter()
                .map(|path| {
                    let task = skills.parse(&path).spawn();
                    (path, task)
                })
                .collect();
            runtime.block_on(async {
                let mut results = Vec::new();
                for (path, task) in tasks {
                    results.push((path, task.await?));
                }
                Ok(collect(results))
            })
        },
    },
    Scenario {
        name: "nested",
        run: |runtime, skills| {
            // Sync → async → sync → async → sync: a closure that blocks on async
            // code that offloads again.
            let skills = skills.clone();
            let closure = runtime.offload(move || skills.gather().wait());
            Ok(runtime.block_on(closure)??)
        },
    },
];

fn run(arguments: &Arguments, out: &mut impl Write) -> Result<bool, Box<dyn std::error::Error>> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("skills"),
    };
    if !folder.is_dir() {
        return Err(format!("{} is not a folder", folder.display()).into());
    }
    let names: Vec<&str> = if arguments.runtimes.is_empty() {
        fourway::compiled_in().to_vec()
    } else {
        let known = |name: &&&str| {
            let asked = |asked: &String| asked.replace('_', "-").eq_ignore_ascii_case(name);
            arguments.runtimes.iter().any(asked)
        };
        fourway::compiled_in()
            .iter()
            .filter(known)
            .copied()
            .collect()
    };
    if names.is_empty() {
        return Err("no runtime is compiled in; enable a feature: std-thread, tokio, smol".into());
    }

    let (expected, sequential) = timed(arguments.rounds, || sequential(&folder))?;
    if expected == Collection::default() {
        return Err(format!("there is no SKILL.md under {}", folder.display()).into());
    }
    writeln!(
        out,
        "One library, written once, is called in six ways on {}.\n",
        plural(names.len(), "runtime")
    )?;
    writeln!(
        out,
        "It finds {} and {} under {}{}",
        plural(expected.skills.len(), "skill"),
        plural(expected.problems.len(), "broken file"),
        folder.display(),
        match expected.problems.len() {
            0 => ".",
            _ if arguments.folder.is_none() => ".\nThese are broken on purpose:",
            _ => ":",
        }
    )?;
    for problem in &expected.problems {
        writeln!(out, "  {}", relative(problem, &folder))?;
    }
    load_one(&names, &folder, &expected, out)?;

    let progress = progress(arguments, names.len() * SCENARIOS.len());
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    // A column a runtime, so that three fit into 80 columns.
    table.set_header(std::iter::once("caller → body").chain(names.iter().copied()));
    let mut rows: Vec<_> = SCENARIOS
        .iter()
        .map(|scenario| vec![scenario.name.to_owned()])
        .collect();
    let mut differences = Vec::new();
    for name in names {
        let runtime = fourway::runtime_named(name)?;
        let skills = Skills::new(runtime.clone(), &folder).at_once(arguments.at_once as usize);
        for (scenario, row) in SCENARIOS.iter().zip(&mut rows) {
            progress.set_message(format!("{name}: {}", scenario.name));
            let (found, time) = timed(arguments.rounds, || (scenario.run)(&runtime, &skills))?;
            if found != expected {
                differences.push(format!(
                    "{name}, {}: {}",
                    scenario.name,
                    difference(&expected, &found)
                ));
            }
            let ratio = time.as_secs_f64() / sequential.as_secs_f64();
            row.push(format!("{:.2} ms  {ratio:.2}×", time.as_secs_f64() * 1e3));
            progress.inc(1);
        }
    }
    table.add_rows(rows);
    progress.finish_and_clear();
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(
        out,
        "\n{table}\nMedian of {}, and the ratio to a plain loop, which takes {:.2} ms:\n\
         less is better. These files are small and cached; parallel work pays for slow ones.",
        plural(arguments.rounds as usize, "round"),
        sequential.as_secs_f64() * 1e3
    )?;
    for difference in &differences {
        eprintln!("error: {difference}");
    }
    if differences.is_empty() {
        let seen = AnsiColor::Green.on_default().bold();
        writeln!(out, "\n{seen}all results agree{seen:#}")?;
    }
    Ok(differences.is_empty())
}

/// What the library does, as one would write it without it.
fn sequential(folder: &Path) -> Outcome {
    let read = |path: PathBuf| {
        let result = skillkit::read(&path, skillkit::SIZE_LIMIT);
        (path, result)
    };
    let paths = skillkit::discover(folder)?;
    Ok(collect(paths.into_iter().map(read).collect()))
}

/// Loads a skill with an argument on each runtime: by name, and with the same text
/// each time.
fn load_one(
    names: &[&str],
    folder: &Path,
    expected: &Collection,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(skill) = expected
        .skills
        .iter()
        .find(|skill| skill.body.contains("$1"))
    else {
        return Ok(());
    };
    let arguments = vec!["first", "second", "third"];
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
    writeln!(
        out,
        "\nloaded `{}` with {}, alike on {}",
        skill.name,
        plural(arguments.len(), "argument"),
        names.join(", ")
    )?;
    Ok(())
}

/// The median time of several rounds, and the last result.
fn timed(
    rounds: u32,
    mut run: impl FnMut() -> Outcome,
) -> Result<(Collection, Duration), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    // Warms up, so that the first to be timed does not pay for the others.
    let mut last = run()?;
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        last = run()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((last, times[times.len() / 2]))
}

fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn relative(problem: &Problem, folder: &Path) -> Problem {
    let path = problem.path.strip_prefix(folder).unwrap_or(&problem.path);
    Problem {
        path: path.to_owned(),
        ..problem.clone()
    }
}

fn difference(expected: &Collection, found: &Collection) -> String {
    format!(
        "{} skills and {} problems, where the plain loop finds {} and {}",
        found.skills.len(),
        found.problems.len(),
        expected.skills.len(),
        expected.problems.len()
    )
}

fn progress(arguments: &Arguments, steps: usize) -> ProgressBar {
    if arguments.no_progress || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}
