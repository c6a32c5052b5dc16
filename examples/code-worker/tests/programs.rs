//! The program: its prompt, fed by a pipe; the protocol on its streams and on a socket; Ctrl-C.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use fourway_testing::{AGES, eventually};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_code-worker");

fn start(arguments: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Gives it an input, and waits for its end.
fn feed(arguments: &[&str], input: &str) -> Output {
    let mut program = start(arguments);
    let mut stdin = program.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = program.wait_with_output().unwrap();
    // It may have ended before it has read all.
    let _ = writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The line of the README.
#[test]
fn a_prompt_has_one_namespace_for_both_kinds() {
    for runtime in ["std-thread", "tokio", "tokio-current-thread", "smol"] {
        for model in ["thread", "route", "async"] {
            let output = feed(
                &["--runtime", runtime, "--model", model],
                "let x = await sleep(10).then(() => 20)\nx + 1\n",
            );
            assert_eq!(text(&output.stdout), "21\n", "{runtime}, {model}");
            assert!(output.status.success());
        }
    }
}

/// In place, it keeps a thread of the runtime: the standard error and `status` tell that.
#[test]
fn code_over_its_budget_is_reported() {
    let mut program = start(&["--stdio", "--model", "async"]);
    let mut requests = program.stdin.take().unwrap();
    let mut told = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut answers = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut ask = |request: Value| writeln!(requests, "{request}").unwrap();
    let mut answer = || -> Value {
        let answer = answers.next().expect("it goes on").unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    ask(json!({"id": 1, "op": "status"}));
    assert_eq!(answer()["overruns"], 0);
    ask(json!({"id": 2, "op": "execute", "code": "for (;;) {}"}));
    let report = told.next().expect("it is reported while it runs").unwrap();
    assert!(report.contains("keeps an executor's thread"), "{report}");
    ask(json!({"id": 3, "op": "interrupt"}));
    let mut ends = [answer(), answer()];
    ends.sort_by_key(|end| end["id"].as_u64());
    assert_eq!(ends[0]["name"], "Interrupted", "{ends:?}");
    // It is counted once its closure has ended, which may be after the reply.
    let since = Instant::now();
    loop {
        ask(json!({"id": 4, "op": "status"}));
        if answer()["overruns"] == 1 {
            break;
        }
        assert!(since.elapsed() < AGES, "it is not counted");
    }
    drop(requests);
    assert!(program.wait().unwrap().success());
}

#[test]
fn lines_are_read_until_they_are_whole() {
    let output = feed(&[], "function f() {\n  return 1\n}\n[f(),\n");
    assert_eq!(text(&output.stdout), "");
    // Incomplete code at the end of the input is an error, not ignored.
    let told = text(&output.stderr);
    assert!(told.contains("SyntaxError"), "{output:?}");
    assert!(told.contains("before it is complete"), "{output:?}");
    assert!(!told.lines().any(|line| line.trim() == "^"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_limit_of_zero_is_refused() {
    let options = ["--time", "--memory", "--output", "--sessions"];
    let options = options.map(|option| vec![option, "0"]);
    let clients = vec!["--socket", "never-made", "--clients", "0"];
    for arguments in options.into_iter().chain([clients]) {
        let output = feed(&arguments, "1\n");
        let told = text(&output.stderr);
        assert!(told.contains("it must be 1 at least"), "{output:?}");
        assert!(told.contains(arguments[arguments.len() - 2]), "{output:?}");
        assert_eq!(output.status.code(), Some(2));
    }
    // It limits the clients of a socket, and there is none.
    let output = feed(&["--clients", "2"], "1\n");
    assert!(text(&output.stderr).contains("--socket"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
    // The smallest and the largest are limits.
    let most = u64::MAX.to_string();
    for arguments in [
        ["--memory", "1"],
        ["--output", "1"],
        ["--sessions", "1"],
        ["--time", &most],
        ["--memory", &most],
        ["--output", &most],
        ["--sessions", &most],
    ] {
        let output = feed(&arguments, "1 + 1\nawait sleep(1)\n");
        assert_eq!(text(&output.stdout), "2\n", "{output:?}");
    }
}

#[test]
fn code_asks_for_a_line_of_the_input() {
    let output = feed(&[], "input('name? ').length\nAda\nawait input('')\nBob\n");
    assert_eq!(text(&output.stdout), "name? 3\n\"Bob\"\n");
}

#[test]
fn a_script_ends_with_the_work_that_it_leaves_behind() {
    let code = "var n = 0; setTimeout(function again() { print(++n); if (n < 3) setTimeout(again, 20) }, 20); 0";
    let output = feed(&[], code);
    assert_eq!(text(&output.stdout), "0\n1\n2\n3\n");
    // Nobody answers any more.
    let code = "setTimeout(() => input('?').catch((error) => print(error.message)), 20); 0";
    let output = feed(&[], code);
    assert_eq!(text(&output.stdout), "0\nnobody is there to answer\n");
}

#[test]
fn limits_are_told() {
    for (option, value, code, name) in [
        ("--time", "1", "for (;;) {}", "TimeLimit"),
        (
            "--memory",
            "4",
            "let a = []; for (;;) a.push('x'.repeat(10000) + a.length)",
            "MemoryLimit",
        ),
        (
            "--output",
            "1",
            "for (;;) print('x'.repeat(100))",
            "OutputLimit",
        ),
    ] {
        let output = feed(&[option, value], &format!("{code}\n1\n"));
        let errors = text(&output.stderr);
        assert!(errors.contains(name), "{errors}");
        assert!(text(&output.stdout).ends_with("1\n"), "{output:?}");
    }
}

#[test]
fn ctrl_c_interrupts_what_runs() {
    let mut program = start(&[]);
    let mut stdin = program.stdin.take().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    writeln!(stdin, "let x = 1; print('begun'); for (;;) {{}}").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let id = rustix::process::Pid::from_child(&program);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    writeln!(stdin, "x + 1").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "2");
    drop(stdin);
    let output = program.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("Interrupted"), "{output:?}");
}

#[test]
fn the_protocol_on_the_standard_streams() {
    let mut program = start(&["--stdio"]);
    let mut stdin = program.stdin.take().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    writeln!(
        stdin,
        "{}",
        json!({ "id": 1, "op": "execute", "code": "await 1" })
    )
    .unwrap();
    let reply: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        reply,
        json!({ "id": 1, "type": "result", "kind": "async", "value": "1" })
    );
    writeln!(stdin, "{}", json!({ "id": 2, "op": "shutdown" })).unwrap();
    assert!(program.wait().unwrap().success());
}

/// Kills it, also if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection, from when the socket is there.
fn connect(path: &Path) -> UnixStream {
    let mut client = None;
    eventually("the socket is there", || path.exists());
    let connected = || UnixStream::connect(path);
    for _ in 0..1000 {
        match connected() {
            Ok(stream) => {
                client = Some(stream);
                break;
            }
            Err(_) => std::thread::yield_now(),
        }
    }
    let client = client.expect("somebody listens");
    client.set_read_timeout(Some(AGES)).unwrap();
    client
}

#[test]
fn clients_of_a_socket_have_sessions_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.sock");
    for round in 0..2 {
        // The second worker finds the first one's socket without a listener.
        let _program = Killed(start(&["--socket", path.to_str().unwrap()]));
        if round == 1 {
            eventually("somebody listens", || UnixStream::connect(&path).is_ok());
        }
        let ask = |client: &UnixStream, code: &str| {
            let mut writer = client;
            writeln!(
                writer,
                "{}",
                json!({ "id": 1, "op": "execute", "code": code })
            )
            .unwrap();
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()["value"].clone()
        };
        let (one, other) = (connect(&path), connect(&path));
        assert_eq!(ask(&one, "let x = 1; x"), "1");
        assert_eq!(ask(&other, "typeof x"), "\"undefined\"");
        assert_eq!(ask(&one, "x"), "1");
        // Only the owner may connect.
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        // A second worker does not replace a running one.
        let second = feed(&["--socket", path.to_str().unwrap()], "");
        assert!(!second.status.success());
        assert_eq!(ask(&one, "x + 1"), "2");
    }
}
