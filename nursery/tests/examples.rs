//! The examples do what they say: each is run as a program, with a small input.

#![cfg(unix)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use fourway_testing::AGES;

/// Those that are run here.
const RUN: &[&str] = &["batch", "drain", "folder_tree", "thread_each"];

/// Those that are not, and why.
const NOT_RUN: &[(&str, &str)] = &[("cost", "it takes figures, of which nothing is asserted")];

#[test]
fn every_example_is_run_or_it_is_said_why_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let not_run = NOT_RUN.iter().map(|(name, _)| *name);
    let mut listed: Vec<&str> = RUN.iter().copied().chain(not_run).collect();
    listed.sort_unstable();
    assert_eq!(
        found, listed,
        "name it in `RUN`, with a test, or in `NOT_RUN`"
    );
}

/// The program, which `cargo test` has built together with this one.
fn program(example: &str) -> PathBuf {
    assert!(RUN.contains(&example));
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program = path.join("examples").join(example);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{example}.rs"));
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    match changed(&program) {
        Ok(built) if changed(&source).unwrap() <= built => program,
        _ => panic!(
            "{} is not built, or is an old one: `cargo test -p fourway-nursery` builds all \
             examples, `cargo build -p fourway-nursery --examples` nothing else",
            program.display()
        ),
    }
}

/// Five files in three folders, eleven bytes in all; gone at the end.
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

/// What an example says that ends by itself.
fn run(example: &str, args: &[&Path]) -> Output {
    let child = Command::new(program(example))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    in_time(&format!("`{example}` ends"), move || {
        child.wait_with_output().unwrap()
    })
}

/// Calls `f` on another thread, and fails if that takes for ever.
fn in_time<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(f()));
    match is_done.recv_timeout(AGES) {
        Ok(output) => output,
        Err(error) => panic!("never: {what} ({error})"),
    }
}

#[track_caller]
fn says(output: &Output, wanted: &[String]) {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines, wanted);
}

fn files(files: u32, path: &Path) -> String {
    format!("{files} files under {}", path.display())
}

#[test]
fn batch_counts_under_each_folder() {
    let folder = Folder::new("batch");
    let (all, one) = (&*folder.0, &*folder.0.join("one"));
    let missing = &*folder.0.join("missing");
    let output = run("batch", &[all, one, missing]);
    says(&output, &[files(5, all), files(3, one), files(0, missing)]);
}

#[test]
fn folder_tree_counts_under_one() {
    let folder = Folder::new("tree");
    let output = run("folder_tree", &[&folder.0]);
    let line = format!("5 files, 11 bytes under {}", folder.0.display());
    says(&output, &[line]);
}

#[test]
fn thread_each_counts_under_each_folder() {
    let folder = Folder::new("threads");
    let (all, one) = (&*folder.0, &*folder.0.join("one"));
    let output = run("thread_each", &[all, one]);
    says(&output, &[files(5, all), files(3, one)]);
}

/// A server, which is killed if the test ends before it.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> (Self, SocketAddr) {
        let mut child = Command::new(program("drain"))
            .arg("127.0.0.1:0")
            .stdin(Stdio::null())
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

/// A request that it has read is answered, a connection that says nothing is closed, and another
/// is not taken.
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
    // It takes connections in their order: once this one is answered, it has those before.
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
