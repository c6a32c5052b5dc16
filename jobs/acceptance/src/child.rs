//! Workers and submitters in separate processes, which can be killed and stopped.

use std::{
    cell::RefCell,
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child as Process, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, Call};
use fourway_jobs_engine::{
    BoxError, Handlers, JobClient, JobId, JobKind, KindContext, Retry, Worker,
};
use fourway_std_thread::StdThread;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    clock::{self, Wrong},
    entry::Entry,
    scene::Scene,
};

/// The orders of a child: its lines are the engine, the role, the address and the folder.
const TOLD: &str = "FOURWAY_JOBS_ACCEPTANCE_CHILD";

/// The lease of workers in processes: longer than a busy machine usually delays heartbeats.
const LEASE: Duration = Duration::from_secs(3);

/// The lease of a worker that must not lose its job before it is killed.
const LONG_LEASE: Duration = Duration::from_secs(10);

/// The work of a job in a process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Notes that it has begun, and gives the process's id.
    Note,
    /// As `Note`, but ends only when it is released.
    Hold,
    /// Kills its process.
    Die,
}

struct Acting;

impl JobKind for Acting {
    const NAME: &'static str = "act";
    type Args = Act;
    type Output = u32;

    fn retry() -> Retry {
        Retry::attempts(3).pause(Duration::ZERO)
    }
}

/// The processes of a case, and the folder in which they leave notes.
pub(crate) struct Children {
    engine: &'static str,
    address: String,
    folder: TempDir,
    ages: Duration,
}

/// A process; killed when it is dropped.
pub(crate) struct Child {
    process: Process,
    /// Its clock is wrong.
    is_wrong: bool,
    ages: Duration,
}

impl Children {
    pub(crate) fn new(scene: &Scene<'_>) -> Self {
        let address = scene.place().address();
        assert!(
            scene.entry.elsewhere.is_some(),
            "it declares `processes`, and its entry does not say how another process opens it"
        );
        Self {
            engine: scene.entry.name,
            address: address.expect("it declares `processes`, and its place has no address"),
            folder: tempfile::tempdir().expect("a folder for the case"),
            ages: scene.ages,
        }
    }

    pub(crate) fn worker(&self) -> Child {
        self.start(&worker_with(LEASE), None)
    }

    pub(crate) fn worker_whose_clock_is(&self, wrong: Wrong) -> Child {
        self.start(&worker_with(LONG_LEASE), Some(wrong))
    }

    pub(crate) fn submitter(&self, act: Act) -> Child {
        self.start(&submitter_of(act), None)
    }

    pub(crate) fn submitter_whose_clock_is(&self, wrong: Wrong, act: Act) -> Child {
        self.start(&submitter_of(act), Some(wrong))
    }

    fn start(&self, role: &str, clock: Option<Wrong>) -> Child {
        let folder = self.folder.path().display();
        let told = format!("{}\n{role}\n{}\n{folder}", self.engine, self.address);
        let mut process = Command::new(env::current_exe().expect("the program's own path"));
        if let Some(wrong) = clock {
            wrong.applied_to(&mut process);
        }
        let process = process
            .env(TOLD, told)
            // The child ends when this pipe closes, also if the test is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        Child {
            process,
            is_wrong: clock.is_some(),
            ages: self.ages,
        }
    }

    pub(crate) fn submit(&self, scene: &Scene<'_>, act: Act) -> JobId {
        let client = JobClient::new(&scene.rt, scene.engine.clone());
        client.submit(Acting, act).wait().expect("it is taken").id()
    }

    /// How many attempts such a job has.
    pub(crate) fn attempts(&self) -> u32 {
        Acting::retry().max_attempts()
    }

    /// How often it has begun.
    pub(crate) fn begun(&self, id: JobId) -> usize {
        read(&self.folder.path().join(id.to_string()))
            .lines()
            .count()
    }

    pub(crate) fn until_begun_by(&self, id: JobId, child: &Child) {
        let note = child.id().to_string();
        until(self.ages, "the job has begun", || {
            let notes = read(&self.folder.path().join(id.to_string()));
            notes.lines().any(|line| line == note)
        });
    }

    /// Until the worker has noticed that a job was lost.
    pub(crate) fn until_lost_by(&self, child: &Child) {
        let path = self.folder.path().join(format!("lost-{}", child.id()));
        until(
            self.ages,
            "the worker has noticed that its lease is lost",
            || path.exists(),
        );
    }

    pub(crate) fn release(&self) {
        fs::write(self.folder.path().join("released"), "").expect("the case's folder");
    }
}

