//! Running the examples of a crate as programs: [`Examples`].

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use crate::AGES;

/// The examples of a crate, each of which a test runs.
#[derive(Clone, Copy, Debug)]
pub struct Examples {
    /// The crate's `env!("CARGO_MANIFEST_DIR")`.
    pub manifest: &'static str,
    /// The crate's `env!("CARGO_PKG_NAME")`.
    pub package: &'static str,
    /// Their names, of which no other crate of the workspace has one: all are built into one folder.
    pub names: &'static [&'static str],
}

impl Examples {
    /// Are these all examples of the crate? For a test that fails when an example comes that
    /// nobody runs.
    #[track_caller]
    pub fn are_all(&self) {
        let found: BTreeSet<String> = fs::read_dir(Path::new(self.manifest).join("examples"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let named = self.names.iter().map(|name| (*name).to_owned());
        assert_eq!(found, named.collect(), "name each of them, and run it");
    }

    /// The program of an example, which `cargo test` has built together with the tests. Nothing is
    /// read or written yet.
    #[track_caller]
    #[must_use]
    pub fn command(&self, example: &str) -> Command {
        assert!(self.names.contains(&example), "it is not among the names");
        let mut command = Command::new(self.program(example));
        command.stdin(Stdio::null());
        command
    }

    /// Runs an example that ends by itself, successfully; gives the lines that it prints.
    #[track_caller]
    pub fn lines<A: AsRef<OsStr>>(&self, example: &str, args: &[A]) -> Vec<String> {
        let mut command = self.command(example);
        command.args(args);
        lines_of(command)
    }

    #[track_caller]
    fn program(&self, example: &str) -> PathBuf {
        let mut path = env::current_exe().unwrap();
        path.pop();
        path.pop();
        let program = path.join("examples").join(example);
        let program = program.with_extension(env::consts::EXE_EXTENSION);
        let source = Path::new(self.manifest).join(format!("examples/{example}.rs"));
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
        match changed(&program) {
            Ok(built) if changed(&source).unwrap() <= built => program,
            _ => panic!(
                "{} is not built, or is an old one: `cargo test -p {package}` builds all \
                 examples, `cargo build -p {package} --examples` nothing else",
                program.display(),
                package = self.package
            ),
        }
    }
}

/// Runs a program that ends by itself, successfully; gives the lines that it prints.
#[track_caller]
pub fn lines_of(mut command: Command) -> Vec<String> {
    let program = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let output: Output = in_time(&format!("{program} ends"), move || {
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Calls `f` on another thread, and fails if it does not return in time.
#[track_caller]
pub fn in_time<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(f()));
    match is_done.recv_timeout(AGES) {
        Ok(output) => output,
        Err(error) => panic!("never: {what} ({error})"),
    }
}
