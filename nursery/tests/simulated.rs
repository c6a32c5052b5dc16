//! What the examples show, in the simulation: under a thousand schedules each, with tasks that are
//! cancelled at any await.
//!
//! Folders are real ones, of a few files, read in closures as in the examples. In place of TCP there
//! are pipes in memory, and in place of the signal a moment of virtual time; the runtime of each
//! thread is the simulation.

#![allow(clippy::duplicate_mod, reason = "three examples have the same library")]

#[allow(dead_code, reason = "a program has more than is used here")]
#[path = "../examples/batch.rs"]
mod batch;
#[allow(dead_code, reason = "a program has more than is used here")]
#[path = "../examples/drain.rs"]
mod drain;
#[allow(dead_code, reason = "a program has more than is used here")]
#[path = "../examples/folder_tree.rs"]
mod folder_tree;
#[allow(dead_code, reason = "a program has more than is used here")]
#[path = "../examples/thread_each.rs"]
mod thread_each;

use std::{
    env, fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use drain::Listener;
use fourway_core::{BlockOn, Spawner, Task as _, Timer};
use fourway_sim::{Check, Faults, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Eleven files of two bytes in six folders. Dropping it deletes them.
struct Folder(PathBuf);

const FILES: u64 = 11;
const BYTES: u64 = 22;

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("fourway-simulated-{name}-{}", std::process::id());
        let folder = Self(env::temp_dir().join(name));
        for (below, files) in [
            ("", 2),
            ("a", 3),
            ("b", 0),
            ("b/c", 1),
            ("b/d", 1),
            ("b/d/e", 4),
        ] {
            let below = folder.0.join(below);
            fs::create_dir_all(&below).unwrap();
            for file in 0..files {
                fs::write(below.join(file.to_string()), "xx").unwrap();
            }
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A thousand seeds without faults, and as many with tasks that are cancelled. Gives how many of
/// these `main` has said to have come to a result all the same.
fn simulated(main: impl Fn(&Sim, bool) -> bool + Send + Sync + Clone + 'static) -> u64 {
    let calm = main.clone();
    Check::default()
        .seeds(1000)
        .run(move |rt| assert!(calm(&rt, false), "nothing is in the way of a result"));
    let whole = Arc::new(AtomicU64::new(0));
    let counts = whole.clone();
    Check::default()
        .seeds(1000)
        .with(Sim::builder().faults(Faults::none().cancel(20, [""]).slow(50, MS)))
        .run(move |rt| {
            counts.fetch_add(u64::from(main(&rt, true)), Relaxed);
        });
    whole.load(Relaxed)
}

#[test]
fn simulated_fan_out_over_a_folder() {
    let folder = Folder::new("tree");
    let root = folder.0.clone();
    let whole = simulated(move |rt, disturbed| {
        match rt.block_on(folder_tree::tree(rt, &root)) {
            Ok((files, bytes)) if disturbed => {
                // A listing that was cancelled counts as nothing.
                assert!(files <= FILES && bytes == 2 * files);
                files == FILES
            }
            Ok(found) => found == (FILES, BYTES),
            Err(_) => false,
        }
    });
    assert!(whole > 100, "{whole}");
}

#[test]
fn simulated_batch() {
    let folder = Folder::new("batch");
    let roots = [&folder.0, &folder.0.join("b"), &folder.0.join("missing")].map(Clone::clone);
    let whole = simulated(move |rt, _| match batch::count(rt, &roots) {
        Ok(files) => {
            assert_eq!(files, [FILES, 6, 0]);
            true
        }
        Err(_) => false,
    });
    assert!(whole > 100, "{whole}");
}

#[test]
fn simulated_runtime_for_each_thread() {
    let folder = Folder::new("threads");
    let roots = [&folder.0, &folder.0.join("b"), &folder.0.join("missing")].map(Clone::clone);
    let whole = simulated(move |rt, _| {
        let each = rt.clone();
        match thread_each::count(rt, move || Ok(each.clone()), &roots) {
            Ok(files) => {
                assert_eq!(files, [FILES, 6, 0]);
                true
            }
            Err(_) => false,
        }
    });
    assert!(whole > 100, "{whole}");
}

/// Clients that come one after the other, each with a pipe.
struct Clients {
    rt: Sim,
    left: AtomicU64,
    tasks: Mutex<Vec<fourway_sim::Task<Vec<u8>>>>,
}

impl Listener for Clients {
    type Connection = DuplexStream;

    async fn next(&self) -> io::Result<DuplexStream> {
        let number = self.left.load(Relaxed);
        self.rt.sleep(MS * (number as u32 * 97 % 400)).await;
        if number == 0 {
            return std::future::pending().await;
        }
        self.left.store(number - 1, Relaxed);
        if number % 5 == 0 {
            return Err(io::Error::other("it has gone"));
        }
        let (mut mine, other) = duplex(64);
        let rt = self.rt.clone();
        let client = self.rt.spawn_named("client", async move {
            rt.sleep(MS * (number as u32 * 211 % 1500)).await;
            let mut answer = Vec::new();
            // One that says nothing is not answered.
            if number % 3 != 0 && mine.write_all(b"GET / HTTP/1.1\r\n\r\n").await.is_err() {
                return answer;
            }
            let _ = mine.read_to_end(&mut answer).await;
            answer
        });
        self.tasks.lock().unwrap().push(client);
        Ok(other)
    }
}

#[test]
fn simulated_drain() {
    let whole = simulated(|rt, disturbed| {
        let clients = Clients {
            rt: rt.clone(),
            left: AtomicU64::new(12),
            tasks: Mutex::default(),
        };
        // The signal, at another moment in each run.
        let (inner, after) = (rt.clone(), MS * (rt.seed() * 37 % 4000) as u32);
        let start = rt.now();
        let served = rt.block_on(drain::serve(rt, &clients, async move {
            inner.sleep(after).await;
        }));
        let took = rt.now() - start;
        // To a nursery, a child that was cancelled behind its back is one of a runtime that was shut
        // down: it takes no further one, and the server ends.
        assert!(disturbed || took >= after, "{took:?}");
        // Each has half a second of work at most; the grace of five seconds is not used up.
        assert!(took < after + SECOND, "{took:?} after {after:?}");
        assert!(disturbed || served.is_ok(), "{served:?}");
        // No connection outlives the server: all clients come to an end, with an answer that is
        // whole, or with none.
        let mut answered = 0;
        for client in clients.tasks.into_inner().unwrap() {
            let Ok(answer) = client.wait() else {
                assert!(disturbed, "nobody has cancelled it");
                continue;
            };
            if !answer.is_empty() {
                assert!(answer.ends_with(b"\r\n\r\nhello\n"), "{answer:?}");
                answered += 1;
            }
        }
        // Those that came early enough are answered.
        answered > 0 || (!disturbed && after < 2 * SECOND)
    });
    assert!(whole > 100, "{whole}");
}
