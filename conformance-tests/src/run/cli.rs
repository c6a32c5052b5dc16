//! The suite's own program: `run`, `list`, `explain`, `report`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{Entry, Isolation, Options, run_entries};
use crate::{Capability, Level, report::Report, rules};

/// Holds runtimes to the fourway contract.
#[derive(Debug, Parser)]
#[command(version, bin_name = "conformance")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs cases and reports what came out.
    Run {
        #[command(flatten)]
        select: Select,
        #[command(flatten)]
        files: Files,
        /// Seed of the stress cases.
        #[arg(long)]
        seed: Option<u64>,
        /// Seconds that each stress case goes on.
        #[arg(long, value_name = "SECONDS")]
        stress_time: Option<u64>,
        /// Multiplies all time limits.
        #[arg(long, default_value_t = 1)]
        time_scale: u32,
        /// Cases that run at a time.
        #[arg(long, short)]
        jobs: Option<usize>,
        /// Panics show backtraces; slow.
        #[arg(long)]
        backtraces: bool,
    },
    /// Lists cases.
    List {
        #[command(flatten)]
        select: Select,
    },
    /// Says what a case or a rule is about.
    Explain {
        /// A case (`JO-2.1`) or a rule (`JO-2`).
        id: String,
    },
    /// Makes one report of several JSON files.
    Report {
        /// Reports in JSON.
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        #[command(flatten)]
        files: Files,
    },
}

#[derive(Debug, Args)]
pub(super) struct Select {
    /// Only cases whose id or title contains one of these.
    filter: Vec<String>,
    /// Only these levels.
    #[arg(long, value_enum)]
    level: Vec<LevelArg>,
    /// Only cases that need this capability.
    #[arg(long, value_parser = capability)]
    capability: Vec<Capability>,
    /// Only these subjects.
    #[arg(long)]
    subject: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArg {
    Core,
    Extended,
    Stress,
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes it as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Writes it as one HTML page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes an SVG badge for each subject, `NAME.svg`.
    #[arg(long, value_name = "FOLDER")]
    badges: Option<PathBuf>,
}

fn capability(name: &str) -> Result<Capability, String> {
    Capability::ALL
        .into_iter()
        .find(|known| known.name() == name)
        .ok_or_else(|| {
            let names: Vec<_> = Capability::ALL.iter().map(|known| known.name()).collect();
            format!("unknown; there are: {}", names.join(", "))
        })
}

/// The command, if the arguments are for this program and not for a test
/// harness. Ends the process where the arguments are wrong or ask for help.
pub(super) fn command() -> Option<Command> {
    let first = env::args().nth(1)?;
    ["run", "list", "explain", "report", "help"]
        .contains(&first.as_str())
        .then(|| Program::parse().command)
}

pub(super) fn run(command: Command, entries: &[Entry]) -> ExitCode {
    let outcome = match command {
        Command::Run {
            select,
            files,
            seed,
            stress_time,
            time_scale,
            jobs,
            backtraces,
        } => {
            let default = Options::default();
            let options = Options {
                seed: seed.unwrap_or(default.seed),
                stress_time: stress_time.map_or(default.stress_time, Duration::from_secs),
                time_scale,
                jobs: jobs.unwrap_or(default.jobs),
                backtraces,
                isolation: Isolation::Process,
                progress: true,
                ..select.options()
            };
            let report = run_entries(entries, &options);
            write(&report, &files).map(|()| judge(&report))
        }
        Command::List { select } => {
            list(entries, &select.options());
            Ok(ExitCode::SUCCESS)
        }
        Command::Explain { id } => Ok(explain(entries, &id)),
        Command::Report { inputs, files } => {
            merge(&inputs).and_then(|report| write(&report, &files).map(|()| judge(&report)))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

impl Select {
    fn options(&self) -> Options {
        Options {
            filters: self.filter.clone(),
            levels: self.level.iter().map(|level| level.level()).collect(),
            capabilities: self.capability.clone(),
            subjects: self.subject.clone(),
            ..Options::default()
        }
    }
}

impl LevelArg {
    fn level(self) -> Level {
        match self {
            Self::Core => Level::Core,
            Self::Extended => Level::Extended,
            Self::Stress => Level::Stress,
        }
    }
}

fn judge(report: &Report) -> ExitCode {
    print!("{}", report.to_text());
    if report
        .subjects
        .iter()
        .all(|subject| subject.cases.is_empty())
    {
        eprintln!("error: no case was selected; a run that tests nothing proves nothing");
    }
    if report.is_failure() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn merge(inputs: &[PathBuf]) -> io::Result<Report> {
    let reports: Vec<Report> = inputs
        .iter()
        .map(|path| {
            Report::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        })
        .collect::<io::Result<_>>()?;
    Report::merge(reports)
}

fn write(report: &Report, files: &Files) -> io::Result<()> {
    let put = |path: &Path, text: String| {
        fs::write(path, text)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    if let Some(path) = &files.json {
        put(path, report.to_json())?;
    }
    if let Some(path) = &files.junit {
        put(path, report.to_junit()?)?;
    }
    if let Some(path) = &files.html {
        put(
            path,
            report.to_html(|rule| rules::text(rule).map(str::to_owned)),
        )?;
    }
    if let Some(folder) = &files.badges {
        fs::create_dir_all(folder)?;
        for subject in &report.subjects {
            put(
                &folder.join(format!("{}.svg", subject.name)),
                report.to_badge(subject),
            )?;
        }
    }
    Ok(())
}

fn list(entries: &[Entry], options: &Options) {
    // The cases are the same for every subject.
    let Some(entry) = entries.first() else { return };
    for case in entry.cases.iter().filter(|case| options.selects(case)) {
        let needs: Vec<_> = case.needs.iter().map(|need| need.name()).collect();
        let needs = if needs.is_empty() {
            String::new()
        } else {
            format!(" [{}]", needs.join(", "))
        };
        println!("{:<8} {:<8} {}{needs}", case.id, case.level, case.title);
    }
}

fn explain(entries: &[Entry], id: &str) -> ExitCode {
    let cases = entries.first().map(|entry| entry.cases.as_slice());
    let found: Vec<_> = cases
        .unwrap_or_default()
        .iter()
        .filter(|case| case.id == id || case.rule() == id)
        .collect();
    let rule = id.split_once('.').map_or(id, |(rule, _)| rule);
    let text = rules::text(rule);
    if found.is_empty() && text.is_none() {
        eprintln!("error: there is no case and no rule `{id}`; `list` shows them");
        return ExitCode::FAILURE;
    }
    if let Some(text) = text {
        println!("{rule}: {text}\n");
    }
    for case in found {
        println!(
            "{} ({}, since {})\n  {}\n  why it matters: {}",
            case.id, case.level, case.since, case.title, case.why
        );
        if let Some(exemption) = rules::exemption(case.id) {
            println!("  {exemption}");
        }
    }
    ExitCode::SUCCESS
}
