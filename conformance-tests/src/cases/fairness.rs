//! FA: fairness, idleness, and long runs.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Offload, Runtime, Spawner, Task, Timer, yield_now};

use super::{Case, table};
use crate::{
    setup::Setup,
    util::{Counter, Gate, Gauge, drive, eventually, must, must_not, on_threads, receive, stress},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    table![s;
        "FA-1.1", "pairs that wake each other cannot starve a third task",
        "Tokio tests it: a slot for the task woken last was a private lane", ping_pong;
        "FA-1.2", "tasks that yield all the time leave others their turn",
        "a queue served from the wrong end", yielders;
        "FA-1.3", "a chain of tasks that spawn their successors starves nobody",
        "new tasks are put first in many executors", spawn_chain;
        "FA-1.4", "a task that is woken by a busy one runs on another worker",
        "async-executor 102: an optimisation stranded tasks, and was removed twice",
        not_stranded, needs [MultiThreaded, SpreadsWakes];
        "FA-1.5", "500 tasks that are woken at once all run",
        "the queue grows past its usual size", thundering;
        "FA-1.6", "tasks spawned from outside get their turn beside busy ones",
        "a queue for outsiders that is looked at last, or never", from_outside;
        "FA-1.7", "a root that spins leaves the tasks their turn",
        "a runtime driven by its block_on shares the thread", spinning_root;
        "FA-1.8", "an idle runtime uses no CPU",
        "a spinning worker empties batteries", idle;
        "FA-1.9", "an idle runtime with pending tasks, timers and idle pool threads uses no CPU",
        "waiting must not be polling", idle_with_work;
        "FA-1.10", "no wake-up is lost in handshakes between a thread and a task",
        "tokio 525: the soak that found a lost wake-up", handshakes, stress;
        "FA-1.11", "no wake-up is lost among tasks, closures, timers and threads at once",
        "each alone is right; together they meet", mixed, stress;
        "FA-1.12", "thousands of spawns and joins leave nothing behind",
        "memory stays flat only if everything is destroyed", nothing_left, stress;
        "FA-1.13", "thousands of tasks that are cancelled all go",
        "the same on the other way out", cancelled_go, stress;
        "FA-1.14", "where tasks are declared to run on one thread, no two are polled at a time",
        "tasks that share what is never contended are why one chooses such a runtime",
        one_at_a_time, without [MultiThreaded];
        "FA-1.15", "a task that may wait for the one that woke or spawned it waits for that poll alone",
        "what is put aside for later is forgotten when the one who put it there has no more to do",
        waits_for_one_poll, without [SpreadsWakes];
    ]
}

const MS: Duration = Duration::from_millis(1);

/// Runs `n` tasks that keep the executor busy until the gate is opened.
fn busy<R: Runtime>(rt: &R, n: usize) -> (Gate, Vec<R::Task<()>>) {
    let stop = Gate::new();
    let tasks = (0..n)
        .map(|_| {
            let stop = stop.clone();
            rt.spawn(async move {
                while !stop.is_open() {
                    yield_now().await;
                }
            })
        })
        .collect();
    (stop, tasks)
}

fn join_all<R: Runtime>(rt: &R, tasks: Vec<R::Task<()>>) {
    rt.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Hands a turn to and fro between two tasks.
#[derive(Clone, Default)]
struct Turns(Arc<std::sync::Mutex<(usize, Option<std::task::Waker>)>>);

impl Turns {
    async fn take(&self, mine: usize) {
        std::future::poll_fn(|cx| {
            let mut turns = self.0.lock().expect("no panic");
            if turns.0 % 2 == mine {
                return std::task::Poll::Ready(());
            }
            turns.1 = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }

    fn pass(&self) {
        let mut turns = self.0.lock().expect("no panic");
        turns.0 += 1;
        let waker = turns.1.take();
        drop(turns);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn ping_pong<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let turns = Turns::default();
        for mine in [0, 1] {
            let (turns, stop) = (turns.clone(), stop.clone());
            tasks.push(rt.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    turns.take(mine).await;
                    turns.pass();
                }
                // Lets the other task end as well.
                turns.pass();
            }));
        }
    }
    let (turn, turns) = mpsc::channel();
    let third = rt.spawn(async move {
        for n in 0..50 {
            turn.send(n).expect("the case waits");
            yield_now().await;
        }
    });
    for n in 0..50 {
        assert_eq!(receive(&turns), n);
    }
    rt.block_on(third).unwrap();
    stop.store(true, Ordering::Relaxed);
    // The task that waits for its turn may find that the other has ended.
    drop(tasks);
}

