//! The costs of nurseries and tokens, side by side with Tokio's `JoinSet`, in one run.
//!
//! ```console
//! $ cargo run --release -p fourway-nursery --example nursery_cost
//! ```
//!
//! Prints the median of several rounds, taken in turns; and allocations, counted.
//!
//! One of them alone, in a task, so many children at a time and in all; for a profiler, or to have
//! its instructions counted. `by hand, Tokio` and `by hand, std-thread` are the floor: detached tasks
//! that count themselves, and are waited for until the last is destroyed. One allocation for the task,
//! one for the count; no failures, no cancellation, no context.
//!
//! ```console
//! $ valgrind --tool=callgrind target/release/examples/nursery_cost "nursery on Tokio" 1 20000
//! ```

use std::{
    alloc::{GlobalAlloc, Layout, System},
    env,
    future::poll_fn,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use fourway_core::{
    BlockOn, Runtime,
    cancel::{self, CancellationToken},
    task::Metadata,
};
use fourway_nursery::{Nursery, nursery, sync_nursery};
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Done = Result<(), std::convert::Infallible>;

fn main() {
    let tokio = Tokio::builder().worker_threads(2).build().expect("threads");
    let std_thread = StdThread::builder()
        .worker_threads(2)
        .build()
        .expect("threads");
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [name, children, times] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        return alone(name, number(children), number(times), &tokio, &std_thread);
    }
    println!("children: ns and allocations per child; a ratio to JoinSet's");
    for count in [1_u32, 100, 100_000] {
        let rounds = if count > 1000 { 7 } else { 501 };
        let mut all: Vec<(&str, Vec<Duration>, u64)> = [
            "JoinSet",
            "nursery on Tokio",
            "nursery on std-thread",
            "the same, no context",
            "with handles",
        ]
        .map(|name| (name, Vec::new(), 0))
        .into();
        for _ in 0..rounds {
            measure(&mut all[0], || tokio.block_on(join_set(count)));
            measure(&mut all[1], || {
                tokio.block_on(children(&tokio, count, true))
            });
            measure(&mut all[2], || {
                std_thread.block_on(children(&std_thread, count, true))
            });
            measure(&mut all[3], || {
                std_thread.block_on(children(&std_thread, count, false))
            });
            measure(&mut all[4], || {
                std_thread.block_on(handles(&std_thread, count))
            });
        }
        let base = median(&mut all[0].1);
        for (name, times, allocations) in &mut all {
            let time = median(times);
            let per = |n: f64| n / f64::from(count);
            println!(
                "{count:>7} {name:<24} {:>9.0} ns {:>7.2} allocations {:>6.2}x",
                per(time.as_nanos() as f64),
                per(*allocations as f64 / f64::from(rounds)),
                time.as_secs_f64() / base.as_secs_f64()
            );
        }
    }
    println!("threads: 8 that do nothing");
    let mut all = [
        ("std::thread::scope", Vec::new(), 0),
        ("sync_nursery", Vec::new(), 0),
    ];
    for _ in 0..101 {
        measure(&mut all[0], || {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| black_box(1));
                }
            });
        });
        measure(&mut all[1], || {
            let result: Result<(), fourway_nursery::NurseryError<()>> =
                sync_nursery(&std_thread, |n| {
                    for _ in 0..8 {
                        n.spawn(|| Ok(black_box(1)));
                    }
                    Ok(())
                });
            result.expect("nothing fails");
        });
    }
    for (name, times, _) in &mut all {
        println!(
            "        {name:<24} {:>9.1} us",
            median(times).as_secs_f64() * 1e6
        );
    }
    println!("a look at a token");
    let token = CancellationToken::new();
    let deadline = token.child_with_timeout(&tokio, Duration::from_secs(3600));
    look("check()", || token.check().is_ok());
    look("check(), with a deadline", || deadline.check().is_ok());
    token.scope(|| {
        look("cancel::check(), the current one", || {
            cancel::check().is_ok()
        })
    });
    deadline.scope(|| look("the same, with a deadline", || cancel::check().is_ok()));
}

