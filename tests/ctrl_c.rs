//! `#[fourway::main]` with a token that Ctrl-C cancels: programs that are sent signals.

#![cfg(unix)]

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use fourway::{CancellationToken, prelude::*};

/// Set in the child processes, each of which is one of these tests again.
const CHILD: &str = "FOURWAY_TEST_OF_CTRL_C";

/// Comes to its end when it is asked to.
#[fourway::main(workers = 1)]
async fn patient(stop: CancellationToken) -> Result<u8, std::num::ParseIntError> {
    struct SaysSo;
    impl Drop for SaysSo {
        fn drop(&mut self) {
            println!("a task is gone");
        }
    }
    let rt = fourway::default_runtime();
    let timer = rt.clone();
    let (started, has_started) = std::sync::mpsc::channel();
    rt.spawn(async move {
        let _says_so = SaysSo;
        started.send(()).unwrap();
        timer.sleep(Duration::MAX).await;
    })
    .detach();
    rt.offload(move || has_started.recv())
        .await
        .unwrap()
        .unwrap();
    println!("ready");
    stop.cancelled().await;
    println!("asked");
    "7".parse()
}

/// Does not.
#[fourway::main(workers = 1)]
async fn stubborn(stop: CancellationToken) {
    println!("ready");
    stop.cancelled().await;
    println!("asked");
    std::future::pending().await
}

#[test]
fn a_signal_asks_main_to_end_and_the_runtime_is_shut_down() {
    if env::var_os(CHILD).is_some() {
        std::process::exit(patient().unwrap().into());
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let mut program = Program::start("a_signal_asks_main_to_end_and_the_runtime_is_shut_down");
        program.says("ready");
        program.send(signal);
        program.says("asked");
        program.says("a task is gone");
        assert_eq!(program.end(), Some(7));
    }
}

#[test]
fn a_second_ctrl_c_ends_the_program_at_once() {
    if env::var_os(CHILD).is_some() {
        stubborn();
    }
    let mut program = Program::start("a_second_ctrl_c_ends_the_program_at_once");
    program.says("ready");
    program.send(libc::SIGINT);
    program.says("asked");
    program.send(libc::SIGINT);
    assert_eq!(program.end(), Some(130));
}

/// A child process, which ends with the test.
struct Program {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(test: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// Waits until it says so; what the harness says in between is not looked at.
    fn says(&mut self, what: &str) {
        let said = self
            .output
            .by_ref()
            .map(Result::unwrap)
            .any(|line| line.ends_with(what));
        assert!(said, "it has ended, and has not said `{what}`");
    }

    fn send(&self, signal: i32) {
        let process = i32::try_from(self.child.id()).unwrap();
        // SAFETY: it takes no pointers. The child has not been waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
