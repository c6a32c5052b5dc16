//! NE-4: sockets and the lives of runtimes.

use std::{sync::mpsc, task::Waker, time::Duration};

use fourway_core::{Shutdown, Spawner};
use futures_util::future::join;

use crate::{
    case::{Case, table},
    scene::{Scene, elsewhere, poll_once, read_to_end, write_all},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-4.1", "after the shutdown", after_the_shutdown;
        "NE-4.2", "in another executor", in_another_executor;
        "NE-4.3", "drop never blocks", drop_never_blocks;
        "NE-4.4", "after the shutdown, beside a poll that goes on", beside_a_poll;
    }
}

fn after_the_shutdown(scene: &Scene<'_>) {
    ends_by(scene, || scene.rt().shutdown(scene.patience).is_ok());
}

/// The poll keeps a thread that the runtime may need to tell anybody anything.
fn beside_a_poll(scene: &Scene<'_>) {
    let (release, released) = mpsc::channel::<()>();
    ends_by(scene, move || {
        let (begin, begun) = mpsc::channel();
        scene.rt().spawn_detached(async move {
            let _ = begin.send(());
            // Ends when the case does, whatever its result.
            let _ = released.recv();
        });
        begun.recv_timeout(scene.patience).expect("the task runs");
        scene.rt().shutdown(Duration::from_millis(10)).is_ok()
    });
    drop(release);
}

/// What was begun before `shut_down`, and what begins after it. `shut_down` says whether the runtime can
/// be shut down.
fn ends_by(scene: &Scene<'_>, shut_down: impl FnOnce() -> bool) {
    let (listener, mut a, b) = scene.run(async {
        let listener = scene.net.listen().await.unwrap();
        let (a, b) = join(scene.connect(listener.address()), listener.accept()).await;
        (listener, a.unwrap(), b.unwrap())
    });
    // On a separate thread, as tasks of the runtime are destroyed.
    let (sender, results) = mpsc::channel();
    let waits = std::thread::spawn(move || {
        let mut buf = [0];
        let read = async { a.read(&mut buf).await.map(drop) };
        let accept = async { listener.accept().await.map(drop) };
        let mut told = Box::pin(join(read, accept));
        let begun = elsewhere(poll_once(told.as_mut())).is_pending();
        sender.send(Err(begun)).unwrap();
        let (read, accept) = elsewhere(told.as_mut());
        drop(told);
        // And operations that begin from then on.
        let later = elsewhere(async { a.read(&mut buf).await.map(drop) });
        // The caller may be gone.
        let _ = sender.send(Ok([read, accept, later]));
    });
    assert!(results.recv().unwrap().is_err_and(|begun| begun));
    if !shut_down() {
        // It lives as long as the process, so there is no shutdown to report. The peer ends the
        // wait.
        let mut b = b;
        let sent = elsewhere(async { write_all(&mut *b, b"!").await });
        sent.unwrap();
        return;
    }
    let told = results.recv_timeout(scene.patience).expect("it hangs");
    for told in told.expect("it was begun before") {
        assert!(scene.is_shutdown(&told), "{told:?}");
    }
    waits.join().unwrap();
    let made = elsewhere(scene.net.listen()).map(drop);
    assert!(scene.is_shutdown(&made), "another is made");
    // Operations without a reactor go on.
    b.into_std().unwrap();
}

fn in_another_executor(scene: &Scene<'_>) {
    let (mut a, mut b) = scene.run(scene.pair());
    let (sender, results) = mpsc::channel();
    std::thread::spawn(move || {
        let text = elsewhere(async {
            let sending = async {
                write_all(&mut *a, &[1; 1 << 20]).await.unwrap();
                a.end().await.unwrap();
            };
            join(sending, read_to_end(&mut *b)).await.1
        });
        let _ = sender.send(text.unwrap().len());
    });
    assert_eq!(
        results.recv_timeout(scene.patience).expect("it hangs"),
        1 << 20
    );
}

fn drop_never_blocks(scene: &Scene<'_>) {
    let (mut a, b) = scene.run(scene.pair());
    // The peer takes nothing, and much has not been sent.
    scene.run(async {
        let bytes = vec![0; 1 << 20];
        while poll_once(a.write(&bytes).as_mut()).await.is_ready() {}
    });
    let (sender, dropped) = mpsc::channel();
    let (listener, mut c) = scene.run(async {
        let listener = scene.net.listen().await.unwrap();
        let (c, _) = join(scene.connect(listener.address()), listener.accept()).await;
        (listener, c.unwrap())
    });
    let task = scene.rt().spawn(async move {
        // With pending waits, too.
        {
            let mut accept = listener.accept();
            let _ = accept
                .as_mut()
                .poll(&mut std::task::Context::from_waker(Waker::noop()));
            let mut buf = [0];
            let _ = poll_once(c.read(&mut buf).as_mut()).await;
        }
        drop((a, listener, c));
        let _ = sender.send(());
    });
    let is_dropped = dropped.recv_timeout(scene.patience);
    // Ends the blocked operation, so that the runtime can end.
    b.reset();
    is_dropped.expect("it blocks");
    drop(task);
}
