//! `#[fourway::main]` as programs see it: their exit codes, and when they end; and a token that
//! Ctrl-C cancels, by signals that are sent to them. Each is a child process.

#![cfg(unix)]

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitCode, Stdio, Termination},
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
async fn stubborn(rt: fourway::AnyRuntime, stop: CancellationToken) {
    // Its own runtime, which is the default one.
    assert_eq!(
        Some(rt.runtime_id()),
        fourway::current().map(|rt| rt.runtime_id())
    );
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

/// As `nohup` starts a program.
#[test]
#[cfg(target_os = "linux")]
fn a_hangup_that_is_ignored_asks_nobody_to_end() {
    if env::var_os(CHILD).is_some() {
        // SAFETY: it takes no pointers.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        fourway::entry::Main::new().run_until_ctrl_c(|stop| async move {
            // SAFETY: it takes no pointers.
            assert_eq!(unsafe { libc::raise(libc::SIGHUP) }, 0);
            // It would be told of both, the first one first.
            // SAFETY: it takes no pointers.
            assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
            stop.cancelled().await;
            println!("asked once");
        });
        // A second one would have ended the process with 130.
        std::process::exit(0);
    }
    let mut program = Program::start("a_hangup_that_is_ignored_asks_nobody_to_end");
    program.says("asked once");
    assert_eq!(program.end(), Some(0));
}

/// A run after another one, which was asked to end.
#[test]
fn each_run_is_asked_anew() {
    if env::var_os(CHILD).is_some() {
        for _ in 0..2 {
            fourway::entry::Main::new().run_until_ctrl_c(|stop| async move {
                println!("ready");
                stop.cancelled().await;
                println!("asked");
            });
        }
        println!("no run");
        loop {
            std::thread::park();
        }
    }
    let mut program = Program::start("each_run_is_asked_anew");
    for _ in 0..2 {
        program.says("ready");
        program.send(libc::SIGINT);
        program.says("asked");
    }
    program.says("no run");
    program.send(libc::SIGINT);
    assert_eq!(program.end(), Some(130));
}

/// Before the runtime is started, which would not be possible here either.
#[test]
fn a_run_that_cannot_wait_for_ctrl_c_says_so_to_its_caller() {
    if env::var_os(CHILD).is_some() {
        std::panic::set_hook(Box::new(|info| {
            let text = info.payload().downcast_ref::<String>();
            let file = info.location().map(std::panic::Location::file);
            if text.is_some_and(|text| text.starts_with("Ctrl-C cannot be waited for"))
                && file == Some(file!())
            {
                println!("the caller is told");
            } else {
                println!("{text:?} in {file:?}");
            }
        }));
        let no_files = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: it reads the limits, which live until it returns.
        let is_set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const no_files) };
        assert_eq!(is_set, 0);
        fourway::entry::Main::new().run_until_ctrl_c(|_| async {});
    }
    let mut program = Program::start("a_run_that_cannot_wait_for_ctrl_c_says_so_to_its_caller");
    program.says("the caller is told");
    assert_eq!(program.end(), Some(101));
}

/// Other waiters for Ctrl-C get it too, whether they were there before or came later.
#[cfg(feature = "signal")]
fn with_others_who_wait() {
    use fourway::net::signal::{SignalKind, Signals};

    let rt = fourway::entry::Main::new();
    let early = fourway::default_runtime();
    let mut before = Signals::new(&early, [SignalKind::INTERRUPT]).unwrap();
    rt.run_until_ctrl_c(|stop| async move {
        let mut after = Signals::new(&early, [SignalKind::INTERRUPT]).unwrap();
        println!("ready");
        before.recv().await.unwrap();
        after.recv().await.unwrap();
        stop.cancelled().await;
        // Once each.
        for signals in [&mut before, &mut after] {
            let again = early.timeout(Duration::from_millis(20), signals.recv());
            assert!(again.await.is_err());
        }
        println!("all have heard");
    });
}

#[cfg(feature = "signal")]
#[test]
fn ctrl_c_is_heard_by_all_who_wait() {
    if env::var_os(CHILD).is_some() {
        with_others_who_wait();
        std::process::exit(0);
    }
    let mut program = Program::start("ctrl_c_is_heard_by_all_who_wait");
    program.says("ready");
    program.send(libc::SIGINT);
    program.says("all have heard");
    assert_eq!(program.end(), Some(0));
}

/// Gives a code of its own.
#[fourway::main(flavour = "current_thread", shutdown = "2s")]
async fn with_a_code() -> ExitCode {
    println!("ready");
    ExitCode::from(3)
}

/// Fails.
#[fourway::main]
async fn failing() -> Result<(), std::num::ParseIntError> {
    println!("ready");
    "no number".parse::<u32>().map(drop)
}

#[test]
fn a_program_ends_with_what_main_gives() -> ExitCode {
    match env::var(CHILD).as_deref() {
        Ok("code") => end_as(&with_a_code()),
        Ok("error") => end_as(&failing().report()),
        _ => {}
    }
    let test = "a_program_ends_with_what_main_gives";
    for (how, code) in [("code", 3), ("error", 1)] {
        let mut program = Program::start_as(test, how);
        program.says("ready");
        assert_eq!(program.end(), Some(code), "{how}");
    }
    ExitCode::SUCCESS
}

/// Ends the process as this code would have.
fn end_as(code: &ExitCode) {
    let is = |number: u8| format!("{code:?}") == format!("{:?}", ExitCode::from(number));
    let number = (0..=u8::MAX).find(|number| is(*number));
    std::process::exit(number.expect("it is one of these").into());
}

/// Leaves a closure behind that does not end.
#[fourway::main(shutdown = "10ms")]
async fn with_a_closure_that_stays() {
    let (started, has_started) = std::sync::mpsc::channel();
    let rt = fourway::default_runtime();
    rt.offload(move || {
        started.send(()).unwrap();
        loop {
            std::thread::park();
        }
    })
    .detach();
    // By a wait of its own: the closure before it has a thread.
    rt.offload(move || has_started.recv())
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn a_shutdown_has_a_deadline() {
    if env::var_os(CHILD).is_some() {
        with_a_closure_that_stays();
        println!("ended");
        std::process::exit(0);
    }
    let mut program = Program::start("a_shutdown_has_a_deadline");
    program.says("ended");
    assert_eq!(program.end(), Some(0));
}

/// A child process, which ends with the test.
struct Program {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(test: &str) -> Self {
        Self::start_as(test, "1")
    }

    fn start_as(test: &str, how: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, how)
            .stdout(Stdio::piped());
        // Whoever runs the tests may ignore it, and children inherit that.
        let default = || {
            // SAFETY: it takes no pointers.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
            Ok(())
        };
        // SAFETY: between fork and exec `signal` may be called, and it is all that is called.
        unsafe { command.pre_exec(default) };
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// Waits until it says so, and ignores the output of the harness in between.
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