fn yielders<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    let (stop, tasks) = busy(&rt, 20);
    for n in 0..50 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            yield_now().await;
            inner.spawn(async move { n }).await.unwrap()
        });
        assert_eq!(drive(task).unwrap(), n);
    }
    stop.open();
    join_all(&rt, tasks);
}

fn spawn_chain<S: Setup>(s: S) {
    fn link<R: Runtime>(rt: R, stop: Gate, done: Gate) {
        let again = rt.clone();
        let task = async move {
            if stop.is_open() {
                done.open();
            } else {
                link(again, stop, done);
            }
        };
        rt.spawn(task).detach();
    }
    let rt = s.build_with(|config| config.workers = 1);
    let (stop, done) = (Gate::new(), Gate::new());
    link(rt.clone(), stop.clone(), done.clone());
    for n in 0..20 {
        let task = rt.spawn(async move {
            yield_now().await;
            n
        });
        assert_eq!(drive(task).unwrap(), n);
    }
    stop.open();
    done.wait();
}

/// A task that waits, the gate that wakes it, and the gate that it then opens.
fn suspended<R: Runtime>(rt: &R) -> (R::Task<()>, Gate, Gate) {
    let (go, gate) = Gate::pair();
    let (waiting, waits) = Gate::pair();
    let (ran, opened) = Gate::pair();
    let task = rt.spawn(async move {
        waiting.open();
        gate.opened().await;
        opened.open();
    });
    waits.wait();
    (task, go, ran)
}

/// Opens `go` in this poll, or, every other round, in a new task.
fn open_or_spawn<R: Runtime>(rt: &R, go: Gate, round: usize) -> Option<R::Task<()>> {
    if round % 2 == 0 {
        go.open();
        None
    } else {
        Some(rt.spawn(async move { go.open() }))
    }
}

fn not_stranded<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 2);
    for round in 0..20 {
        let inner = rt.clone();
        let (woken, go, ran) = suspended(&rt);
        let task = rt.spawn(async move {
            // Woken or spawned by this task, which then does not yield: the other worker must take
            // it.
            let spawned = open_or_spawn(&inner, go, round);
            ran.wait();
            drop(spawned);
        });
        rt.block_on(task).unwrap();
        rt.block_on(woken).unwrap();
    }
}

fn thundering<S: Setup>(s: S) {
    let rt = s.build();
    // With a thread for each task this is many already.
    let n = 500;
    let (go, gate) = Gate::pair();
    let (waiting, ran) = (Counter::new(), Counter::new());
    let tasks: Vec<_> = (0..n)
        .map(|_| {
            let (gate, waiting, ran) = (gate.clone(), waiting.clone(), ran.clone());
            rt.spawn(async move {
                waiting.add();
                gate.opened().await;
                ran.add();
            })
        })
        .collect();
    eventually("all wait", || waiting.get() == n);
    go.open();
    join_all(&rt, tasks);
    assert_eq!(ran.get(), n);
}

fn from_outside<S: Setup>(s: S) {
    let rt = s.build();
    let (stop, tasks) = busy(&rt, 4);
    let inner = rt.clone();
    on_threads(4, move |_| {
        for n in 0..50 {
            assert_eq!(drive(inner.spawn(async move { n })).unwrap(), n);
        }
    });
    stop.open();
    join_all(&rt, tasks);
}

fn spinning_root<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 1);
    for n in 0..20 {
        let inner = rt.clone();
        let task = rt.spawn(async move {
            yield_now().await;
            inner.offload(move || n).await.unwrap()
        });
        rt.block_on(async {
            while !task.is_finished() {
                yield_now().await;
            }
            assert_eq!(task.await.unwrap(), n);
        });
    }
}

