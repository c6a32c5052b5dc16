//! NE-3: one socket holds up no other.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Spawner, Timer};
use futures_util::future::{join, join_all};

use crate::{
    case::{Case, table},
    network::{Listener, Stream},
    scene::{Scene, read_to_end, write_all},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-3.1", "a peer that never reads", a_peer_that_never_reads;
        "NE-3.2", "a peer that sends without end", a_peer_that_sends_without_end;
        "NE-3.3", "any number may wait", any_number_may_wait;
        "NE-3.4", "what is idle is not polled", what_is_idle_is_not_polled;
    }
}

fn a_peer_that_never_reads(scene: &Scene<'_>) {
    scene.run(async {
        let (mut a, _never_reads) = scene.pair().await;
        let task = scene.rt().spawn(async move {
            let bytes = vec![0; 1 << 20];
            while a.write(&bytes).await.is_ok() {}
        });
        scene.moment().await;
        // Others go on.
        for _ in 0..8 {
            let (mut a, mut b) = scene.pair().await;
            write_all(&mut *a, b"hello").await.unwrap();
            a.end().await.unwrap();
            assert_eq!(read_to_end(&mut *b).await.unwrap(), b"hello");
        }
        drop(task);
    });
}

fn a_peer_that_sends_without_end(scene: &Scene<'_>) {
    let (mut a, b) = scene.run(scene.pair());
    let b = b.into_std().unwrap();
    b.set_nonblocking(false).unwrap();
    let sending = std::thread::spawn(move || {
        let mut b = b;
        while io::Write::write_all(&mut b, &[0; 100_000]).is_ok() {}
    });
    // Ends the broken ones too, so that their thread comes back.
    const READS: usize = 200_000;
    let done = Arc::new(AtomicUsize::new(0));
    let reading = {
        let done = done.clone();
        async move {
            while done.fetch_add(1, Ordering::Relaxed) < READS {
                a.read(&mut [0]).await.unwrap();
            }
        }
    };
    // A time limit around it, in a task. The limit is checked between two polls, so the task must
    // yield.
    let rt = scene.rt().clone();
    let task = scene.rt().spawn(async move {
        let limited = rt.timeout(Duration::from_millis(20), reading);
        limited.await.is_err()
    });
    let is_cut_off = scene.rt().block_on(task).unwrap();
    sending.join().unwrap();
    assert!(is_cut_off, "it was read without a pause");
}

fn any_number_may_wait(scene: &Scene<'_>) {
    scene.run(async {
        let listener: Arc<dyn Listener> = scene.net.listen().await.unwrap().into();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let listener = listener.clone();
                scene
                    .rt()
                    .spawn(async move { drop(listener.accept().await.unwrap()) })
            })
            .collect();
        scene.moment().await;
        let streams = (0..20).map(|_| scene.connect(listener.address()));
        let streams = join_all(streams).await;
        for task in tasks {
            task.await.unwrap();
        }
        drop(streams);
    });
}

fn what_is_idle_is_not_polled(scene: &Scene<'_>) {
    scene.run(async {
        let listener: Arc<dyn Listener> = scene.net.listen().await.unwrap().into();
        let polls = Arc::new(AtomicUsize::new(0));
        let count = |mut stream: Box<dyn Stream>| {
            let polls = polls.clone();
            scene.rt().spawn(async move {
                let mut buf = [0];
                let mut read = stream.read(&mut buf);
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    read.as_mut().poll(cx)
                })
                .await
            })
        };
        let mut tasks = Vec::new();
        for _ in 0..50 {
            let (a, b) = join(scene.connect(listener.address()), listener.accept()).await;
            tasks.push(count(a.unwrap()));
            tasks.push(count(b.unwrap()));
        }
        // A runtime that polls in a loop would poll each of them often.
        for _ in 0..10 {
            scene.moment().await;
        }
        let polls = polls.load(Ordering::Relaxed);
        assert!(
            polls <= 100 * 4,
            "100 idle sockets were polled {polls} times"
        );
        drop(tasks);
    });
}
