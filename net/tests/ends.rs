//! Sockets that are dropped at the end of a process: by destructors of thread-locals, after `main`
//! has returned, or never. The process neither hangs nor aborts (NE-4, sockets and the lives of
//! runtimes). This program runs itself again as a process for each way.

use std::{
    cell::RefCell,
    env,
    future::Future,
    mem,
    pin::Pin,
    process::{Child, Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
};

use fourway_core::{AnyRuntime, BlockOn, Offload, Shutdown, Spawner};
use fourway_net::Net;
use fourway_net_acceptance::addresses::Silent;
use fourway_testing::{AGES, eventually, poll_once, run, runtimes};
use futures_util::{AsyncReadExt, future::join};

/// A title, whether everything is dropped, and what the process does before `main` returns.
type Way = (&'static str, Dropped, fn(AnyRuntime));

const WAYS: &[Way] = &[
    ("a thread-local", Dropped::Yes, thread_local_of_a_thread),
    ("main's, runtime there", Dropped::Yes, mains_with_runtime),
    ("main's, runtime gone", Dropped::Yes, mains_without_runtime),
    ("a worker's", Dropped::IfItEnds, thread_local_of_a_worker),
    (
        "a pool thread's",
        Dropped::IfItEnds,
        thread_local_of_the_pool,
    ),
    ("a static", Dropped::No, a_static),
    ("at exit, runtime there", Dropped::Yes, at_exit_with_runtime),
    (
        "at exit, runtime gone",
        Dropped::Yes,
        at_exit_without_runtime,
    ),
    ("a task, runtime there", Dropped::No, a_task_that_waits),
    (
        "a task, runtime gone",
        Dropped::IfItEnds,
        a_task_without_runtime,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Yes,
    No,
    /// If the runtime can be shut down; the child reports that.
    IfItEnds,
}

/// The variable that tells the child its runtime and its way.
const WHICH: &str = "FOURWAY_NET_ENDS";

const IS_DROPPED: &str = "all is dropped\n";
const HAS_ENDED: &str = "the runtime has ended\n";

fn main() -> ExitCode {
    if let Ok(which) = env::var(WHICH) {
        let (runtime, way) = which.split_once(' ').expect("two numbers");
        let runtime = runtimes().swap_remove(runtime.parse().unwrap()).1;
        (WAYS[way.parse::<usize>().unwrap()].2)(runtime);
        // The remaining values are dropped after this.
        return ExitCode::SUCCESS;
    }
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    for (at, (name, runtime)) in runtimes().into_iter().enumerate() {
        drop(runtime);
        for (way, (title, dropped, _)) in WAYS.iter().enumerate() {
            println!("{name}: {title}");
            ends(&format!("{at} {way}"), *dropped);
        }
    }
    ExitCode::SUCCESS
}

/// Kills the process if it does not end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends(which: &str, dropped: Dropped) {
    let child = Command::new(env::current_exe().unwrap())
        .env(WHICH, which)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = Mutex::new(Killed(child.unwrap()));
    // The process writes less than a pipe holds.
    eventually("the process ends", || {
        child.lock().unwrap().0.try_wait().unwrap().is_some()
    });
    let mut child = child.into_inner().unwrap();
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        pipe.unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let said = read(child.0.stdout.as_mut().map(|it| it as _));
    let errors = read(child.0.stderr.as_mut().map(|it| it as _));
    let status = child.0.wait().unwrap();
    assert!(
        status.success() && errors.is_empty(),
        "{status}: {said}{errors}"
    );
    let is_to_be = match dropped {
        Dropped::Yes => true,
        Dropped::No => false,
        Dropped::IfItEnds if said.contains(HAS_ENDED) => true,
        // The thread with the sockets may have ended, or not.
        Dropped::IfItEnds => return,
    };
    assert_eq!(said.contains(IS_DROPPED), is_to_be, "{said:?}");
}

/// A socket of each kind, and futures that wait for sockets.
struct Everything {
    _idle: Box<dyn Send>,
    waiting: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    // The last field, so it is dropped after all others.
    _told: Told,
}

struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        say(IS_DROPPED);
    }
}

