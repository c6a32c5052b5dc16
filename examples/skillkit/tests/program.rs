//! The program, as its users see it.

use std::process::{Command, Output, Stdio};

fn skillkit(arguments: &[&str]) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skillkit"))
        .args(arguments)
        .output()
        .expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn the_default_runs_every_scenario_on_every_runtime_and_agrees() {
    let (output, stdout, stderr) = skillkit(&["--rounds", "1"]);
    assert!(output.status.success(), "{stdout}{stderr}");
    for name in fourway::compiled_in() {
        assert!(stdout.contains(name), "{stdout}");
    }
    assert!(stdout.contains("56 skills and 16 broken files"), "{stdout}");
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
    for name in ["STD-THREAD", "std_thread"] {
        let (output, stdout, stderr) = skillkit(&["--runtime", name, "--rounds", "1"]);
        assert!(output.status.success(), "{stderr}");
        assert!(stdout.contains("in six ways on 1 runtime."), "{stdout}");
    }
}

#[test]
fn it_fits_a_terminal_and_says_best_last() {
    let (_, stdout, _) = skillkit(&["--rounds", "1"]);
    for line in stdout.lines().filter(|line| line.starts_with('│')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(stdout.contains("broken on purpose"), "{stdout}");
    assert!(stdout.contains("less is better"), "{stdout}");
    assert_eq!(stdout.lines().last(), Some("all results agree"));
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
    let mut child = Command::new(env!("CARGO_BIN_EXE_skillkit"))
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
