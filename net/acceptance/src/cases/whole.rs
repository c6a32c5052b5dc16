//! NE-3, one socket holds up no other: what concerns the whole process, in which these cases are alone.

use std::{
    future::Future,
    io::Read as _,
    mem,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{BlockOn, CancellationToken, Offload, Spawner, Task, Timer};
use futures_util::{StreamExt, future::join, stream::FuturesUnordered};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};

use crate::{
    case::{Case, table},
    descriptors::{Limit, fill},
    network::{Listener, Stream},
    scene::{Scene, write_all},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-3.5", "an accept loop survives a process without descriptors", without_descriptors, alone true;
        "NE-3.6", "10,000 idle sockets take no processor time, and each is woken alone", ten_thousand_idle_sockets, alone true;
    }
}

/// How often to try again to have no descriptor left.
const ROUNDS: usize = 20;

fn without_descriptors(scene: &Scene<'_>) {
    // First start all threads, which open files of the system for a moment.
    scene.run(scene.rt().offload(|| ())).unwrap();
    drop(scene.run(scene.pair()));
    // A thread that closes such a file late leaves its descriptor to the accept: then once more.
    let is_told = (0..ROUNDS).any(|_| is_told(scene));
    assert!(is_told, "it always accepts, without a descriptor");
}

/// Whether an accept loop was told that there are no descriptors. It accepts afterwards.
fn is_told(scene: &Scene<'_>) -> bool {
    let listener = scene.run(scene.net.listen()).unwrap();
    let address = listener.address();
    // The last descriptor is the client's.
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let limit = Limit::lowered(256);
    let files = fill();
    let failures = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(Mutex::new(None));
    let accepting = {
        let (failures, last) = (failures.clone(), last.clone());
        scene.rt().spawn(async move {
            loop {
                match listener.accept().await {
                    Ok(stream) => return stream,
                    Err(error) => {
                        *last.lock().unwrap() = Some(error);
                        // Relaxed: the number is all that is looked at.
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    };
    client.connect(&address.into()).unwrap();
    scene.run(async {
        while failures.load(Ordering::Relaxed) < 3 && !accepting.is_finished() {
            scene.moment().await;
        }
        scene.moment().await;
    });
    let is_told = !accepting.is_finished();
    drop((files, limit));
    let served = scene.run(async {
        let mut stream: Box<dyn Stream> = accepting.await.unwrap();
        write_all(&mut *stream, b"served").await
    });
    served.unwrap();
    let mut text = String::new();
    TcpStream::from(client).read_to_string(&mut text).unwrap();
    assert_eq!(text, "served");
    if let Some(last) = last.lock().unwrap().take() {
        assert!(scene.net.is_exhausted(&last), "{last}");
    }
    // A loop without pauses would fail thousands of times.
    let failures = failures.load(Ordering::Relaxed);
    assert!(failures < 100, "it was tried {failures} times");
    is_told
}

const WANTED: usize = 10_000;

/// Descriptors for everything else: files, pollers, and their wake-ups.
const SPARE: usize = 200;

fn ten_thousand_idle_sockets(scene: &Scene<'_>) {
    // Dropped after the sockets.
    let _limit = Limit::raised((WANTED + SPARE) as u64);
    let room = Limit::descriptors().map_or(WANTED, |most| most.saturating_sub(SPARE));
    let sockets = room.min(WANTED) / 2 * 2;
    assert!(sockets >= 200, "no room for more than {sockets} sockets");
    if sockets < WANTED {
        eprintln!("NE-3.6: {sockets} sockets, as this process may have no more descriptors");
    }
    let rt = scene.rt();
    let (mut writes, reads) = (Vec::new(), FuturesUnordered::new());
    let listener: Arc<dyn Listener> = scene.run(scene.net.listen()).unwrap().into();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let waits = Arc::new(AtomicUsize::new(0));
    for _ in 0..sockets / 2 {
        // A time limit for each, as all may take longer than one event.
        let (a, b) = scene.run(join(scene.connect(listener.address()), listener.accept()));
        for stream in [a.unwrap(), b.unwrap()] {
            let write = CancellationToken::new();
            reads.push(one_idle(writes.len(), stream, write.clone(), waits.clone()));
            writes.push(write);
        }
    }
    let task = rt.spawn(tell(reads, listener, woken.clone()));
    // Before each waits, something happens.
    let mut waiting = 0;
    while waiting < sockets {
        // A time limit for some, as all may take longer than one event.
        scene.run(async {
            while waits.load(Ordering::Relaxed) == waiting {
                scene.moment().await;
            }
        });
        waiting = waits.load(Ordering::Relaxed);
    }
    // In at least a quarter of the slices the process uses almost no time. A busy thread would use all
    // of each slice, and a thread that polls each millisecond would use a part of each slice.
    let slice = Duration::from_millis(50);
    let slices = (0..20).map(|_| {
        rt.block_on(rt.sleep(slice / 2));
        let before = used();
        rt.block_on(rt.sleep(slice));
        used().saturating_sub(before)
    });
    // Not the best slice: on a busy machine a thread that wants to run may get no turn in a whole one.
    let mut slices: Vec<_> = slices.collect();
    slices.sort_unstable();
    let quarter = slices[slices.len() / 4];
    assert!(
        quarter < slice / 50,
        "{sockets} idle sockets took {quarter:?} of {slice:?}"
    );
    assert!(woken.lock().unwrap().is_empty(), "nobody wrote");
    // A write wakes its socket, and no other socket. An odd step, so that it is each end in turn.
    for i in (0..sockets).step_by((sockets / 20) | 1) {
        // The other end of the same connection.
        writes[i ^ 1].cancel();
        scene.run(async {
            while woken.lock().unwrap().is_empty() {
                rt.sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(mem::take(&mut *woken.lock().unwrap()), [(i, Some(1))]);
    }
    // Not only dropped: all sockets have to be closed before the limit of descriptors is lowered again.
    let _ = scene.run(task.cancel());
}

/// Which socket was woken, and how many bytes it read.
type Read = (usize, Option<usize>);

/// One end of a connection, which waits for a byte, and writes one once it is told to.
async fn one_idle(
    i: usize,
    mut stream: Box<dyn Stream>,
    write: CancellationToken,
    waits: Arc<AtomicUsize>,
) -> (usize, Option<usize>, Box<dyn Stream>) {
    // Relaxed: the number is all that is looked at.
    waits.fetch_add(1, Ordering::Relaxed);
    let mut buf = [0];
    let read = match write.run_until_cancelled(stream.read(&mut buf)).await {
        Ok(read) => read,
        Err(_) => {
            // Not written, it is missed at the other end.
            let _ = write_all(&mut *stream, b"!").await;
            stream.read(&mut buf).await
        }
    };
    (i, read.ok(), stream)
}

/// Records which socket was woken, and what it read; after all sockets comes the accept, which
/// nobody connects to.
async fn tell(
    mut reads: FuturesUnordered<impl Future<Output = (usize, Option<usize>, Box<dyn Stream>)>>,
    listener: Arc<dyn Listener>,
    woken: Arc<Mutex<Vec<Read>>>,
) {
    // Kept, as dropping one would end its connection.
    let mut kept = Vec::new();
    let all = reads.len();
    let reading = async {
        while let Some((i, read, stream)) = reads.next().await {
            woken.lock().unwrap().push((i, read));
            kept.push(stream);
        }
    };
    let accepting = async {
        drop(listener.accept().await);
        woken.lock().unwrap().push((all, None));
    };
    join(reading, accepting).await;
}

/// The processor time of the whole process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs());
    Duration::new(seconds, u32::try_from(nanos).expect("below a second"))
}
