//! Runs one library in every way, on every runtime, and checks that the results
//! are equal.
//!
//! Exit codes: 0, all agree; 1, something went wrong or results differ; 2, the
//! arguments are wrong.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use fourway::{AnyRuntime, prelude::*};
use indicatif::{ProgressBar, ProgressStyle};
use skillkit::{Collection, Problem, Skill, Skills, collect, parse_bytes};

/// Discovers, parses and loads SKILL.md files from sync code, from async code and
/// in parallel, on every runtime compiled in, and compares.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The folder with the skills; a bundled set if not given.
    folder: Option<PathBuf>,
    /// Only these runtimes; all that are compiled in if not given.
    #[arg(long = "runtime", value_name = "NAME")]
    runtimes: Vec<String>,
    /// How many files an async body parses at once.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// How often each scenario runs; the table shows the median.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Shows no progress bar, also on a terminal.
    #[arg(long)]
    no_progress: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
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

fn run(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
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
        arguments.runtimes.iter().map(String::as_str).collect()
    };
    if names.is_empty() {
        return Err("no runtime is compiled in; enable a feature: std-thread, tokio, smol".into());
    }

    let (expected, sequential) = timed(arguments.rounds, || sequential(&folder))?;
    println!(
        "{} skills and {} broken files under {}\n",
        expected.skills.len(),
        expected.problems.len(),
        folder.display()
    );
    for problem in &expected.problems {
        println!("{}", relative(problem, &folder));
    }
    load_one(&names, &folder, &expected)?;

    let progress = progress(arguments, names.len() * SCENARIOS.len());
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let scenarios = SCENARIOS.iter().map(|scenario| scenario.name);
    table.set_header(std::iter::once("runtime").chain(scenarios));
    let mut differences = Vec::new();
    for name in names {
        let runtime = fourway::runtime_named(name)?;
        let skills = Skills::new(runtime.clone(), &folder).at_once(arguments.at_once);
        let mut row = vec![name.to_owned()];
        for scenario in SCENARIOS {
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
        table.add_row(row);
    }
    progress.finish_and_clear();
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!(
        "\n{table}\nmedian of {} rounds, and the ratio to a plain sequential loop, which takes {:.2} ms",
        arguments.rounds,
        sequential.as_secs_f64() * 1e3
    );
    for difference in &differences {
        eprintln!("error: {difference}");
    }
    if differences.is_empty() {
        println!("all results agree");
    }
    Ok(differences.is_empty())
}

/// What the library does, as one would write it without it.
fn sequential(folder: &Path) -> Outcome {
    let mut paths: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() == "SKILL.md")
        .map(walkdir::DirEntry::into_path)
        .collect();
    paths.sort();
    let read = |path: PathBuf| -> Result<(PathBuf, Result<Skill, Problem>), std::io::Error> {
        let bytes = fs::read(&path)?;
        let result = parse_bytes(&path, &bytes);
        Ok((path, result))
    };
    let results: Result<Vec<_>, _> = paths.into_iter().map(read).collect();
    Ok(collect(results?))
}

/// Loads a skill with an argument on each runtime: by name, and with the same text
/// each time.
fn load_one(
    names: &[&str],
    folder: &Path,
    expected: &Collection,
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
    println!(
        "\nloaded `{}` with {} arguments, alike on {}",
        skill.name,
        arguments.len(),
        names.join(", ")
    );
    Ok(())
}

/// The median time of several rounds, and the last result.
fn timed(
    rounds: u32,
    mut run: impl FnMut() -> Outcome,
) -> Result<(Collection, Duration), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    let mut last = Collection::default();
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        last = run()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((last, times[times.len() / 2]))
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