fn alone(name: &str, count: u32, times: u32, tokio: &Tokio, std_thread: &StdThread) {
    let mut ran = (name, Vec::new(), 0);
    measure(&mut ran, || match name {
        "JoinSet" => in_a_task(tokio, times / count, move |_| join_set(count)),
        "nursery on Tokio" => in_a_task(tokio, times / count, move |rt| nursed(rt, count)),
        "nursery on std-thread" => {
            in_a_task(std_thread, times / count, move |rt| nursed(rt, count));
        }
        "by hand, Tokio" => in_a_task(tokio, times / count, move |rt| by_hand(rt, count)),
        "by hand, std-thread" => {
            in_a_task(std_thread, times / count, move |rt| by_hand(rt, count));
        }
        name => panic!("no contender of the name {name:?}"),
    });
    println!(
        "{name}: {:.0} ns, {:.2} allocations for a child",
        ran.1[0].as_nanos() as f64 / f64::from(times),
        ran.2 as f64 / f64::from(times)
    );
}

fn in_a_task<R: Runtime, F>(rt: &R, times: u32, f: impl Fn(R) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let inner = rt.clone();
    let task = rt.spawn(async move {
        for _ in 0..times {
            f(inner.clone()).await;
        }
    });
    rt.block_on(task).expect("no panic");
}

/// The floor under a nursery: the least that waits for the destructors of what it has spawned.
async fn by_hand<R: Runtime>(rt: R, count: u32) {
    let all = Arc::new(All {
        // Those that are there, and the one that spawns them.
        members: AtomicU64::new(1),
        waiting: Mutex::new(None),
    });
    for _ in 0..count {
        all.members.fetch_add(1, Ordering::Relaxed);
        let member = Member(all.clone());
        let child = async { Done::Ok(()) };
        rt.spawn_detached_with(Metadata::caller(), async move {
            let _member = member;
            let _ = child.await;
        });
    }
    if all.members.fetch_sub(1, Ordering::AcqRel) == 1 {
        return;
    }
    poll_fn(|cx| {
        let mut waiting = all.waiting.lock().expect("no panic");
        // Pairs with the Release of the last member, which takes the lock afterwards.
        if all.members.load(Ordering::Acquire) == 0 {
            return Poll::Ready(());
        }
        *waiting = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

struct All {
    members: AtomicU64,
    waiting: Mutex<Option<Waker>>,
}

struct Member(Arc<All>);

impl Drop for Member {
    fn drop(&mut self) {
        if self.0.members.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiting = self.0.waiting.lock().expect("no panic").take();
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

async fn nursed<R: Runtime>(rt: R, count: u32) {
    children(&rt, count, true).await;
}

async fn join_set(count: u32) {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        set.spawn(async { Done::Ok(()) });
    }
    while let Some(result) = set.join_next().await {
        let _ = result.expect("no panic");
    }
}

async fn children<R: Runtime>(rt: &R, count: u32, context: bool) {
    let result = nursery(rt, async |n| {
        let without;
        let n = if context {
            n
        } else {
            without = n.without_context();
            &without
        };
        for _ in 0..count {
            n.spawn(async { Done::Ok(()) });
        }
        Ok(())
    });
    result.await.expect("nothing fails");
}

async fn handles<R: Runtime>(rt: &R, count: u32) {
    let result = Nursery::builder(rt).run(async |n| {
        for _ in 0..count {
            drop(n.spawn_handle(async { Done::Ok(()) }));
        }
        Ok(())
    });
    result.await.expect("nothing fails");
}

fn measure((_, times, allocations): &mut (&str, Vec<Duration>, u64), f: impl FnOnce()) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    f();
    times.push(start.elapsed());
    *allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn look(name: &str, f: impl Fn() -> bool) {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..100_000 {
            assert!(black_box(f()));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / 100_000.0);
    }
    println!("        {name:<34} {best:>6.1} ns");
}