/// Does not use `std`'s output, as its thread-locals may be gone by then.
fn say(text: &str) {
    // SAFETY: the pointer and the length are those of `text`, so all bytes are readable.
    let written = unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    assert_eq!(usize::try_from(written), Ok(text.len()));
}

fn everything(rt: &AnyRuntime) -> Everything {
    run(rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pair = async || {
            let (a, b) = join(rt.connect_tcp(address).into_future(), listener.accept()).await;
            (a.unwrap(), b.unwrap().0)
        };
        let (a, (mut b, c)) = (pair().await, pair().await);
        let datagrams = rt.bind_udp("127.0.0.1:0").await.unwrap();
        let silent = Silent::new();
        let connect = rt.connect_tcp(silent.address()).into_future();
        let mut waiting: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
            Box::pin(async move { drop(b.read(&mut [0]).await) }),
            Box::pin(async move { drop(connect.await) }),
            Box::pin(async move { drop(listener.accept().await) }),
        ];
        for waits in &mut waiting {
            assert!(poll_once(waits.as_mut()).await.is_pending());
        }
        Everything {
            _idle: Box::new((a, c, datagrams, silent)),
            waiting,
            _told: Told,
        }
    })
}

thread_local! {
    static LOCAL: RefCell<Option<Everything>> = const { RefCell::new(None) };
}

static STATIC: Mutex<Option<Everything>> = Mutex::new(None);

fn keep_here(everything: Everything) {
    LOCAL.with_borrow_mut(|local| *local = Some(everything));
}

fn keep_for_ever(everything: Everything) {
    *STATIC.lock().unwrap() = Some(everything);
}

fn thread_local_of_a_thread(rt: AnyRuntime) {
    let everything = everything(&rt);
    let thread = thread::spawn(|| keep_here(everything));
    thread.join().unwrap();
}

/// Keeps the runtime until the process ends: its sockets are dropped while it is there, and no
/// destructor of it runs.
fn outlive_main(rt: AnyRuntime) {
    mem::forget(rt);
}

fn mains_with_runtime(rt: AnyRuntime) {
    keep_here(everything(&rt));
    outlive_main(rt);
}

fn mains_without_runtime(rt: AnyRuntime) {
    keep_here(everything(&rt));
    end(rt);
}

fn thread_local_of_a_worker(rt: AnyRuntime) {
    let everything = everything(&rt);
    let task = rt.spawn(async move { keep_here(everything) });
    rt.block_on(task).unwrap();
    end(rt);
}

fn thread_local_of_the_pool(rt: AnyRuntime) {
    let everything = everything(&rt);
    let call = rt.offload(move || keep_here(everything));
    rt.block_on(call).unwrap();
    end(rt);
}

fn a_static(rt: AnyRuntime) {
    keep_for_ever(everything(&rt));
    outlive_main(rt);
}

fn at_exit_with_runtime(rt: AnyRuntime) {
    keep_for_ever(everything(&rt));
    drop_at_exit();
    outlive_main(rt);
}

fn at_exit_without_runtime(rt: AnyRuntime) {
    keep_for_ever(everything(&rt));
    drop_at_exit();
    end(rt);
}

fn a_task_that_waits(rt: AnyRuntime) {
    spawn_all(&rt);
    outlive_main(rt);
}

fn a_task_without_runtime(rt: AnyRuntime) {
    spawn_all(&rt);
    end(rt);
}

fn spawn_all(rt: &AnyRuntime) {
    let mut everything = everything(rt);
    rt.spawn_detached(async move {
        let waiting = mem::take(&mut everything.waiting);
        futures_util::future::join_all(waiting).await;
        drop(everything);
    });
}

/// Shuts the runtime down before `main` returns, if possible.
fn end(rt: AnyRuntime) {
    if rt.shutdown(AGES).is_ok() {
        say(HAS_ENDED);
    }
}

fn drop_at_exit() {
    extern "C" fn drop_them() {
        let them = STATIC.lock().unwrap().take();
        drop(them);
    }
    // SAFETY: the function exists as long as the process.
    let registered = unsafe { libc::atexit(drop_them) };
    assert_eq!(registered, 0);
}
