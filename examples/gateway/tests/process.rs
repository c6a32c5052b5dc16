//! The program: its end when nobody reads its log, and arguments that it refuses.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use fourway_testing::eventually;

/// Kills the process if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    for runtime in ["std-thread", "tokio", "smol"] {
        let gateway = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["--listen", "127.0.0.1:0", "--runtime", runtime])
            // Without a listener there: each request gets 502, and a line.
            .args(["--upstream", "127.0.0.1:1", "--log-grace", "50"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut gateway = Killed(gateway.unwrap());
        let mut errors = BufReader::new(gateway.0.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        let address: SocketAddr = line.trim().rsplit(' ').next().unwrap().parse().unwrap();

        // The lines exceed the pipe's capacity, and nobody reads it. All requests are answered.
        let mut stream = TcpStream::connect(address).unwrap();
        let path = "x".repeat(8 * 1024);
        let ask = format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n");
        for _ in 0..100 {
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"does not answer\n") {
                let mut some = [0; 1024];
                let read = stream.read(&mut some).unwrap();
                assert!(read > 0, "{:?}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&some[..read]);
            }
        }

        let id = i32::try_from(gateway.0.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        eventually("it ends", || is_ended(id));
        let mut rest = String::new();
        errors.read_to_string(&mut rest).unwrap();
        assert!(gateway.0.wait().unwrap().success(), "{runtime}: {rest}");
        // Not all lines were written.
        let mut log = String::new();
        let mut stdout = gateway.0.stdout.take().unwrap();
        stdout.read_to_string(&mut log).unwrap();
        assert!(log.lines().count() < 100, "{runtime}: it held all");
    }
}

#[test]
fn what_it_cannot_serve_it_refuses() {
    let refused: [&[&str]; 12] = [
        &["--check-path", "health"],
        &["--check-path", "@elsewhere/"],
        &["--check-path", "/two words"],
        &["--tcp", "--upstream", "127.0.0.1:2"],
        &["--tcp", "--check-path", "/health"],
        // Nothing would be served.
        &["--max-connections", "0"],
        &["--max-requests", "0"],
        &["--max-requests-of-peer", "0"],
        &["--timeout", "0"],
        &["--head-timeout", "0"],
        &["--send-timeout", "0"],
        &["--connect-timeout", "0"],
    ];
    for arguments in refused {
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            // A program that takes them has an error there, and ends.
            .args(["--listen", "127.0.0.1:0", "--metrics", "nowhere"])
            .args(["--upstream", "127.0.0.1:1"])
            .args(arguments)
            .output();
        let output = output.unwrap();
        // As clap does it.
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    }
}

#[test]
fn it_says_where_it_cannot_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for arguments in [
        ["--listen", &taken, "--metrics", free],
        ["--listen", free, "--metrics", &taken],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["--upstream", "127.0.0.1:1"])
            .args(arguments)
            .output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(&taken), "{errors}");
    }
}

fn is_ended(id: rustix::process::Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    // The process stays waitable.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id), options).unwrap().is_some()
}
