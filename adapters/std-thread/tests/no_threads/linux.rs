//! The limit holds for a process, so the test runs itself once more, in a process of its own.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{self as adapt};
use fourway_core::{BlockOn, JoinError, Offload, Shutdown, Spawner};
use fourway_std_thread::StdThread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tells the child which limit it must set.
const CHILD: &str = "FOURWAY_NO_THREADS";

/// A child that stands still is ended after so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The last thing a child says.
const DONE: &str = "all closures are accounted for";
/// The report of a child that can still start threads.
const UNLIMITED: &str = "the limit has no effect";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Of processes, for a user without any others.
    OwnUser,
    /// Of processes. This user may have other processes, which the test does not know of.
    SharedUser,
    /// Of memory: none is left for a stack.
    Memory,
}

impl Limit {
    const ALL: [Self; 3] = [Self::OwnUser, Self::SharedUser, Self::Memory];

    fn resource(self) -> Resource {
        match self {
            Self::OwnUser | Self::SharedUser => Resource::Nproc,
            Self::Memory => Resource::As,
        }
    }

    /// No more threads at all.
    fn none(self) {
        match self {
            Self::OwnUser | Self::SharedUser => self.change(Some(0)),
            Self::Memory => self.more(0),
        }
    }

    /// So many more threads than there are. Those that are just ending may be counted as
    /// well, which makes room for others.
    fn more(self, more: u64) {
        let most = match self {
            Self::OwnUser => status("Threads:") + more,
            Self::SharedUser => 0,
            Self::Memory => status("VmSize:") * 1024 + HEAP + more * (STACK as u64 + HEAP),
        };
        self.change(Some(most));
    }

    fn lift(self) {
        self.change(None);
    }

    fn change(self, current: Option<u64>) {
        let maximum = getrlimit(self.resource()).maximum;
        let current = current.or(maximum);
        setrlimit(self.resource(), Rlimit { current, maximum }).unwrap();
    }
}

/// More than the C library keeps of the stacks of threads that have ended.
const STACK: usize = 64 << 20;
/// The memory for everything but stacks.
const HEAP: u64 = 24 << 20;

/// A number from the system's report on this process.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

pub(crate) fn test() {
    if let Ok(limit) = std::env::var(CHILD) {
        let limit = Limit::ALL
            .into_iter()
            .find(|known| format!("{known:?}") == limit);
        return child(limit.unwrap());
    }
    // Root may have as many processes as it likes; a user that does not exist may not,
    // if it may read this file. (Each test its own: others may be running.)
    let root = rustix::process::geteuid().is_root();
    let limits = if root {
        [Limit::OwnUser, Limit::Memory]
    } else {
        [Limit::SharedUser, Limit::Memory]
    };
    for limit in limits {
        match run_child(limit) {
            Ok(()) => return,
            Err(reason) => eprintln!("not with {limit:?}: {reason}"),
        }
    }
    panic!("threads cannot be limited on this system, see above");
}

/// An error says why the limit cannot be set; all else is a failure of the test.
fn run_child(limit: Limit) -> Result<(), String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["soak_no_threads", "--exact", "--nocapture"])
        .env(CHILD, format!("{limit:?}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if limit == Limit::OwnUser {
        // Within what a container has.
        let user = 20_000 + std::process::id() % 40_000;
        command.uid(user).gid(user);
    }
    let child = command.spawn().map_err(|error| error.to_string())?;
    let id = rustix::process::Pid::from_child(&child);
    let (say, said) = mpsc::channel();
    thread::spawn(move || say.send(child.wait_with_output()));
    let patience = PATIENCE + seconds();
    let output = said.recv_timeout(patience).unwrap_or_else(|_| {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        said.recv().unwrap()
    });
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains(UNLIMITED) {
        return Err(String::from(UNLIMITED));
    }
    assert!(
        output.status.success() && text.contains(DONE),
        "the child ended with {}; it said:\n{text}",
        output.status,
    );
    Ok(())
}

