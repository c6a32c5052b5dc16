//! The suite's own program and the test harness's arguments, as a user gives them.
//!
//! This binary is both: with [`AS_PROGRAM`] in the environment it is the program that
//! `conformance_main!` makes, for subjects that fail in every way; without it, it starts itself as
//! that program.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode, Output, abort},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_conformance::{
    Capabilities, Config, Entry, Isolation, KnownFailure, Options, Program, Subject,
    report::{Report, Status},
    run_entries, serve,
};
use libtest_mimic::{Arguments, Trial};

const AS_PROGRAM: &str = "FOURWAY_TEST_AS_PROGRAM";

#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

struct Mine;

/// Does building the runtime panic?
static PANICS: AtomicBool = AtomicBool::new(false);

impl Subject for Mine {
    type Runtime = Adapter<ThreadEach>;
    const NAME: &'static str = "mine";
    const VERSION: Option<&'static str> = Some("1.2.3");

    fn capabilities() -> Capabilities {
        let capabilities = Capabilities::default();
        capabilities
            .block_in_place(false)
            .shutdown(false)
            .lost_tasks(false)
    }

    fn known_failures() -> &'static [KnownFailure] {
        &[KnownFailure {
            id: "SP-1.1",
            reason: "it is too early",
            link: "https://example.org/1",
        }]
    }

    fn build(config: &Config) -> Self::Runtime {
        assert!(
            !PANICS.load(Ordering::SeqCst),
            "<no> runtime & no \u{1b}[31mcolour"
        );
        let builder = Adapter::builder(ThreadEach).offload_limit(config.offload_limit);
        builder.build().expect("a valid config")
    }
}

/// The same subject, with several kinds of faults.
fn entries() -> Vec<Entry> {
    let mine = Entry::of::<Mine>();
    let panics = mine.variant("panics", || PANICS.store(true, Ordering::SeqCst));
    let aborts = mine.variant("aborts", || abort());
    let hangs = mine.variant("hangs", || {
        loop {
            thread::park();
        }
    });
    vec![mine, panics, aborts, hangs]
}

