//! A process that ignores `SIGCHLD`, so that the system takes the statuses of its children. Alone in
//! its file, as it affects the whole process.

use fourway_net::process::Command;
use fourway_testing::{each, run};

#[test]
#[cfg(target_os = "linux")]
fn children_without_a_status() {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    if let Err(error) = pidfd_open(getpid(), PidfdFlags::empty()) {
        // Then the ends of children are learned by `SIGCHLD`, which is no longer ignored.
        eprintln!("skipped: the system has no pidfd ({error})");
        return;
    }
    // SAFETY: no other thread of this process changes what signals do.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR);
    each(|rt| {
        run(&rt, async {
            // Some have ended before they are registered.
            for _ in 0..50 {
                let mut child = Command::new("true").spawn(&rt).unwrap();
                let error = child.wait().await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{error}");
            }
        });
    });
    // SAFETY: as above.
    let now = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    assert_eq!(now, libc::SIG_IGN, "it is no longer ignored");
}
