//! Running the cases: [`Suite`].

use std::{
    any::Any,
    env, fmt, fs, io,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    case::Case,
    report::{CaseReport, Report, SCHEMA, SubjectReport},
    status::Status,
    subject::{KnownFailure, Subject},
    watch::{Unfinished, panic_message, watch},
};

/// A suite's cases, on the subjects under test.
#[derive(Clone)]
#[must_use]
pub struct Suite {
    subjects: Vec<Subject>,
    capabilities: Vec<&'static str>,
    threads: Option<usize>,
    checks: Vec<Check>,
    title: String,
    rules: Vec<(&'static str, &'static str)>,
}

/// A test beside the cases: its name, and what it does.
type Check = (String, Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Suite {
    /// A suite of the subjects' cases.
    pub fn new(subjects: impl IntoIterator<Item = Subject>) -> Self {
        Self {
            subjects: subjects.into_iter().collect(),
            capabilities: Vec::new(),
            threads: None,
            checks: Vec::new(),
            title: String::from("fourway-acceptance"),
            rules: Vec::new(),
        }
    }

    /// The title of reports for people and for systems. Default: `fourway-acceptance`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The names of rules by their numbers, for the page: `("EN-3", "poison ends")`.
    pub fn rules(mut self, names: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.rules = names.into_iter().collect();
        self
    }

    /// The names of all capabilities that a subject can [declare](Subject::capabilities), in the
    /// order of reports.
    pub fn capabilities(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        self.capabilities = names.into_iter().collect();
        self
    }

    /// How many cases [`main`](Self::main) runs at a time, without `--test-threads`. Default: the
    /// number of processors.
    pub fn threads(mut self, cases: usize) -> Self {
        self.threads = Some(cases);
        self
    }

    /// A test that [`main`](Self::main) runs beside the cases and that no report shows: for what is recorded
    /// of them elsewhere. An error fails it.
    pub fn check(
        mut self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name.into(), Arc::new(check)));
        self
    }

    /// The `main` function of a test binary with `harness = false`.
    ///
    /// The arguments are those of `cargo test`; each case is a test with the name `SUBJECT ID
    /// TITLE`, and is ignored if it is [unsupported](Case::unsupported). After `report` as the
    /// first argument, `--json FILE`, `--junit FILE`, `--html FILE` and `--markdown FILE` say where to
    /// write the results, and `--with FILE` puts an earlier report, in JSON, before them.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let args: Vec<String> = env::args().skip(1).collect();
        if args.first().is_some_and(|first| first == "report") {
            return self.report(&args[1..]);
        }
        let mut arguments = Arguments::from_args();
        arguments.test_threads = arguments.test_threads.or(self.threads);
        libtest_mimic::run(&arguments, self.trials()).exit_code()
    }

    /// Runs all cases, one after the other.
    #[must_use]
    pub fn run(&self) -> Report {
        let subjects = self.subjects.iter().map(|subject| SubjectReport {
            name: subject.name.clone(),
            capabilities: subject.capabilities.clone(),
            cases: subject
                .cases
                .iter()
                .map(|case| {
                    let (status, message) = run_case(case, &subject.known, subject.deadline);
                    CaseReport {
                        id: case.id.to_owned(),
                        title: case.title.to_owned(),
                        status,
                        message,
                        not_here: case.not_here,
                    }
                })
                .collect(),
        });
        Report {
            schema: SCHEMA,
            subjects: subjects.collect(),
        }
    }

    fn trials(self) -> Vec<Trial> {
        let checks = self.checks.into_iter();
        let mut trials: Vec<_> = checks
            .map(|(name, check)| Trial::test(name, move || check().map_err(Failed::from)))
            .collect();
        for subject in self.subjects {
            let known: Arc<[_]> = subject.known.into();
            for case in subject.cases {
                let known = known.clone();
                let unsupported = case.unsupported.is_some();
                let name = format!("{} {} {}", subject.name, case.id, case.title);
                let trial = Trial::test(name, move || {
                    let (status, message) = run_case(&case, &known, subject.deadline);
                    if !status.is_failure() {
                        return Ok(());
                    }
                    let mut message = message.unwrap_or_default();
                    if let Some(why) = case.why {
                        message = format!("{message}\n{why}");
                    }
                    Err(Failed::from(message))
                });
                trials.push(trial.with_ignored_flag(unsupported));
            }
        }
        trials
    }

    fn report(&self, args: &[String]) -> ExitCode {
        let (earlier, outputs) = match forms(args) {
            Ok(parsed) => parsed,
            Err(code) => return code,
        };
        let mut report = self.run();
        report.subjects.splice(0..0, earlier);
        let table = report.to_markdown(&self.capabilities);
        for (form, path) in outputs {
            let text = match form {
                Form::Json => report.to_json().map_err(io::Error::from),
                Form::Junit => report.to_junit(&self.title),
                Form::Html => Ok(report.to_html(&self.title, &self.rules)),
                Form::Markdown => Ok(table.clone()),
            };
            if let Err(error) = text.and_then(|text| fs::write(path, text)) {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
        print!("{table}");
        let mut code = ExitCode::SUCCESS;
        for subject in &report.subjects {
            for case in subject.cases.iter().filter(|case| case.status.is_failure()) {
                let message = case.message.as_deref().unwrap_or_default();
                println!("\n{} {} {}\n{message}", subject.name, case.id, case.title);
                code = ExitCode::FAILURE;
            }
        }
        code
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("subjects", &self.subjects)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Junit,
    Html,
    Markdown,
}

/// The earlier report, and the formats and files to write: parsed before the first case runs.
type Wanted<'a> = (Vec<SubjectReport>, Vec<(Form, &'a str)>);

