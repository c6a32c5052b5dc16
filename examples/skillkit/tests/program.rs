//! The program, as its users see it.

use std::process::{Command, Output};

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
fn an_unknown_runtime_is_a_clear_error() {
    let (output, _, stderr) = skillkit(&["--runtime", "tikio", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("there is no runtime `tikio`"), "{stderr}");
}

#[test]
fn wrong_arguments_exit_with_2() {
    let (output, _, stderr) = skillkit(&["--rounds", "0"]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
}
