//! The local socket: too many clients, and too few descriptors.

#![cfg(unix)]

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use fourway_testing::{AGES, eventually};
use serde_json::{Value, json};

/// The program, with so many descriptors. Ends with the test.
struct Program {
    child: Child,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start(descriptors: usize, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_code-worker"))
            .arg("--socket")
            .arg(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let program = Self {
            child,
            path,
            _folder: folder,
        };
        eventually("the socket is there", || program.path.exists());
        eventually("it listens", || UnixStream::connect(&program.path).is_ok());
        program
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(AGES)).unwrap();
        Client(BufReader::new(stream))
    }

    /// A client that is admitted once others have left. A client that has just left may still be
    /// counted.
    fn connect_at_last(&self) -> Client {
        let found = RefCell::new(None);
        eventually("a client is let in", || {
            let mut client = self.connect();
            let is_in = client.greet()["type"] == "hello";
            found.replace(is_in.then_some(client));
            is_in
        });
        found.into_inner().unwrap()
    }

    /// How many it has.
    #[cfg(target_os = "linux")]
    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Ends it, and gives what it said on the standard error.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn say(&mut self, message: &Value) {
        // A client may be refused before this.
        let _ = writeln!(self.0.get_mut(), "{message}");
    }

    /// A line, or none at the end; an error in place of the end fails the test.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    fn greet(&mut self) -> Value {
        self.say(&json!({ "id": 1, "op": "hello", "version": 1 }));
        self.hear().expect("an answer")
    }

    fn is_served(&mut self) {
        self.say(&json!({ "id": 2, "op": "execute", "code": "await 20 + 1" }));
        assert_eq!(self.hear().expect("an answer")["value"], "21");
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_replies() {
    let program = Program::start(64, &["--sessions", "1", "--time", "3600"]);
    let mut client = program.connect();
    client.say(&json!({ "id": 1, "op": "execute", "code": "await sleep(50); 7" }));
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.hear().expect("a reply")["value"], "7");
    assert_eq!(client.hear(), None);
}

/// It does not wait for replies that nobody reads.
#[test]
fn the_code_of_a_client_that_has_left_ends() {
    let program = Program::start(64, &["--sessions", "1", "--time", "3600"]);
    let mut client = program.connect();
    let code = "print('begun'); for (;;) await null";
    client.say(&json!({ "id": 1, "op": "execute", "code": code }));
    assert_eq!(client.hear().expect("output")["text"], "begun\n");
    drop(client);
    let next = RefCell::new(program.connect());
    eventually("there is a place for a session", || {
        let mut next = next.borrow_mut();
        next.say(&json!({ "id": 2, "op": "execute", "code": "1" }));
        next.hear().expect("a reply")["type"] == "result"
    });
}

#[test]
fn a_client_too_many_is_told_so_and_its_connection_ends() {
    let program = Program::start(1000, &["--clients", "2"]);
    let (mut one, mut two) = (program.connect_at_last(), program.connect_at_last());
    for _ in 0..5 {
        let mut three = program.connect();
        let answer = three.greet();
        assert_eq!(
            (&answer["id"], &answer["type"], &answer["name"]),
            (&Value::Null, &json!("error"), &json!("Refused"))
        );
        assert_eq!(three.hear(), None);
    }
    one.is_served();
    two.is_served();
    drop(one);
    let mut three = program.connect_at_last();
    three.is_served();
    two.is_served();
    assert_eq!(program.end(), "");
}

#[cfg(target_os = "linux")]
#[test]
fn clients_without_descriptors_are_told_so_and_others_go_on() {
    let program = Program::start(24, &[]);
    let mut first = program.connect_at_last();
    for spell in 1..=3 {
        let mut served = Vec::new();
        let mut refused = 0;
        for _ in 0..40 {
            let mut client = program.connect();
            let answer = client.greet();
            match answer["type"].as_str() {
                Some("hello") => served.push(client),
                _ => {
                    assert_eq!(answer["name"], "Refused", "{answer}");
                    assert_eq!(client.hear(), None);
                    refused += 1;
                }
            }
        }
        assert!(refused > 10 && served.len() > 5, "{refused} refused");
        first.is_served();
        served.iter_mut().for_each(Client::is_served);
        eprintln!("spell {spell}: {refused} refused");
        let open = served.len();
        drop(served);
        eventually("they are gone", || program.descriptors() + open < 24 + 2);
        program.connect_at_last().is_served();
    }
    first.is_served();
    let said = program.end();
    let (begun, ended) = ("clients cannot be served", "clients are served again");
    assert_eq!(said.matches(begun).count(), 3, "{said}");
    assert_eq!(said.matches(ended).count(), 3, "{said}");
}
