//! The suite's own program: `run`, `list`, `explain`, `report`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{Isolation, Options, Program, options::numbered, run_as};
use crate::{Capability, Level, report::Report, rules};

/// Holds runtimes to the fourway contract.
#[derive(Debug, Parser)]
#[command(version, bin_name = "conformance", after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Without one of these commands the arguments are those of Rust's test harness, as
`cargo test` and `cargo nextest` pass them: a test is called SUBJECT::CASE.
--list, --exact NAME, --ignored, --skip TEXT, --test-threads N and so on.";

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
        /// Seconds that each stress case goes on. Default: 1.
        #[arg(long, value_name = "SECONDS")]
        stress_time: Option<u64>,
        /// Multiplies all time limits.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        time_scale: u32,
        /// Cases that run at a time. Default: one for each core.
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
    /// Only these: a case (`JO-2.1`), a rule (`JO-2`), or text in a number or title.
    filter: Vec<String>,
    /// Only these levels.
    #[arg(long, value_enum)]
    level: Vec<LevelArg>,
    /// Only cases that are about this capability.
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
    /// Writes the matrix in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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
    // An argument that is not Unicode is not for this program.
    let first = env::args_os().nth(1)?;
    let first = first.to_str()?;
    let ours = ["run", "list", "explain", "report", "help"];
    let help = ["-h", "--help", "-V", "--version"];
    (ours.contains(&first) || help.contains(&first)).then(|| CommandLine::parse().command)
}

pub(super) fn run(command: Command, program: &Program) -> ExitCode {
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
            if let Some(unknown) = unknown(program, &options) {
                eprintln!("error: {unknown}");
                return ExitCode::FAILURE;
            }
            let report = run_as(&program.entries, &options, program.command.as_deref());
            write(&report, &files).map(|()| judge(&report))
        }
        Command::List { select } => Ok(list(program, &select.options())),
        Command::Explain { id } => Ok(explain(program, &id)),
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
    if let Some(reason) = report.failure() {
        eprintln!("error: {reason}");
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Names that do not exist. They would select nothing, which would go unnoticed beside valid names.
fn unknown(program: &Program, options: &Options) -> Option<String> {
    let names: Vec<&str> = program.entries.iter().map(|entry| entry.name).collect();
    let mut wanted = options.subjects.iter();
    if let Some(name) = wanted.find(|name| !names.contains(&name.as_str())) {
        let names = names.join(", ");
        return Some(format!("there is no subject `{name}`; there are: {names}"));
    }
    let known = |number: &str| {
        let mut cases = program.entries.iter().flat_map(|entry| &entry.cases);
        cases.any(|case| case.id == number || case.rule() == number)
    };
    let mut filters = options.filters.iter();
    let number = filters.find(|text| numbered(text).is_some() && !known(text))?;
    Some(format!("there is no case and no rule `{number}`"))
}

fn merge(inputs: &[PathBuf]) -> io::Result<Report> {
    let reports: Vec<Report> = inputs
        .iter()
        .map(|path| Report::read(path))
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
    if let Some(path) = &files.markdown {
        put(path, report.to_markdown())?;
    }
    if let Some(path) = &files.html {
        put(path, report.to_html())?;
    }
    if let Some(folder) = &files.badges {
        fs::create_dir_all(folder)?;
        for subject in &report.subjects {
            put(
                &folder.join(format!("{}.svg", file_name(&subject.name))),
                subject.to_badge(),
            )?;
        }
    }
    Ok(())
}

/// A subject's name, which may come from a foreign report, as a file name.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|one| match one {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => one,
            _ => '-',
        })
        .collect()
}

fn list(program: &Program, options: &Options) -> ExitCode {
    if let Some(unknown) = unknown(program, options) {
        eprintln!("error: {unknown}");
        return ExitCode::FAILURE;
    }
    // The cases are the same for every subject.
    let entries = program.entries.iter();
    let mut entries = entries.filter(|entry| options.selects_subject(entry.name));
    let mut any = false;
    for case in entries.next().map_or(&[][..], |entry| &entry.cases) {
        if options.selects(case) {
            any = true;
            let line = format!(
                "{:<8} {:<8} {} {}",
                case.id,
                case.level,
                case.title,
                case.requirements()
            );
            println!("{}", line.trim_end());
        }
    }
    if any {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: no case is selected");
        ExitCode::FAILURE
    }
}

fn explain(program: &Program, id: &str) -> ExitCode {
    let cases = program.entries.first().map(|entry| entry.cases.as_slice());
    let found: Vec<_> = cases
        .unwrap_or_default()
        .iter()
        .filter(|case| case.id == id || case.rule() == id)
        .collect();
    let rule = id.split_once('.').map_or(id, |(rule, _)| rule);
    let known = rules::rule(rule);
    if found.is_empty() && (known.is_none() || id != rule) {
        eprintln!("error: there is no case and no rule `{id}`; `list` shows them");
        return ExitCode::FAILURE;
    }
    if let Some(known) = known {
        println!("{}: {}\n", rules::named(rule), known.text);
    }
    for case in found {
        println!(
            "{} ({}, since {})\n  {}\n  why it matters: {}",
            case.id, case.level, case.since, case.title, case.why
        );
        let requirements = case.requirements();
        if !requirements.is_empty() {
            println!("  only for runtimes with: {requirements}");
        }
        if let Some(exemption) = rules::exemption(case.id) {
            println!("  not proven by a broken runtime: {exemption}");
        }
        let of_this_one = |entry: &&super::Entry| {
            entry.known_failure(case).is_some() || case.unsupported(entry.capabilities).is_some()
        };
        for entry in program.entries.iter().filter(of_this_one) {
            match (
                case.unsupported(entry.capabilities),
                entry.known_failure(case),
            ) {
                (Some(reason), _) => println!("  {}: unsupported: {reason}", entry.name),
                (None, Some(known)) => println!(
                    "  {}: known failure: {} ({})",
                    entry.name, known.reason, known.link
                ),
                (None, None) => {}
            }
        }
    }
    ExitCode::SUCCESS
}
