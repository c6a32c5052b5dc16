//! A process that has no descriptors left: what fails beside `accept` (that is NE-3.5 of
//! `fourway-net-acceptance`). Alone in its file, as it affects the whole process.

mod common;

use std::{fs::File, time::Duration};

use common::listener;
use fourway_core::{AnyRuntime, Timer};
use fourway_net::{
    Net, is_exhausted,
    process::{Command, Stdio},
};
use fourway_testing::{AGES, any, any_current_thread, any_smol, any_tokio, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn each_operation_says_so() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(200),
            ..limit
        },
    )
    .unwrap();
    // All runtimes stay until the last is done: ending one would close descriptors.
    let runtimes = [any(), any_tokio(), any_current_thread(), any_smol()];
    runtimes.iter().for_each(leaves_no_zombie);
    runtimes.iter().for_each(says_so);
}

/// A child that cannot be waited for, as there is no descriptor for it, is killed, and taken by a thread
/// that has none either.
fn leaves_no_zombie(rt: &AnyRuntime) {
    run(rt, async {
        let mut files = fill();
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::inherit());
        let error = command.spawn(rt).unwrap_err();
        assert!(is_exhausted(&error), "{error}");
        files.clear();
        rt.timeout(AGES, async {
            while children() > 0 {
                rt.sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("its status is taken");
    });
}

/// Every operation that needs a descriptor tells why it failed.
fn says_so(rt: &AnyRuntime) {
    run(rt, async {
        let (_listener, address) = listener(rt).await;
        drop(rt.connect_tcp(address).await.unwrap());
        let files = fill();
        let errors = [
            rt.connect_tcp(address).await.unwrap_err(),
            rt.listen_tcp(address).await.unwrap_err(),
            rt.bind_udp("127.0.0.1:0").await.unwrap_err(),
        ];
        drop(files);
        for error in errors {
            assert!(is_exhausted(&error), "{error}");
        }
    });
}

fn fill() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// How many children this process has, with those that have ended and were not waited for.
fn children() -> usize {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap();
    let stats =
        processes.filter_map(|it| std::fs::read_to_string(it.ok()?.path().join("stat")).ok());
    // After the name, which is in parentheses: the state and the parent.
    let is_child = |stat: &String| {
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&own)
    };
    stats.filter(is_child).count()
}
