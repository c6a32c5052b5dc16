//! The examples do what they say: each is run as a program, with a small input.

#![cfg(unix)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use fourway_testing::{AGES, Examples, in_time};

const EXAMPLES: Examples = Examples {
    manifest: env!("CARGO_MANIFEST_DIR"),
    package: env!("CARGO_PKG_NAME"),
    names: &[
        "batch",
        "drain",
        "folder_tree",
        "nursery_cost",
        "thread_each",
    ],
};

#[test]
fn every_example_is_run() {
    EXAMPLES.are_all();
}

/// It takes figures, of which nothing is asserted.
#[test]
fn cost_takes_the_figures_of_each_contender() {
    for contender in [
        "JoinSet",
        "nursery on Tokio",
        "nursery on std-thread",
        "by hand, Tokio",
        "by hand, std-thread",
    ] {
        let lines = EXAMPLES.lines("nursery_cost", &[contender, "10", "100"]);
        let [line] = &lines[..] else {
            panic!("one line: {lines:?}");
        };
        assert!(line.starts_with(contender), "{line}");
    }
}

/// Five files in three folders, eleven bytes in all. Dropping it deletes them.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("fourway-example-{name}-{}", std::process::id());
        let folder = Self(env::temp_dir().join(name));
        let below = folder.0.join("one").join("deeper");
        fs::create_dir_all(&below).unwrap();
        for (name, text) in [("a", "1"), ("b", "22"), ("one/c", "333")] {
            fs::write(folder.0.join(name), text).unwrap();
        }
        fs::write(below.join("d"), "4444").unwrap();
        fs::write(below.join("e"), "5").unwrap();
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(files: u32, path: &Path) -> String {
    format!("{files} files under {}", path.display())
}

#[test]
fn batch_counts_under_each_folder() {
    let folder = Folder::new("batch");
    let (all, one) = (&*folder.0, &*folder.0.join("one"));
    let missing = &*folder.0.join("missing");
    let lines = EXAMPLES.lines("batch", &[all, one, missing]);
    assert_eq!(lines, [files(5, all), files(3, one), files(0, missing)]);
}

#[test]
fn folder_tree_counts_under_one() {
    let folder = Folder::new("tree");
    let lines = EXAMPLES.lines("folder_tree", &[&folder.0]);
    let line = format!("5 files, 11 bytes under {}", folder.0.display());
    assert_eq!(lines, [line]);
}

#[test]
fn thread_each_counts_under_each_folder() {
    let folder = Folder::new("threads");
    let (all, one) = (&*folder.0, &*folder.0.join("one"));
    let lines = EXAMPLES.lines("thread_each", &[all, one]);
    assert_eq!(lines, [files(5, all), files(3, one)]);
}

/// A server, which is killed if the test ends first.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> (Self, SocketAddr) {
        let mut child = EXAMPLES
            .command("drain")
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, lines };
        let line = server.line();
        let at = line
            .strip_prefix("listening on ")
            .expect("where it listens");
        let at = at.parse().unwrap();
        (server, at)
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server answers a request that it has read, closes a silent connection, and accepts no
/// further connection.
#[test]
fn drain_answers_what_it_has_begun() {
    let (mut server, at) = Server::start();
    let connect = || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(AGES)).unwrap();
        stream
    };
    let ask = || {
        let mut stream = connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stream
    };
    let answered = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello\n"), "{answer}");
    };
    let (mut silent, early) = (connect(), ask());
    // It accepts connections in order: once it has answered this one, it has accepted the others.
    answered(ask());
    terminate(&server.child);
    let line = server.line();
    assert!(line.starts_with("draining "), "{line}");
    answered(early);
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it is closed");
    let status = in_time("the server ends", move || server.child.wait().unwrap());
    assert!(status.success(), "{status}");
    assert!(TcpStream::connect(at).is_err(), "nobody listens");
}

fn terminate(child: &Child) {
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}
