//! NE-5: children and signals are waited for like sockets.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{Shutdown, Spawner};
use futures_util::future::{join, join_all};
use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};

use crate::{
    case::{Case, table},
    network::Processes,
    scene::{POLLS, Scene, Woken, elsewhere, poll_once, poll_times},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-5.1", "a dropped wait loses no status", a_dropped_wait_loses_no_status, processes true;
        "NE-5.2", "a dropped wait loses no signal", a_dropped_wait_loses_no_signal, processes true;
        "NE-5.3", "all who wait for a signal are told", all_who_wait_are_told, processes true;
        "NE-5.4", "a dropped child goes on or is killed", a_dropped_child, processes true;
        "NE-5.5", "children and signals after the shutdown", after_the_shutdown, processes true;
    }
}

/// Ends when it is killed.
const SLEEPER: &str = "exec sleep 3600";

fn processes<'a>(scene: &Scene<'a>) -> &'a dyn Processes {
    scene.net.processes().expect("the case is for those alone")
}

fn pid(id: u32) -> Pid {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.expect("a number of a process")
}

/// Signals are the process's: one case at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn raise() {
    kill_process(getpid(), Signal::USR1).unwrap();
}

fn a_dropped_wait_loses_no_status(scene: &Scene<'_>) {
    scene.run(async {
        for (polls, ready) in POLLS {
            let mut child = processes(scene).start(SLEEPER, true).unwrap();
            let id = child.id();
            let mut wait = child.wait();
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(wait.as_mut()).is_pending());
            kill_process(pid(id), Signal::KILL).unwrap();
            if ready {
                woken.until(scene.rt()).await;
            }
            let status = poll_times(scene.rt(), wait.as_mut(), polls).await;
            drop(wait);
            let status = match status {
                Some(status) => status,
                None => child.wait().await,
            };
            assert_eq!(status.unwrap().signal(), Some(Signal::KILL.as_raw()));
        }
    });
}

fn a_dropped_wait_loses_no_signal(scene: &Scene<'_>) {
    let _alone = alone();
    scene.run(async {
        let mut signals = processes(scene).signals().unwrap();
        for (polls, ready) in POLLS {
            let mut wait = signals.recv();
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(wait.as_mut()).is_pending());
            raise();
            if ready {
                woken.until(scene.rt()).await;
            }
            let told = poll_times(scene.rt(), wait.as_mut(), polls).await;
            drop(wait);
            match told {
                Some(told) => told.unwrap(),
                None => signals.recv().await.unwrap(),
            }
        }
        // It received each of them once.
        assert!(poll_once(signals.recv().as_mut()).await.is_pending());
    });
}

fn all_who_wait_are_told(scene: &Scene<'_>) {
    let _alone = alone();
    scene.run(async {
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let mut signals = processes(scene).signals().unwrap();
                scene.rt().spawn(async move { signals.recv().await })
            })
            .collect();
        raise();
        for told in join_all(waiting).await {
            told.unwrap().unwrap();
        }
    });
}

fn a_dropped_child(scene: &Scene<'_>) {
    let killed = processes(scene).start(SLEEPER, true).unwrap();
    let id = killed.id();
    drop(killed);
    await_gone(scene, id);

    let children = [(); 2].map(|()| processes(scene).start(SLEEPER, false).unwrap());
    let ids = [children[0].id(), children[1].id()];
    let ends = ids.map(KillOnDrop);
    let [before, after] = children;
    drop(before);
    // Where there is none, it is dropped all the same.
    let _ = scene.rt().shutdown(scene.patience);
    drop(after);
    for end in ends {
        let id = end.0;
        assert!(goes_on(id), "it was killed");
        drop(end);
        await_gone(scene, id);
    }
}

/// Kills a child that goes on, so that it does not outlive a failed case.
struct KillOnDrop(u32);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It may be gone.
        let _ = kill_process(pid(self.0), Signal::KILL);
    }
}

/// The child is there after a moment, in which a killed child would have gone. A later kill is not
/// detected.
fn goes_on(id: u32) -> bool {
    thread::sleep(Duration::from_millis(50));
    test_kill_process(pid(id)).is_ok()
}

/// Waits until the child is gone, also as a zombie.
fn await_gone(scene: &Scene<'_>, id: u32) {
    let deadline = Instant::now() + scene.patience;
    while test_kill_process(pid(id)).is_ok() {
        if deadline <= Instant::now() {
            let _ = kill_process(pid(id), Signal::KILL);
            panic!("it is left as a zombie, or runs");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn after_the_shutdown(scene: &Scene<'_>) {
    let _alone = alone();
    let mut child = processes(scene).start(SLEEPER, true).unwrap();
    let mut signals = processes(scene).signals().unwrap();
    let id = child.id();
    // On a separate thread, as tasks of the runtime are destroyed.
    let (sender, results) = mpsc::channel();
    thread::spawn(move || {
        let both = async {
            let ended = async { child.wait().await.map(drop) };
            join(ended, signals.recv()).await
        };
        let mut both = pin!(both);
        assert!(elsewhere(poll_once(both.as_mut())).is_pending());
        // The caller may have given up.
        let _ = sender.send(None);
        let _ = sender.send(Some(elsewhere(both)));
    });
    let begun = results.recv_timeout(scene.patience);
    assert!(begun.is_ok_and(|it| it.is_none()), "it has not begun");
    if scene.rt().shutdown(scene.patience).is_err() {
        // It lives as long as the process, so there is no shutdown to report. The awaited event
        // comes.
        kill_process(pid(id), Signal::KILL).unwrap();
        raise();
        let told = results.recv_timeout(scene.patience).expect("it hangs");
        told.expect("it was begun before").0.unwrap();
        return;
    }
    let told = results.recv_timeout(scene.patience).expect("it hangs");
    let (child, signal): (io::Result<()>, io::Result<()>) = told.expect("it was begun before");
    assert!(scene.is_shutdown(&child), "{child:?}");
    assert!(scene.is_shutdown(&signal), "{signal:?}");
    let another = processes(scene).signals();
    assert!(scene.is_shutdown(&another.map(drop)), "another is made");
}