/// The time for which the threads have run or waited for a processor; `None` if the system does not
/// report it.
///
/// The waiting counts: otherwise, on a busy machine, a thread that polls all the time would look
/// idle while others run.
fn time_wanted(threads: &[String]) -> Option<Duration> {
    let mut sum = 0;
    for thread in threads {
        // A thread that has ended wants none.
        if let Ok(stat) = std::fs::read_to_string(format!("/proc/{thread}/schedstat")) {
            for time in stat.split_whitespace().take(2) {
                sum += time.parse::<u64>().ok()?;
            }
        }
    }
    Some(Duration::from_nanos(sum))
}

/// Does one of the threads run or wait for a processor now? The system counts a wait only
/// when it is over.
fn any_runnable(threads: &[String]) -> bool {
    threads.iter().any(|thread| {
        let stat = std::fs::read_to_string(format!("/proc/{thread}/stat"));
        // After the name, which is in brackets and may contain anything.
        stat.is_ok_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.trim_start().starts_with('R'))
        })
    })
}

/// The calling thread's number, in words for [`time_wanted`].
fn thread_number() -> Option<String> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    let number = link.to_str()?.to_owned();
    std::fs::metadata(format!("/proc/{number}/schedstat")).ok()?;
    Some(number)
}

/// Waits for a period in which the runtime's threads use almost no time.
fn assert_idle<R: Runtime>(rt: &R) {
    const LOOK: Duration = Duration::from_millis(100);
    // The runtime's threads, as far as they are visible.
    let mut threads: Vec<String> = Vec::new();
    for _ in 0..20 {
        let number = drive(rt.spawn(async { thread_number() })).unwrap();
        let pool = drive(rt.offload(thread_number)).unwrap();
        threads.extend(number);
        threads.extend(pool);
    }
    threads.sort();
    threads.dedup();
    if threads.is_empty() {
        // The system does not record it.
        return;
    }
    let start = Instant::now();
    while start.elapsed() < must() {
        let Some(before) = time_wanted(&threads) else {
            return;
        };
        let looked = Instant::now();
        thread::sleep(LOOK);
        let window = looked.elapsed();
        let Some(after) = time_wanted(&threads) else {
            return;
        };
        // A thread that polls all the time wants all of it.
        let wanted = after.saturating_sub(before);
        if wanted < window / 10 && !any_runnable(&threads) {
            return;
        }
    }
    panic!("its threads are never idle");
}

fn idle<S: Setup>(s: S) {
    let rt = s.build();
    assert_idle(&rt);
}

fn idle_with_work<S: Setup>(s: S) {
    let rt = s.build();
    let inner = rt.clone();
    let sleeping = rt.spawn(async move { inner.sleep(Duration::from_secs(3600)).await });
    let waiting = rt.spawn(pending::<()>());
    let (stop, gate) = Gate::pair();
    let inner = rt.clone();
    let root = thread::spawn(move || inner.block_on(gate.opened()));
    assert_idle(&rt);
    stop.open();
    eventually("the thread ends", || root.is_finished());
    assert!(drive(sleeping.cancel()).unwrap_err().is_cancelled());
    assert!(drive(waiting.cancel()).unwrap_err().is_cancelled());
}

fn handshakes<S: Setup>(s: S) {
    let rt = s.build();
    let (mut go, gate) = Gate::pair();
    let (answer, answers) = mpsc::channel();
    let (next, nexts) = mpsc::channel::<Option<Gate>>();
    let task = rt.spawn(async move {
        let mut gate = gate;
        for n in 0_u32.. {
            gate.opened().await;
            // Already there: the thread sends it before it opens the gate.
            match nexts.try_recv().expect("sent before") {
                Some(next) => gate = next,
                None => return,
            }
            answer.send(n).expect("the case waits");
        }
    });
    for (n, random) in (0_u32..).zip(stress(0)) {
        let (next_go, next_gate) = Gate::pair();
        next.send(Some(next_gate)).expect("the task waits");
        // The task is on its way to the gate, or waits there.
        for _ in 0..random % 512 {
            std::hint::spin_loop();
        }
        go.open();
        assert_eq!(receive(&answers), n);
        go = next_go;
    }
    next.send(None).expect("the task waits");
    go.open();
    rt.block_on(task).unwrap();
}