impl Child {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The job that it has submitted.
    pub(crate) fn submitted(&mut self) -> JobId {
        let output = self.process.stdout.as_mut().expect("it is piped");
        let mut line = String::new();
        let mut byte = [0];
        while output.read(&mut byte).expect("the child's output") == 1 && byte[0] != b'\n' {
            line.push(char::from(byte[0]));
        }
        line.parse()
            .unwrap_or_else(|_| panic!("the child has not submitted: {line:?}"))
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it can be waited for");
    }

    pub(crate) fn until_dead(&mut self) {
        let ages = self.ages;
        let process = RefCell::new(&mut self.process);
        until(ages, "the child dies", || {
            let ended = process.borrow_mut().try_wait();
            ended.expect("it can be asked").is_some()
        });
    }

    pub(crate) fn stop(&self) {
        signal(self.id(), Signal::Stop);
    }

    pub(crate) fn go_on(&self) {
        signal(self.id(), Signal::GoOn);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be dead.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.is_wrong {
            clock::clear_after(self.id());
        }
    }
}

enum Signal {
    Stop,
    GoOn,
    Kill,
}

#[cfg(unix)]
fn signal(process: u32, signal: Signal) {
    use rustix::process::{Pid, Signal as Unix, kill_process};
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let signal = match signal {
        Signal::Stop => Unix::STOP,
        Signal::GoOn => Unix::CONT,
        Signal::Kill => Unix::KILL,
    };
    kill_process(process.expect("the id of a process"), signal).expect("it can be signalled");
}

#[cfg(not(unix))]
fn signal(_: u32, signal: Signal) {
    match signal {
        Signal::Kill => std::process::abort(),
        Signal::Stop | Signal::GoOn => unreachable!("such cases are for Unix alone"),
    }
}

fn submitter_of(act: Act) -> String {
    let act = serde_json::to_string(&act).expect("it can be written");
    format!("submitter {act}")
}

/// The role of a worker with this lease.
fn worker_with(lease: Duration) -> String {
    format!("worker {}", lease.as_millis())
}

fn until(ages: Duration, what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + ages;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The suite has started this process as a child. An [`Entry`] then only needs to know how the
/// engine is opened [elsewhere](Entry::elsewhere).
#[must_use]
pub fn is_child() -> bool {
    env::var_os(TOLD).is_some()
}

/// Runs the child's role if this process is a child.
pub(crate) fn serve(entries: &[Entry]) -> Option<ExitCode> {
    let told = env::var(TOLD).ok()?;
    let mut lines = told.splitn(4, '\n');
    let mut line = || lines.next().expect("four lines").to_owned();
    let (engine, role, address, folder) = (line(), line(), line(), PathBuf::from(line()));
    let entry = entries
        .iter()
        .find(|entry| entry.name == engine)
        .expect("a known engine");
    let open = entry
        .elsewhere
        .as_ref()
        .expect("it has opened such a one before");
    let rt = AnyRuntime::new(StdThread::new().expect("a runtime"));
    let engine = open(&rt, &address);

    if let Some(act) = role.strip_prefix("submitter ") {
        let act = serde_json::from_str(act).expect("what the parent has written");
        let client = JobClient::new(&rt, engine);
        let job = client.submit(Acting, act).wait().expect("it is taken");
        println!("{}", job.id());
        io::stdout().flush().expect("the parent listens");
        until_parent_is_gone();
        return Some(ExitCode::SUCCESS);
    }
    let lease = role.strip_prefix("worker ").map(str::parse);
    let lease = lease.expect("a known role").expect("milliseconds");
    let notes = folder.clone();
    let handlers = Handlers::new().on_blocking(Acting, move |job: KindContext, act| {
        let me = std::process::id();
        let path = notes.join(job.id().to_string());
        let mut note = fs::File::options().create(true).append(true).open(path)?;
        // In one write, so that lines of several processes do not mix.
        note.write_all(format!("{me}\n").as_bytes())?;
        match act {
            Act::Note => {}
            Act::Hold => {
                // It ignores a request to end: a late worker goes on to its verdict.
                while !notes.join("released").exists() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            Act::Die => signal(me, Signal::Kill),
        }
        Ok::<_, BoxError>(me)
    });
    let worker = Worker::builder(&rt, engine)
        .handlers(handlers)
        .lease(Duration::from_millis(lease))
        .start();
    let lost = folder.join(format!("lost-{}", std::process::id()));
    thread::spawn(move || {
        until_parent_is_gone();
        std::process::exit(0);
    });
    loop {
        if worker.status().lost > 0 {
            // The folder may be gone.
            let _ = fs::write(&lost, "");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn until_parent_is_gone() {
    // An error means the same.
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
