//! The programs, as their users see them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use crate::file;

fn kv(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
    printed(&command.arg(file).args(arguments).output().unwrap())
}

fn printed(output: &Output) -> (Option<i32>, String) {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.code(), stdout)
}

#[test]
fn the_command_line_gets_and_puts() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    assert_eq!(kv(&file, &["get", "a"]), (Some(1), "".into()));
    assert_eq!(kv(&file, &["put", "a", "one"]), (Some(0), "".into()));
    assert_eq!(kv(&file, &["get", "a"]), (Some(0), "one\n".into()));
    assert_eq!(kv(&file, &["list"]), (Some(0), "a\n".into()));
    assert_eq!(kv(&file, &["delete", "a"]), (Some(0), "".into()));
    assert_eq!(kv(&file, &["delete", "a"]), (Some(1), "".into()));
    assert_eq!(kv(&file, &["nonsense"]).0, Some(2));
}

#[test]
fn threads_lose_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-threads"));
    let output = command.arg(file(&folder)).args(["4", "10"]).output();
    assert_eq!(printed(&output.unwrap()), (Some(0), "40\n".into()));
}

#[test]
fn the_smol_program_puts_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kv-smol"))
        .arg(file(&folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for number in 0..50 {
        writeln!(input, "key-{number} value {number}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(printed(&output), (Some(0), "50 put\n".into()));
    let value = kv(&file(&folder), &["get", "key-7"]);
    assert_eq!(value, (Some(0), "value 7\n".into()));
}

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kv-server"))
            .arg(file)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = address.expect("it says where it listens").to_owned();
        Self { child, address }
    }

    /// The status, and the body.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_serves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&file(&folder));
    assert_eq!(server.request("GET", "/colour", "").0, 404);
    assert_eq!(server.request("PUT", "/colour", "green").0, 204);
    let green = (200, String::from("green"));
    assert_eq!(server.request("GET", "/colour", ""), green);
    // Many at once.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(server.request("GET", "/colour", ""), green);
                }
            });
        }
    });
    assert_eq!(server.request("DELETE", "/colour", "").0, 204);
    assert_eq!(server.request("DELETE", "/colour", "").0, 404);
}