fn mixed<S: Setup>(s: S) {
    let rt = s.build_with(|config| {
        config.offload_limit = 4;
        config.keep_alive = MS;
    });
    on_threads(4, move |t| {
        for random in stress(t as u64) {
            let inner = rt.clone();
            let task = rt.spawn(async move {
                match random % 4 {
                    0 => inner.sleep(MS / 10).await,
                    1 => inner.offload(|| ()).await.unwrap(),
                    2 => {
                        let again = inner.clone();
                        let nested = move || again.block_on(again.spawn(yield_now()));
                        inner.offload(nested).await.unwrap().unwrap();
                    }
                    _ => {
                        let never = inner.spawn(pending::<()>());
                        assert!(never.cancel().await.is_err());
                        let late = inner.timeout(MS / 10, pending::<()>()).await;
                        assert!(late.is_err());
                    }
                }
                random
            });
            let seen = match random >> 8 & 3 {
                0 => rt.block_on(task).unwrap(),
                1 => drive(task).unwrap(),
                _ => drive(rt.spawn(task)).unwrap().unwrap(),
            };
            assert_eq!(seen, random);
        }
    });
}

fn nothing_left<S: Setup>(s: S) {
    let rt = s.build();
    let shared = Arc::new(());
    for _ in stress(0) {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let inside = shared.clone();
                rt.spawn(async move {
                    yield_now().await;
                    inside
                })
            })
            .collect();
        rt.block_on(async {
            for task in tasks {
                drop(task.await.unwrap());
            }
        });
    }
    // The joins came after all of it was destroyed.
    assert_eq!(Arc::strong_count(&shared), 1);
}

fn cancelled_go<S: Setup>(s: S) {
    let rt = s.build();
    let shared = Arc::new(());
    for _ in stress(0) {
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let inside = shared.clone();
                rt.spawn(async move {
                    let _inside = inside;
                    if n % 2 == 0 {
                        yield_now().await;
                    }
                    pending::<()>().await;
                })
            })
            .collect();
        drop(tasks);
        // A thread for each task: not too many of them at a time.
        eventually("all are destroyed", || Arc::strong_count(&shared) == 1);
    }
}

fn one_at_a_time<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 4);
    let inside = Gauge::default();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let inside = inside.clone();
            rt.spawn(async move {
                for _ in 0..2 {
                    {
                        let _inside = inside.enter();
                        // Time enough for another thread to come, if there is one.
                        let start = Instant::now();
                        while start.elapsed() < must_not() && inside.now() == 1 {
                            thread::sleep(MS);
                        }
                    }
                    yield_now().await;
                }
            })
        })
        .collect();
    // Blocked threads may drive the tasks, but only one at a time.
    let inner = rt.clone();
    let tasks = Arc::new(std::sync::Mutex::new(tasks));
    on_threads(2, move |_| {
        loop {
            let task = tasks.lock().expect("nothing panics under it").pop();
            match task {
                Some(task) => inner.block_on(task).unwrap(),
                None => break,
            }
        }
    });
    assert_eq!(inside.most(), 1, "tasks are polled at the same time");
}

fn waits_for_one_poll<S: Setup>(s: S) {
    let rt = s.build_with(|config| config.workers = 2);
    for round in 0..4 {
        let inner = rt.clone();
        let (woken, go, ran) = suspended(&rt);
        let (stop, stopped) = Gate::pair();
        let looks = ran.clone();
        let task = rt.spawn(async move {
            let spawned = open_or_spawn(&inner, go, round);
            // During this poll the other task may run or not. Then this task stays alive and idle.
            looks.wait_for(must_not());
            stopped.opened().await;
            drop(spawned);
        });
        ran.wait();
        stop.open();
        rt.block_on(task).unwrap();
        rt.block_on(woken).unwrap();
    }
}
