//! The program, as its users see it.

use std::{
    fs,
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use tempfile::TempDir;

fn skillkit(arguments: &[&str]) -> (Output, String, String) {
    output(program().args(arguments))
}

/// Without environment variables for runtimes and colours.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_skillkit"));
    for name in ["FOURWAY_RUNTIME", "NO_COLOR", "CLICOLOR_FORCE"] {
        program.env_remove(name);
    }
    program
}

fn output(program: &mut Command) -> (Output, String, String) {
    let output = program.output().expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// With one skill in it, which takes no time.
fn small() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("good");
    fs::create_dir(&folder).unwrap();
    let text = "---\nname: good\ndescription: Good.\n---\nBody.\n";
    fs::write(folder.join("SKILL.md"), text).unwrap();
    root
}

/// The output of `--rounds 1`, which several tests use and which takes a while.
static DEFAULT: LazyLock<(Output, String, String)> = LazyLock::new(|| skillkit(&["--rounds", "1"]));

#[test]
fn the_default_runs_every_scenario_on_every_runtime_and_agrees() {
    let (output, stdout, stderr) = &*DEFAULT;
    assert!(output.status.success(), "{stdout}{stderr}");
    for name in fourway::compiled_in() {
        assert!(stdout.contains(name), "{stdout}");
    }
    assert!(stdout.contains("56 skills and 16 broken files"), "{stdout}");
    // Two tables, in each of which two rows are written by hand.
    assert_eq!(stdout.matches("by hand  ").count(), 4, "{stdout}");
    assert!(stdout.contains("all results agree"), "{stdout}");
    assert!(stdout.contains("broken/no-name/SKILL.md:1: the front matter has no `name`"));
    // Piped: no bar, no colours.
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'));
}

#[test]
fn a_missing_folder_is_a_clear_error() {
    let (output, _, stderr) = skillkit(&["no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("no/such/folder is not a folder"),
        "{stderr}"
    );
}

#[test]
fn an_unknown_runtime_is_refused_before_any_work() {
    let (output, stdout, stderr) = skillkit(&["--runtime", "tikio", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout, "");
    for name in fourway::compiled_in() {
        assert!(stderr.contains(name), "{stderr}");
    }
}

#[test]
fn names_of_runtimes_may_be_spelled_otherwise() {
    let folder = small();
    for name in ["STD-THREAD", "std_thread"] {
        let mut program = program();
        program
            .arg(folder.path())
            .args(["--runtime", name, "--rounds", "1"]);
        let (output, stdout, stderr) = output(&mut program);
        assert!(output.status.success(), "{stderr}");
        assert!(stdout.contains("in six ways on 1 runtime."), "{stdout}");
    }
}

#[test]
fn the_variable_chooses_and_counts_as_not_set_if_it_is_empty() {
    let folder = small();
    let with = |value: &str| {
        let mut program = program();
        program.arg(folder.path()).args(["--rounds", "1"]);
        output(program.env("FOURWAY_RUNTIME", value))
    };
    let all = fourway::compiled_in().len();
    for (value, runtimes) in [("", all), ("Std_Thread", 1)] {
        let (output, stdout, stderr) = with(value);
        assert!(output.status.success(), "{stderr}");
        let words = format!("in six ways on {runtimes} runtime");
        assert!(stdout.contains(&words), "{stdout}");
    }
    assert_eq!(with("tikio").0.status.code(), Some(2));
}

#[test]
fn colours_are_for_those_who_want_them() {
    let folder = small();
    let with = |variables: &[(&str, &str)]| {
        let mut program = program();
        program.arg(folder.path()).args(["--rounds", "1"]);
        output(program.envs(variables.iter().copied())).1
    };
    let green = "\u{1b}[1m\u{1b}[32m✓ all results agree";
    let stdout = with(&[("CLICOLOR_FORCE", "1")]);
    assert!(stdout.contains(green), "{stdout:?}");
    let stdout = with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]);
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
}

#[test]
fn it_fits_a_terminal_and_says_best_last() {
    let (_, stdout, _) = &*DEFAULT;
    // A path is one word and cannot be broken.
    for line in stdout.lines().filter(|line| line.trim().contains(' ')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(stdout.contains("broken on purpose"), "{stdout}");
    assert!(stdout.contains("Less is better"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("✓ all results agree"));
}

#[test]
fn an_empty_folder_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let (output, _, stderr) = skillkit(&[folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("there is no SKILL.md under"), "{stderr}");
}

/// As `skillkit | head -1`.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = program()
        .args(["--rounds", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn wrong_arguments_exit_with_2() {
    for option in ["--rounds", "--at-once"] {
        let (output, _, stderr) = skillkit(&[option, "0"]);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
    }
}

/// Names are not compared: of the two files with one name, both are listed.
#[test]
fn a_list_has_each_file() {
    for name in fourway::compiled_in() {
        let (output, stdout, stderr) = skillkit(&["--list", "--runtime", name]);
        assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
        assert_eq!(stdout.lines().count(), 72, "{stdout}");
        let broken = "broken/no-name/SKILL.md:1: the front matter has no `name`";
        assert!(stdout.contains(broken), "{stdout}");
        assert_eq!(stdout.matches("release-notes: ").count(), 2, "{stdout}");
    }
    let folder = small();
    let (output, stdout, stderr) = skillkit(&["--list", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "good: Good.\n");
}
