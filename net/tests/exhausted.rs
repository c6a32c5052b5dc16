//! A process that has no descriptors left. Alone in its file, as it affects the whole process.

mod common;

use std::{fs::File, time::Duration};

use common::{listener, pair};
use fourway_core::{AnyRuntime, Offload, Spawner, Task, Timer};
use fourway_net::{
    Net, is_exhausted,
    process::{Command, Stdio},
};
use fourway_testing::{AGES, Counter, any, any_current_thread, any_smol, any_tokio, run};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn the_accept_loop_survives() {
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
    runtimes.iter().for_each(survives);
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

fn survives(rt: &AnyRuntime) {
    run(rt, async {
        // First start all threads, which open files of the system for a moment.
        rt.offload(|| ()).await.unwrap();
        drop(pair(rt).await);
        // A thread that closes such a file late leaves its descriptor to the accept: then once more.
        while !is_told(rt).await {}
    });
}

/// Whether an accept loop was told that there are no descriptors. It accepts afterwards.
async fn is_told(rt: &AnyRuntime) -> bool {
    let (listener, address) = listener(rt).await;
    let failures = Counter::default();
    // A typical accept loop. Without the pause it would spin.
    let failed = failures.clone();
    let accepting = rt.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((mut stream, _)) => {
                    stream.write_all(b"served").await.unwrap();
                    return;
                }
                Err(error) => {
                    assert!(is_exhausted(&error), "{error}");
                    failed.add();
                }
            }
        }
    });
    // The client's descriptor is the last one.
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let client = client.unwrap();
    let files = fill();
    client.connect(&address.into()).unwrap();
    while failures.get() < 3 && !accepting.is_finished() {
        rt.sleep(Duration::from_millis(1)).await;
    }
    let is_told = !accepting.is_finished();
    drop(files);
    accepting.await.unwrap();
    let mut stream = fourway_net::TcpStream::from_std(rt, client.into()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "served");
    // Doubled each time, from a millisecond on: spinning would be thousands.
    assert!(failures.get() < 100, "{} tries", failures.get());
    is_told
}
