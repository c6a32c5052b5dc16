//! Two test programs at a time: [`run`].
//!
//! `cargo test` runs one program after the other. Those that test servers and workers wait for
//! most of their time, for leases that end and processes that start; they take as long as all others
//! together, and run beside them.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// The tests that wait, by name, in whatever package.
const WAITING: &[&str] = &[
    "acceptance",
    "guards",
    "hostile",
    "it",
    "servers",
    "worker",
    "workers",
];

/// What `cargo test` may be told beside both lanes: it chooses no programs.
const FOR_BOTH: &[&str] = &[
    "--all-features",
    "--locked",
    "--no-fail-fast",
    "--offline",
    "--quiet",
    "--release",
];

/// By which `cargo` is told to call this program for each test program: [`run_unless_waiting`].
pub(crate) const RUNNER: &str = "run-unless-waiting";

/// Whether all tests are to run.
pub(crate) fn are_for(args: &[OsString]) -> bool {
    args.iter()
        .all(|arg| FOR_BOTH.iter().any(|flag| arg.to_str() == Some(flag)))
}

/// Runs all tests; says whether they passed. `tests` makes a `cargo test --workspace`.
///
/// Both lanes have the same packages, or cargo would select other features and build anew. What the
/// second one prints comes after the first one's, which prints at once.
pub(crate) fn run(tests: impl Fn() -> Command) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    // A copy, for the build below replaces this program: it is one of the workspace.
    let runner = folder.path().join("xtask");
    fs::copy(env::current_exe()?, &runner)?;
    if !tests().arg("--no-run").status()?.success() {
        return Ok(false);
    }
    let log = folder.path().join("log");
    let file = File::create(&log)?;
    let mut waiting = tests();
    waiting.args(WAITING.iter().flat_map(|name| ["--test", name]));
    let mut waiting = waiting
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let first = others(tests(), &runner).and_then(|mut others| others.status());
    eprintln!("\nthose that ran beside:");
    let second = waiting.wait();
    io::stdout().write_all(&fs::read(&log)?)?;
    // Again what failed, for it may be far above.
    let (first, second) = (first?, second?);
    for (status, which) in [(first, "those above"), (second, "those that ran beside")] {
        if !status.success() {
            eprintln!("failed: one of {which}");
        }
    }
    Ok(first.success() && second.success())
}

/// The same tests but those that wait.
fn others(mut tests: Command, runner: &Path) -> io::Result<Command> {
    // As a string of TOML, in which a path of any system stands as it is.
    let runner = runner.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let runner = format!("target.'cfg(all())'.runner=['''{runner}''', '{RUNNER}']");
    tests.args(["--config", &runner]);
    Ok(tests)
}

/// Becomes a test program, unless that is one that waits.
pub(crate) fn run_unless_waiting(mut program: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(path) = program.next() else {
        eprintln!("{RUNNER}: wants a program");
        return ExitCode::from(2);
    };
    if is_waiting(Path::new(&path)) {
        println!("\nruns beside: its output is below\n");
        return ExitCode::SUCCESS;
    }
    let error = Command::new(&path).args(program).exec();
    eprintln!("{}: {error}", Path::new(&path).display());
    ExitCode::FAILURE
}

/// Whether that is such a program: they are called by the test's name, a hyphen, and a hash.
fn is_waiting(program: &Path) -> bool {
    let name = program.file_name().and_then(|name| name.to_str());
    let test = name.and_then(|name| name.rsplit_once('-'));
    test.is_some_and(|(test, _)| WAITING.contains(&test))
}

#[test]
fn programs_that_wait_are_known_by_their_names() {
    for (program, waits) in [
        ("/target/debug/deps/acceptance-794c4ec83798c07e", true),
        ("/target/debug/deps/it-130ec77d2d4a03e5", true),
        ("/target/debug/deps/fourway_it-130ec77d2d4a03e5", false),
        ("/target/debug/deps/conformance-7e0e78ebfa9681d8", false),
        ("/it/rust_out", false),
        ("it", false),
    ] {
        assert_eq!(is_waiting(Path::new(program)), waits, "{program}");
    }
}