fn main() -> ExitCode {
    let entries = entries();
    if env::var_os(AS_PROGRAM).is_some() {
        return Program::new(entries)
            .cargo_test("fourway-conformance", "program")
            .main();
    }
    if let Some(code) = serve(&entries) {
        return code;
    }
    let tests: [(&str, fn()); 8] = [
        ("each_way_to_fail_is_told_apart", statuses),
        ("a_hang_is_a_timeout", timeout),
        ("a_run_writes_every_form_and_report_reads_it", forms),
        ("a_run_of_nothing_is_a_failure", nothing),
        ("stress_cases_tell_their_rounds_and_seed", stress),
        ("help_says_both_ways", help),
        ("list_and_explain_show_what_a_case_needs", texts),
        ("cargo_test_and_nextest_are_understood", harness),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn program(arguments: &[&str]) -> Output {
    let this = env::current_exe().expect("this program");
    let mut command = Command::new(this);
    command.args(arguments).env(AS_PROGRAM, "1");
    command.output().expect("it can be started")
}

fn ok(arguments: &[&str]) -> String {
    let output = program(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn refused(arguments: &[&str]) -> String {
    let output = program(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for tests");
    folder
}

fn statuses() {
    let file = folder("statuses").join("report.json");
    let path = file.to_str().expect("UTF-8");
    let arguments = ["run", "SP-1.1", "SP-1.2", "SH-1.1", "--json", path];
    let subjects = [
        "--subject",
        "mine",
        "--subject",
        "panics",
        "--subject",
        "aborts",
    ];
    let errors = refused(&[&arguments[..], &subjects[..]].concat());
    // Plain lines, as the output is not a terminal.
    assert!(errors.contains("pass mine::SP-1.2 "), "{errors}");
    let report = Report::read(&file).expect("a report");
    let mut found = Vec::new();
    for subject in &report.subjects {
        assert_eq!(subject.version.as_deref(), Some("1.2.3"));
        let statuses = subject.cases.iter().map(|case| case.status);
        found.push((subject.name.as_str(), statuses.collect::<Vec<_>>()));
    }
    use Status::{Crashed, Fail, KnownFail, Pass, UnexpectedPass, Unsupported};
    let expected = [
        ("mine", vec![UnexpectedPass, Pass, Unsupported]),
        ("panics", vec![KnownFail, Fail, Unsupported]),
        ("aborts", vec![KnownFail, Crashed, Unsupported]),
    ];
    assert_eq!(found, expected);
    let known = &report.subjects[1].cases[0];
    assert_eq!(known.link.as_deref(), Some("https://example.org/1"));
    let message = known.message.as_deref().expect("the reason");
    assert!(message.starts_with("it is too early\n"), "{message}");
    // In the harness, a known failure does not fail.
    let text = ok(&["--exact", "panics::SP-1.1"]);
    assert!(text.contains("1 passed"), "{text}");
    assert_eq!(
        program(&["--exact", "mine::SP-1.1"]).status.code(),
        Some(101)
    );
}

fn timeout() {
    let mut options = Options::default();
    options.isolation = Isolation::Process;
    options.subjects = vec![String::from("hangs")];
    options.ids = vec![String::from("SP-1.2")];
    options.watchdog = Duration::from_millis(500);
    let report = run_entries(&entries(), &options);
    assert_eq!(report.subjects[0].cases[0].status, Status::Timeout);
    assert!(report.is_failure());
}

fn forms() {
    let folder = folder("forms");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let files = [
        "--json",
        &path("a.json"),
        "--junit",
        &path("a.xml"),
        "--html",
        &path("a.html"),
        "--markdown",
        &path("a.md"),
        "--badges",
        &path("badges"),
    ];
    let run = ["run", "SP-1.2", "--subject", "mine"];
    let text = ok(&[&run[..], &files[..]].concat());
    assert!(text.contains("mine: 1 pass"), "{text}");
    for (name, part) in [
        ("a.json", "\"schema\": 1"),
        ("a.xml", "<testcase name=\"SP-1.2 "),
        ("a.html", "id=\"SP-1.2\""),
        ("a.md", "| mine | run in part |"),
        ("badges/mine.svg", "run in part, suite "),
    ] {
        let text = fs::read_to_string(folder.join(name)).expect(name);
        assert!(text.contains(part), "{name}: {text}");
    }
    let _ = program(&[
        "run",
        "SP-1.2",
        "--subject",
        "panics",
        "--json",
        &path("b.json"),
    ]);
    let merge = [
        "report",
        &path("a.json"),
        &path("b.json"),
        "--html",
        &path("m.html"),
    ];
    let errors = refused(&merge);
    assert!(errors.contains("1 of 2 cases failed"), "{errors}");
    let page = fs::read_to_string(folder.join("m.html")).expect("the page");
    assert!(page.contains(
        "cargo test -p fourway-conformance --test program -- run SP-1.2 --subject panics"
    ));
    assert!(page.contains("&lt;no&gt; runtime &amp; no \u{fffd}[31mcolour"));
    fs::write(folder.join("c.json"), "{ \"schema\": 99 }").expect("a file");
    let errors = refused(&["report", &path("a.json"), &path("c.json")]);
    assert!(errors.contains("c.json: a report of schema 99"), "{errors}");
}

fn nothing() {
    for arguments in [
        &["run", "--subject", "yours"][..],
        &["run", "SP-1.2", "--subject", "mine", "--subject", "yours"],
        &["run", "SP-1.2", "JO-77.1"],
        &["run", "no case has these words in its title"],
        &["run", "SP-1", "--level", "stress"],
        // None of these is for this subject.
        &[
            "run",
            "--capability",
            "lost-tasks",
            "WA-3",
            "--subject",
            "mine",
        ],
        &["list", "JO-77"],
        &["list", "no case has these words in its title"],
        &["explain", "JO-77.1"],
    ] {
        refused(arguments);
    }
    // The harness refuses it too, if it looks like a case. Other words are for other binaries.
    refused(&["JO-77.1"]);
    refused(&["--exact", "mine::SP-1.77"]);
    ok(&["the name of somebody's test"]);
}

fn stress() {
    let file = folder("stress").join("report.json");
    let path = file.to_str().expect("UTF-8");
    let select = ["run", "--level", "stress", "--subject", "mine"];
    ok(&[
        &select[..],
        &["--seed", "77", "--stress-time", "0", "--json", path],
    ]
    .concat());
    let report = Report::read(&file).expect("a report");
    let subject = &report.subjects[0];
    assert_eq!((subject.run.seed, subject.run.stress_millis), (77, 0));
    assert!(subject.cases.len() > 3);
    for case in &subject.cases {
        assert!(case.rounds.is_some_and(|rounds| rounds > 0), "{case:?}");
    }
    // The counts when the process is shared.
    let mut options = Options::default();
    options.levels = vec![fourway_conformance::Level::Stress];
    options.stress_time = Duration::ZERO;
    let report = fourway_conformance::run::<Mine>(&options);
    let mut cases = report.subjects[0].cases.iter();
    assert!(cases.all(|case| case.rounds.is_some_and(|rounds| rounds > 0)));
}

fn help() {
    for flag in ["--help", "-h", "help"] {
        let text = ok(&[flag]);
        for word in ["explain", "report", "--exact", "nextest"] {
            assert!(text.contains(word), "{flag}: {text}");
        }
    }
    assert!(ok(&["run", "--help"]).contains("--stress-time"));
    assert!(ok(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

fn texts() {
    let list = ok(&["list", "WA-3.1"]);
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("[lost-tasks or shutdown]"), "{list}");
    let list = ok(&["list", "--capability", "shutdown"]);
    assert!(
        list.contains("[shutdown]") && list.contains("[without shutdown]"),
        "{list}"
    );
    let text = ok(&["explain", "SP-1.1"]);
    for part in [
        "SP-1 runs without polling the handle: ",
        "why it matters",
        "mine: known failure: it is too early",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = ok(&["explain", "SH-1.1"]);
    assert!(text.contains("mine: unsupported: "), "{text}");
}

fn harness() {
    // As nextest asks.
    let list = ok(&["--list", "--format", "terse"]);
    assert!(
        list.lines().any(|line| line == "mine::SP-1.2: test"),
        "{list}"
    );
    let ignored = ok(&["--list", "--format", "terse", "--ignored"]);
    assert!(ignored.lines().any(|line| line == "mine::SH-1.1: test"));
    assert!(!ignored.contains("mine::SP-1.2"), "{ignored}");
    let run = ok(&["mine::SP-1.2", "--exact", "--nocapture"]);
    assert!(run.contains("1 passed; 0 failed"), "{run}");
    assert!(!run.contains("recorded"), "{run}");
}
