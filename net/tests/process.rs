//! Child processes on every runtime.

use std::{io, pin::pin, thread, time::Duration};

use fourway_core::Runtime;
use fourway_net::{
    is_shutdown,
    process::{Child, Command, Stdio},
};
use fourway_testing::{any, eventually, on_every_runtime, poll_once, run};
use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    future::{join, join_all, try_join3},
};
use std::os::unix::process::ExitStatusExt;

on_every_runtime! {
    its_status
    its_output
    output_and_then_status
    a_pipe_that_nobody_reads
    more_than_pipes_hold_both_ways
    closed_stdin_is_its_end
    killed_and_waited_for
    killed_when_dropped
    not_killed_when_dropped
    a_cancelled_wait_loses_nothing
    many_at_a_time
    one_reads_what_the_other_writes
    what_cannot_be_started
    after_the_shutdown
    those_who_wait_are_told
}

const KILLED: i32 = 9;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// It ends when its input does.
fn cat<R: Runtime>(rt: &R) -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.kill_on_drop(true).spawn(rt).unwrap()
}

/// Waits until the child is gone, also as a zombie.
fn await_gone(id: u32) {
    let id = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
    eventually("it is gone", || {
        rustix::process::test_kill_process(id).is_err()
    });
}

fn await_ended(child: &mut Child) {
    let child = std::cell::RefCell::new(child);
    eventually("it has ended", || {
        child.borrow_mut().try_wait().unwrap().is_some()
    });
}

fn its_status<R: Runtime>(rt: R) {
    run(&rt, async {
        assert!(sh("exit 0").status(&rt).await.unwrap().success());
        let mut child = sh("exit 7").spawn(&rt).unwrap();
        for _ in 0..2 {
            assert_eq!(child.wait().await.unwrap().code(), Some(7));
            assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(7));
        }
        let status = sh("kill -TERM $$").status(&rt).await.unwrap();
        assert_eq!(status.signal(), Some(15));
    });
}

fn its_output<R: Runtime>(rt: R) {
    run(&rt, async {
        // Both take more than a pipe holds, and its input has an end.
        let script = "cat; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; echo $A; exit 3";
        let mut command = sh(script);
        let output = command.env("A", "done").output(&rt).await.unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stderr, vec![0; 300_000]);
        assert_eq!(output.stdout[..300_000], vec![0; 300_000]);
        assert_eq!(&output.stdout[300_000..], b"done\n");
        let output = command.stdout(Stdio::null()).output(&rt).await.unwrap();
        assert!(output.stdout.is_empty());
    });
}

/// More than a pipe holds.
const MUCH: &str = "head -c 300000 /dev/zero";

fn output_and_then_status<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut command = sh("exit 0");
        command.stderr(Stdio::piped());
        command.output(&rt).await.unwrap();
        let mut child = command.spawn(&rt).unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none());
        // What the caller has set stays.
        assert!(child.stderr.is_some());
        child.wait().await.unwrap();
        // Also after an error.
        let (folder, path) = {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("later");
            (folder, path)
        };
        let mut command = Command::new(&path);
        command.output(&rt).await.unwrap_err();
        std::os::unix::fs::symlink("/bin/true", &path).unwrap();
        let mut child = command.spawn(&rt).unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        child.wait().await.unwrap();
        drop(folder);
    });
}

fn a_pipe_that_nobody_reads<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut command = sh(MUCH);
        let status = command.stdout(Stdio::piped()).status(&rt).await.unwrap();
        assert!(!status.success());
        let mut command = sh(&format!("{MUCH} >&2"));
        let status = command.stderr(Stdio::piped()).status(&rt).await.unwrap();
        assert!(!status.success());
    });
}

fn more_than_pipes_hold_both_ways<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut child = cat(&rt);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut received = Vec::new();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let write = async {
            stdin.write_all(&sent).await?;
            stdin.close().await?;
            let error = stdin.write(b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            Ok(())
        };
        try_join3(write, stdout.read_to_end(&mut received), child.wait())
            .await
            .unwrap();
        assert!(sent == received, "{} bytes", received.len());
    });
}

fn closed_stdin_is_its_end<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut child = cat(&rt);
        // Otherwise both would wait for each other.
        assert!(child.wait().await.unwrap().success());
        assert!(child.stdin.is_none());
        // And a child that reads no more.
        let mut command = Command::new("true");
        let mut child = command.stdin(Stdio::piped()).spawn(&rt).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        child.wait().await.unwrap();
        let error = stdin.write_all(&[0; 1_000_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

fn killed_and_waited_for<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut child = Command::new("sleep").arg("1000").spawn(&rt).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(KILLED));
        // The kill is too late, which is no error.
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(KILLED));
    });
}

