//! Idle sockets take no processor time (NE-3, one socket holds up no other), on any runtime: ten
//! thousand of them, if the descriptor limit allows as many.
//!
//! One test in its own process: it measures the processor time of the process.

mod common;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::listener;
use fourway_core::{AnyRuntime, BlockOn, Spawner, Timer};
use fourway_net::Net;
use fourway_testing::{Counter, eventually, run, runtimes};
use futures_util::{
    AsyncReadExt, AsyncWriteExt, StreamExt,
    future::{FutureExt, join},
    stream::FuturesUnordered,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

const WANTED: usize = 10_000;

/// Descriptors for everything else: files, pollers, and their wake-ups.
const SPARE: usize = 200;

#[test]
fn ten_thousand_idle_sockets() {
    let sockets = room();
    println!("{sockets} sockets");
    for (name, rt) in runtimes() {
        idle(name, &rt, sockets);
    }
}

/// The number of sockets that the process may have, at most `WANTED`.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // The soft limit protects programs that use `select`.
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = limit.maximum.map_or(usize::MAX, |most| most as usize);
    let room = most.saturating_sub(SPARE).min(WANTED);
    assert!(room >= 200, "no more than {most} descriptors");
    room
}

fn idle(name: &str, rt: &AnyRuntime, sockets: usize) {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let waits = Counter::default();
    let (mut writes, task) = run(rt, async {
        let (listener, address) = listener(rt).await;
        let (mut writes, reads) = (Vec::new(), FuturesUnordered::new());
        for _ in 0..sockets / 2 {
            let (a, b) = join(rt.connect_tcp(address).into_future(), listener.accept()).await;
            for stream in [a.unwrap(), b.unwrap().0] {
                let (mut read, write) = stream.into_split();
                let i = writes.len();
                writes.push(write);
                let waits = waits.clone();
                reads.push(async move {
                    waits.add();
                    let result = read.read(&mut [0]).await;
                    (i, result, read)
                });
            }
        }
        let accept = async move { listener.accept().await.map(drop) };
        (writes, rt.spawn(tell(reads, accept, woken.clone())))
    });
    // Before each waits, something happens.
    eventually("each socket waits", || waits.get() == sockets / 2 * 2);
    // In the best of many slices the process uses almost no time. A busy thread would use all
    // of each slice, and a thread that polls each millisecond would use a part of each slice.
    let slice = Duration::from_millis(50);
    let least = (0..20).map(|_| {
        rt.block_on(rt.sleep(slice / 2));
        let before = used();
        rt.block_on(rt.sleep(slice));
        used().saturating_sub(before)
    });
    let least = least.min().unwrap();
    println!("{name}: {least:?} of {slice:?}");
    assert!(
        least < slice / 50,
        "{name}: {least:?} of {slice:?} while nothing happens"
    );
    assert!(woken.lock().unwrap().is_empty(), "{name}: nobody wrote");

    // A write wakes its socket, and no other socket.
    let step = writes.len() / 50;
    for i in (0..writes.len()).step_by(step) {
        // The other end of the same connection: both ends were pushed one after the other.
        let peer = i ^ 1;
        run(rt, async {
            writes[peer].write_all(b"!").await.unwrap();
            while woken.lock().unwrap().is_empty() {
                rt.sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(std::mem::take(&mut *woken.lock().unwrap()), [i], "{name}");
    }
    assert!(task.now_or_never().is_none(), "{name}: one has failed");
}

/// Records which socket has read a byte. A read with another result is a panic.
async fn tell<R>(
    mut reads: FuturesUnordered<impl Future<Output = (usize, std::io::Result<usize>, R)>>,
    accept: impl Future<Output = std::io::Result<()>>,
    woken: Arc<Mutex<Vec<usize>>>,
) {
    // Kept, as dropping one would end its connection.
    let mut kept = Vec::new();
    let telling = async {
        while let Some((i, result, read)) = reads.next().await {
            assert_eq!(result.unwrap(), 1);
            woken.lock().unwrap().push(i);
            kept.push(read);
        }
    };
    let _ = join(telling, accept).await;
}

/// The processor time of the whole process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.unsigned_abs(),
        u32::try_from(used.tv_nsec).unwrap(),
    )
}
