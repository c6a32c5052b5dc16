use std::process::Command;

use serde_json::Value;

use crate::common::skill;

fn run(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    skill(folder.path(), "first");
    let output = Command::new(env!("CARGO_BIN_EXE_job-service"))
        .args(["do", "--root"])
        .arg(folder.path())
        .args(arguments)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), lines.collect(), stderr)
}

#[test]
fn both_bodies_give_the_same_without_a_server() {
    let work = ["index=skills", "pack=skills", "search=10000"];
    let (sync, async_) = (["--body", "sync"], ["--body", "async"]);
    let (code, blocking, stderr) = run(&[&sync[..], &work].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let (code, asynchronous, stderr) = run(&[&async_[..], &work].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(blocking, asynchronous);
    assert_eq!(blocking[0]["entries"][0]["name"], "first");
    assert_eq!(blocking[1]["files"], 1);
    assert_eq!(blocking[2]["start"], 6171);
    assert_eq!(blocking[2]["length"], 262);
}

#[test]
fn a_job_that_fails_does_not_take_the_others_with_it() {
    let (code, lines, stderr) = run(&["search=10", "index=missing"]);
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 1);
    assert!(stderr.contains("missing"), "{stderr}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_runs() {
    assert_eq!(run(&["search=1"]).0, Some(1));
    assert_eq!(run(&["index=/etc"]).0, Some(1));
    assert_eq!(run(&["sing=loud"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
}

#[test]
fn elsewhere_than_on_loopback_it_wants_a_token() {
    let output = Command::new(env!("CARGO_BIN_EXE_job-service"))
        .args(["--listen", "0.0.0.0:0"])
        .env_remove("JOB_SERVICE_TOKEN")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--token"));
}
