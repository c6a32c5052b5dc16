//! NE-3, one socket holds up no other: what concerns the whole process, in which these cases are alone.

use std::{
    io::Read,
    mem,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Spawner, Timer};
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

fn without_descriptors(scene: &Scene<'_>) {
    // First start all threads, which open files of the system for a moment.
    scene.run(scene.rt().offload(|| ())).unwrap();
    drop(scene.run(scene.pair()));
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
        while failures.load(Ordering::Relaxed) < 3 {
            scene.moment().await;
        }
        scene.moment().await;
    });
    drop((files, limit));
    let served = scene.run(async {
        let mut stream: Box<dyn Stream> = accepting.await.unwrap();
        write_all(&mut *stream, b"served").await
    });
    served.unwrap();
    let mut text = String::new();
    TcpStream::from(client).read_to_string(&mut text).unwrap();
    assert_eq!(text, "served");
    let last = last.lock().unwrap().take().expect("it has failed");
    assert!(scene.net.is_exhausted(&last), "{last}");
    // A loop without pauses would fail thousands of times.
    let failures = failures.load(Ordering::Relaxed);
    assert!(failures < 100, "it was tried {failures} times");
}

const WANTED: usize = 10_000;

/// Descriptors for everything else: files, pollers, and their wake-ups.
const SPARE: usize = 200;

fn ten_thousand_idle_sockets(scene: &Scene<'_>) {
    // Dropped after the sockets.
    let _limit = Limit::raised();
    let room = Limit::descriptors().map_or(WANTED, |most| most.saturating_sub(SPARE));
    let sockets = room.min(WANTED);
    assert!(sockets >= 200, "no room for more than {sockets} sockets");
    if sockets < WANTED {
        eprintln!("NE-3.6: {sockets} sockets, as this process may have no more descriptors");
    }
    let rt = scene.rt();
    let (mut writers, waiting) = (Vec::new(), FuturesUnordered::new());
    let listener: Arc<dyn Listener> = scene.run(scene.net.listen()).unwrap().into();
    let woken = Arc::new(Mutex::new(Vec::new()));
    for i in 0..sockets / 2 {
        // A time limit for each, as all may take longer than one event.
        let (a, b) = scene.run(join(scene.connect(listener.address()), listener.accept()));
        writers.push(a.unwrap());
        let mut b = b.unwrap();
        waiting.push(async move {
            let read = b.read(&mut [0]).await;
            (i, read, b)
        });
    }
    let mut waiting = waiting;
    let task = {
        let woken = woken.clone();
        rt.spawn(async move {
            // Kept, as dropping one would end its connection.
            let mut kept = Vec::new();
            while let Some((i, read, stream)) = waiting.next().await {
                woken.lock().unwrap().push((i, read.ok()));
                kept.push(stream);
            }
        })
    };
    // In the best of many slices the process uses almost no time. A busy thread would use all
    // of each slice, and a thread that polls each millisecond would use a part of each slice.
    let slice = Duration::from_millis(50);
    let least = (0..20).map(|_| {
        rt.block_on(rt.sleep(slice / 2));
        let before = used();
        rt.block_on(rt.sleep(slice));
        used().saturating_sub(before)
    });
    let least = least.min().expect("there are slices");
    assert!(
        least < slice / 50,
        "{sockets} idle sockets took {least:?} of {slice:?}"
    );
    assert!(woken.lock().unwrap().is_empty(), "nobody wrote");
    let step = writers.len() / 20;
    for i in (0..writers.len()).step_by(step) {
        scene.run(async {
            write_all(&mut *writers[i], b"!").await.unwrap();
            while woken.lock().unwrap().is_empty() {
                rt.sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(mem::take(&mut *woken.lock().unwrap()), [(i, Some(1))]);
    }
    drop(task);
}

/// The processor time of the whole process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs());
    Duration::new(seconds, u32::try_from(nanos).expect("below a second"))
}