fn forms(args: &[String]) -> Result<Wanted<'_>, ExitCode> {
    let (mut earlier, mut outputs) = (Vec::new(), Vec::new());
    for pair in args.chunks(2) {
        match pair {
            [form, path] if form == "--json" => outputs.push((Form::Json, path.as_str())),
            [form, path] if form == "--junit" => outputs.push((Form::Junit, path.as_str())),
            [form, path] if form == "--html" => outputs.push((Form::Html, path.as_str())),
            [form, path] if form == "--markdown" => outputs.push((Form::Markdown, path.as_str())),
            [form, path] if form == "--with" => {
                let text = fs::read_to_string(path);
                let report = text.and_then(|text| Ok(Report::from_json(&text)?));
                match report {
                    Ok(report) => earlier.extend(report.subjects),
                    Err(error) => {
                        eprintln!("{path}: {error}");
                        return Err(ExitCode::FAILURE);
                    }
                }
            }
            _ => {
                eprintln!(
                    "usage: report [--with FILE]… [--json FILE] [--junit FILE] [--html FILE] \
                     [--markdown FILE]"
                );
                return Err(ExitCode::from(2));
            }
        }
    }
    Ok((earlier, outputs))
}

/// Waits for the case's turn, and runs it.
fn outcome(case: &Case, deadline: Duration) -> Result<(), (Status, String)> {
    let failed = |payload: Box<dyn Any + Send>| (Status::Fail, panic_message(&*payload));
    let turn = case.turn.as_ref();
    // Outside of the deadline, which is for the case alone.
    let turn = panic::catch_unwind(AssertUnwindSafe(|| turn.map(|turn| turn())));
    let turn = turn.map_err(failed)?;
    let body = case.body.clone();
    let caught = move || {
        let _turn = turn;
        panic::catch_unwind(AssertUnwindSafe(|| body()))
    };
    match watch(deadline, caught) {
        Ok(result) => result.map_err(failed),
        Err(hung @ Unfinished::Hung(_)) => Err((Status::Timeout, hung.to_string())),
        Err(error) => Err((Status::Fail, error.to_string())),
    }
}

/// Runs one case, and compares its result with the known failures.
fn run_case(case: &Case, known: &[KnownFailure], deadline: Duration) -> (Status, Option<String>) {
    if let Some(reason) = &case.unsupported {
        return (Status::Unsupported, Some(reason.clone()));
    }
    let outcome = outcome(case, deadline);
    let known = known.iter().find(|known| known.case == case.id);
    match (outcome, known) {
        (Ok(()), None) => (Status::Pass, None),
        (Ok(()), Some(known)) => (
            Status::UnexpectedPass,
            Some(format!("it passes, and is known to fail: {}", known.reason)),
        ),
        (Err(_), Some(known)) => (Status::KnownFail, Some(known.reason.to_owned())),
        (Err((status, message)), None) => (status, Some(message)),
    }
}