fn killed_when_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut child = cat(&rt);
        let (id, _stdin) = (child.id(), child.stdin.take().unwrap());
        let mut stdout = child.stdout.take().unwrap();
        drop(child);
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
        await_gone(id);
        // By a future that is dropped.
        let mut command = sh("echo; exec sleep 1000");
        command.kill_on_drop(true).stdout(Stdio::piped());
        let mut child = command.spawn(&rt).unwrap();
        let id = child.id();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .await
            .unwrap();
        let mut waiting = Box::pin(child.wait_with_output());
        assert!(poll_once(waiting.as_mut()).await.is_pending());
        drop(waiting);
        await_gone(id);
    });
}

fn not_killed_when_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn(&rt).unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let id = child.id();
        drop(child);
        stdin.write_all(b"on").await.unwrap();
        stdout.read_exact(&mut [0; 2]).await.unwrap();
        drop(stdin);
        assert_eq!(stdout.read(&mut [0]).await.unwrap(), 0);
        await_gone(id);
    });
}

fn a_cancelled_wait_loses_nothing<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut child = cat(&rt);
        let stdin = child.stdin.take();
        for _ in 0..3 {
            assert!(poll_once(pin!(child.wait())).await.is_pending());
        }
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
    });
}

fn many_at_a_time<R: Runtime>(rt: R) {
    run(&rt, async {
        let children = (0..20).map(|n| {
            let mut child = sh(&format!("exit {n}")).spawn(&rt).unwrap();
            rt.spawn(async move { child.wait().await.unwrap().code() })
        });
        let children: Vec<_> = children.collect();
        for (n, code) in (0..).zip(join_all(children).await) {
            assert_eq!(code.unwrap(), Some(n));
        }
    });
}

fn one_reads_what_the_other_writes<R: Runtime>(rt: R) {
    run(&rt, async {
        let mut one = sh("echo hello").stdout(Stdio::piped()).spawn(&rt).unwrap();
        let pipe = one.stdout.take().unwrap().into_std().unwrap();
        let mut other = Command::new("cat");
        let other = other.stdin(pipe).stdout(Stdio::piped()).spawn(&rt).unwrap();
        let (output, status) = join(other.wait_with_output(), one.wait()).await;
        assert_eq!(output.unwrap().stdout, b"hello\n");
        assert!(status.unwrap().success());
    });
}

fn what_cannot_be_started<R: Runtime>(rt: R) {
    let error = Command::new("/there/is/none").spawn(&rt).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

fn end<R: Runtime>(rt: &R) {
    let report = rt.shutdown(Duration::from_secs(60)).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn refused<T>(result: io::Result<T>) {
    let error = result.err().expect("it is refused");
    assert!(is_shutdown(&error), "{error}");
}

fn after_the_shutdown<R: Runtime>(rt: R) {
    let mut child = cat(&rt);
    let mut ended = sh("exit 7").spawn(&rt).unwrap();
    run(&rt, ended.wait()).unwrap();
    end(&rt);
    run(&any(), async {
        let stdin = child.stdin.take();
        refused(child.wait().await);
        refused(child.stdout.as_mut().unwrap().read(&mut [0]).await);
        refused(stdin.unwrap().write(b"x").await);
        refused(Command::new("true").spawn(&rt));
        refused(Command::new("true").status(&rt).await);
        // Operations without a reactor go on.
        assert_eq!(ended.wait().await.unwrap().code(), Some(7));
        child.kill().unwrap();
        await_ended(&mut child);
        let status = child.wait().await.unwrap();
        assert!(status.success() || status.signal() == Some(KILLED));
    });
}

fn those_who_wait_are_told<R: Runtime>(rt: R) {
    let mut child = cat(&rt);
    let _stdin = child.stdin.take();
    let ender = rt.clone();
    let gate = fourway_testing::Gate::default();
    let waiting = gate.clone();
    let ending = thread::spawn(move || {
        gate.wait();
        end(&ender);
    });
    run(&any(), async {
        let mut wait = pin!(child.wait());
        assert!(poll_once(wait.as_mut()).await.is_pending());
        waiting.open();
        refused(wait.await);
    });
    ending.join().unwrap();
}