fn seconds() -> Duration {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn child(limit: Limit) {
    limit.none();
    let thread = thread::Builder::new().stack_size(STACK).spawn(|| ());
    limit.lift();
    if let Ok(thread) = thread {
        thread.join().unwrap();
        eprintln!("{UNLIMITED}");
        return;
    }
    let until = Instant::now() + seconds();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < until {
        none_at_all(limit);
        for closures in [1, 2, 8] {
            one(limit, closures);
        }
        if limit != Limit::SharedUser {
            others_end(limit);
        }
        no_runtime(limit);
        rounds += 1;
    }
    eprintln!("{rounds} rounds, {DONE}");
}

fn runtime() -> StdThread {
    StdThread::builder()
        .worker_threads(1)
        .offload_limit(4)
        .thread_stack_size(STACK)
        .build()
        .unwrap()
}

fn end(rt: &StdThread) {
    let report = rt.shutdown(Duration::MAX).unwrap();
    assert_eq!(
        (
            report.tasks_running,
            report.closures_running,
            report.threads_running
        ),
        (0, 0, 0)
    );
}

/// Closures that wait for one that they offload themselves. How many of them were run?
fn deep(rt: &StdThread, depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let inner = rt.offload({
        let rt = rt.clone();
        move || deep(&rt, depth - 1)
    });
    1 + counted(rt.block_on(inner))
}

/// None if there was no thread for it.
fn counted(result: Result<usize, JoinError>) -> usize {
    result.unwrap_or_else(|error| {
        assert!(error.is_unstarted(), "{error}");
        assert!(error.to_string().contains("thread"), "{error}");
        0
    })
}

fn offload_deep(rt: &StdThread, depth: usize) -> usize {
    let inner = rt.clone();
    counted(adapt::run(rt.offload(move || deep(&inner, depth))))
}

/// Threads can be started again, so everything runs.
fn all_is_well(rt: &StdThread) {
    let handles: Vec<_> = (0..8)
        .map(|_| {
            let inner = rt.clone();
            rt.offload(move || deep(&inner, 3))
        })
        .collect();
    for handle in handles {
        assert_eq!(adapt::run(handle).unwrap(), 4);
    }
    // From a task, and with a thread that stands in for its worker.
    let inner = rt.clone();
    let task = rt.spawn(async move {
        let offloaded = inner.offload(|| 1).await.unwrap();
        offloaded + inner.block_in_place(|| 1).unwrap()
    });
    assert_eq!(adapt::run(task).unwrap(), 2);
}

/// The pool has no thread: each closure is refused, and says why.
fn none_at_all(limit: Limit) {
    let rt = runtime();
    limit.none();
    let handles: Vec<_> = (0..20).map(|n| rt.offload(move || n)).collect();
    for handle in handles {
        assert_eq!(counted(adapt::run(handle)), 0);
    }
    assert_eq!(offload_deep(&rt, 3), 0);
    let inner = rt.clone();
    let task = rt.spawn(async move {
        // Neither is run.
        let offloaded = counted(inner.offload(|| 1).await);
        let in_place = inner.block_in_place(|| 1);
        assert!(in_place.is_err());
        offloaded
    });
    assert_eq!(adapt::run(task).unwrap(), 0);
    limit.lift();
    all_is_well(&rt);
    end(&rt);
}

/// The pool has one thread, which is busy, and cannot have another: the others wait for
/// it. A closure that has to wait for an inner closure gets an error when that one cannot be run.
fn one(limit: Limit, closures: usize) {
    let rt = runtime();
    let (open, gate) = mpsc::channel::<()>();
    let (arrive, arrived) = mpsc::channel();
    let first = rt.offload(move || {
        arrive.send(()).unwrap();
        let _ = gate.recv();
        1
    });
    arrived.recv().unwrap();
    // They submit while the thread takes, runs and parks; so they are there before.
    let (start, starts): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<()>()).unzip();
    let submitters: Vec<_> = starts
        .into_iter()
        .map(|start| {
            let rt = rt.clone();
            let submit = move || {
                start.recv().unwrap();
                let handles: Vec<_> = (0..closures)
                    .map(|depth| {
                        let inner = rt.clone();
                        rt.offload(move || deep(&inner, depth % 4))
                    })
                    .collect();
                let results = handles
                    .into_iter()
                    .map(|handle| counted(adapt::run(handle)));
                results.collect::<Vec<_>>()
            };
            // Not with the small stacks of which there are some left.
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn(submit).unwrap()
        })
        .collect();
    limit.none();
    for start in start {
        start.send(()).unwrap();
    }
    let waits = rt.offload(|| 1);
    drop(open);
    assert_eq!(adapt::run(first).unwrap(), 1);
    // It may have been given up together with a closure that a parked one waited for.
    assert!(counted(adapt::run(waits)) <= 1);
    for submitter in submitters {
        for (depth, ran) in submitter.join().unwrap().into_iter().enumerate() {
            assert!(ran <= depth % 4 + 1);
        }
    }
    // The thread is still there, and no closure is in line before this one.
    assert_eq!(offload_deep(&rt, 0), 1);
    assert!(offload_deep(&rt, 3) >= 1);
    limit.lift();
    all_is_well(&rt);
    end(&rt);
}

/// The limit stays, and other threads end: then there is a thread for the pool.
fn others_end(limit: Limit) {
    let patience = Instant::now() + PATIENCE / 2;
    let is_over = || Instant::now() >= patience;
    let (end_others, others) = (0..3)
        .map(|_| {
            let (end, ended) = mpsc::channel::<()>();
            let thread = thread::Builder::new().stack_size(STACK);
            (end, thread.spawn(move || ended.recv()).unwrap())
        })
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let rt = loop {
        let rt = runtime();
        limit.more(0);
        if offload_deep(&rt, 0) == 0 {
            break rt;
        }
        limit.lift();
        end(&rt);
        assert!(!is_over(), "there are threads in spite of the limit");
    };
    drop(end_others);
    for other in others {
        assert!(other.join().unwrap().is_err());
    }
    // The system takes them off the count a moment after it says that they have ended.
    while offload_deep(&rt, 2) < 3 {
        assert!(!is_over(), "the pool has given up");
        thread::yield_now();
    }
    limit.lift();
    all_is_well(&rt);
    end(&rt);
}

/// No thread for a worker, or not for all: an error, and none is left behind.
fn no_runtime(limit: Limit) {
    let build = || {
        StdThread::builder()
            // Many more than are just ending.
            .worker_threads(64)
            .thread_stack_size(STACK)
            .build()
    };
    let refused = || {
        let error = build().map(drop).unwrap_err();
        // As the system has it: try again later.
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        limit.lift();
        let rt = runtime();
        all_is_well(&rt);
        end(&rt);
    };
    limit.none();
    refused();
    for more in 1..3 {
        limit.more(more);
        refused();
    }
}
