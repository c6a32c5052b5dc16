//! Names as `top -H` shows them: the runtime, the kind of thread, and its number.
use std::sync::{Arc, Barrier};

use fourway::{AnyRuntime, prelude::*};

/// As the system has it, if it can be asked.
fn name() -> String {
    if cfg!(target_os = "linux") {
        let name = std::fs::read_to_string("/proc/thread-self/comm");
        return name.expect("Linux says it").trim_end().to_owned();
    }
    let thread = std::thread::current();
    thread.name().unwrap_or_default().to_owned()
}

fn names(make: impl Fn() -> AnyRuntime, workers: usize) -> (String, String) {
    for _ in 0..100 {
        let names = names_of(&make(), workers);
        // On a busy machine it stands in for a thread of Tokio's that is late.
        if names.1 != "fourway-extra" {
            return names;
        }
    }
    panic!("the pool's own thread was late each time");
}

fn names_of(rt: &AnyRuntime, workers: usize) -> (String, String) {
    // Tokio gives its first threads the workers' names, and gives work to the first of them that
    // starts: the workers have to be there before there is more to run.
    let all = Arc::new(Barrier::new(workers));
    let meet = |_| {
        let all = all.clone();
        rt.spawn(async move { all.wait() })
    };
    let met: Vec<_> = (0..workers).map(meet).collect();
    for task in met {
        rt.block_on(task).expect("no panic");
    }
    let task = rt.block_on(rt.spawn(async { name() }));
    let closure = rt.block_on(rt.offload(name));
    (task.expect("no panic"), closure.expect("no panic"))
}

/// With a prefix that is as long as a name may be.
fn check(make: impl Fn() -> AnyRuntime, workers: usize) {
    let (task, closure) = names(make, workers);
    assert!(
        ["my-nice-servi-0", "my-nice-servi-1"].contains(&&*task),
        "{task}"
    );
    assert_eq!(closure, "my-nice-offload");
}

const PREFIX: &str = "my-nice-service";

#[cfg(feature = "std-thread")]
#[test]
fn std_thread() {
    use fourway::std_thread::StdThread;
    let rt = || StdThread::builder().worker_threads(2).thread_name(PREFIX);
    check(|| AnyRuntime::new(rt().build().unwrap()), 2);
}

#[cfg(feature = "smol")]
#[test]
fn smol() {
    use fourway::smol::Smol;
    let rt = || Smol::builder().worker_threads(2).thread_name(PREFIX);
    check(|| AnyRuntime::new(rt().build().unwrap()), 2);
}

/// Tokio has one name for both kinds, if it is not asked for each.
#[cfg(feature = "tokio")]
#[test]
fn tokio() {
    use fourway::tokio::Tokio;
    let rt = || Tokio::builder().worker_threads(2).thread_name(PREFIX);
    check(|| AnyRuntime::new(rt().build().unwrap()), 2);
    let rt = || Tokio::builder().current_thread().thread_name(PREFIX);
    check(|| AnyRuntime::new(rt().build().unwrap()), 1);
    let rt = || Tokio::builder().worker_threads(2).build().unwrap();
    let (task, closure) = names(|| AnyRuntime::new(rt()), 2);
    assert!(task.starts_with("fourway-tokio-"), "{task}");
    assert_eq!(closure, "fourway-offload");
}
