//! Building, dropping, shutting down.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fourway_adapt::{
    ThreadGroup,
    fork::Process,
    pool::{PoolBuilder, StdThreads, Threads, Worker},
    timer::Timers,
};
use fourway_conformance::Config;
use fourway_core::{
    AnyRuntime, RuntimeStatus, Shutdown, ShutdownError, ShutdownReport,
    context::{self, Context as Code},
    implement,
};

use crate::{
    bugs::{self, Bug},
    odd::{self, Odd},
};

use super::{Broken, Inner, Shared, enter, lock, spawn::count};

impl Broken {
    pub(crate) fn build(config: &Config) -> Self {
        let bug = bugs::bug();
        match bug {
            Bug::BuildRefusedInside => assert!(
                context::current() == Code::Sync,
                "cannot start a runtime from within a runtime"
            ),
            Bug::RuntimeTableFull => assert!(count() <= 50, "no room for another runtime"),
            _ => {}
        }
        let inner = Arc::new(Inner {
            bug,
            process: Process::this(),
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            threads: ThreadGroup::new(),
            all: OnceLock::new(),
        });
        let home: Arc<OnceLock<Weak<Shared>>> = Arc::default();
        let registration = implement::register({
            let home = home.clone();
            move || {
                let shared = home.get()?.upgrade()?;
                let first = false;
                Some(AnyRuntime::new(Self { shared, first }))
            }
        });
        let limit = match bug {
            Bug::LimitIgnored => config.offload_limit + 1,
            Bug::LimitOneShort => config.offload_limit.saturating_sub(1).max(1),
            _ => config.offload_limit,
        };
        let bound = match bug {
            Bug::HiddenQueueLimit => Some(config.offload_queue.unwrap_or(1000)),
            _ => config.offload_queue,
        };
        let keep_alive = match bug {
            Bug::IdleThreadsNeverEnd => Duration::from_secs(3600),
            _ => config.keep_alive,
        };
        let mut pool = PoolBuilder::default();
        if odd::is(Odd::EagerPool) {
            pool = pool.eager(32);
        } else if odd::is(Odd::StingyPool) {
            pool = pool.eager(1);
        }
        let pool = pool
            .limit(limit)
            .queue_bound(bound)
            .keep_alive(keep_alive)
            .runtime(Some(registration.id()));
        let pool = match config.foreign_threads {
            Some(threads) if bug == Bug::FullSourceHangs => pool.build(Foreign::new(threads)),
            _ if bug == Bug::PoolThreadsNotJoined => pool.build(Unjoined),
            _ => pool.build(StdThreads::new("broken-offload")),
        };
        let pool = pool.expect("a valid config");
        let workers = match config.workers {
            _ if odd::is(Odd::OneWorker) => 1,
            n if odd::is(Odd::ManyWorkers) => 2 * n + 1,
            n => n,
        };
        let dead = bug == Bug::ForkedBuildDead && Process::this().is_forked();
        for _ in 0..if dead { 0 } else { workers } {
            inner.start_worker();
        }
        if bug == Bug::ForkedPipeShared {
            listen_to_children(&inner);
        }
        if odd::is(Odd::TickingWorkers) {
            let ticking = Arc::downgrade(&inner);
            let life = move || {
                loop {
                    thread::sleep(Duration::from_millis(2));
                    match ticking.upgrade() {
                        Some(inner) if !lock(&inner.state).closed => inner.work.notify_all(),
                        _ => return,
                    }
                }
            };
            let started = (inner.threads).spawn(String::from("ticking"), None, life);
            started.expect("a thread");
        }
        let shared = Arc::new(Shared {
            inner,
            pool,
            timers: Timers::new("broken-timer"),
            registration,
            builder: thread::current().id(),
            keep_alive: config.keep_alive,
        });
        if bug != Bug::CurrentUnknown {
            let _ = home.set(Arc::downgrade(&shared));
        }
        Self {
            shared,
            first: true,
        }
    }
}

/// For [`Bug::FullSourceHangs`]: a foreign pool, which is wrongly expected never to be late.
struct Foreign(Arc<Mutex<Waiting>>);

struct Waiting {
    threads_left: usize,
    queue: VecDeque<Worker>,
}

impl Foreign {
    fn new(threads: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            threads_left: threads,
            queue: VecDeque::new(),
        })))
    }
}

impl Threads for Foreign {
    fn start(&self, worker: Worker) -> io::Result<()> {
        let mut waiting = lock(&self.0);
        if waiting.threads_left == 0 {
            waiting.queue.push_back(worker);
            return Ok(());
        }
        waiting.threads_left -= 1;
        let shared = self.0.clone();
        let run = move || {
            let mut next = Some(worker);
            while let Some(worker) = next {
                worker.run();
                let mut waiting = lock(&shared);
                next = waiting.queue.pop_front();
                if next.is_none() {
                    waiting.threads_left += 1;
                }
            }
        };
        thread::Builder::new().spawn(run).map(drop)
    }

    fn may_be_late(&self) -> bool {
        false
    }
}

/// For [`Bug::PoolThreadsNotJoined`].
struct Unjoined;

impl Threads for Unjoined {
    fn start(&self, worker: Worker) -> io::Result<()> {
        thread::Builder::new().spawn(|| worker.run()).map(drop)
    }

    fn start_extra(&self, worker: Worker) -> io::Result<()> {
        self.start(worker)
    }

    fn may_be_late(&self) -> bool {
        false
    }
}

/// For [`Bug::ForkedPipeShared`]: the pipe that children write to and the parent reads.
static PIPE: Mutex<Option<TcpStream>> = Mutex::new(None);

fn listen_to_children(inner: &Arc<Inner>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let writer = TcpStream::connect(address).expect("a connection");
    let (mut reader, _) = listener.accept().expect("a connection");
    *lock(&PIPE) = Some(writer);
    let inner = Arc::downgrade(inner);
    thread::spawn(move || {
        if matches!(reader.read(&mut [0]), Ok(1)) {
            if let Some(inner) = inner.upgrade() {
                inner.close();
            }
        }
    });
}

pub(super) fn tell_parent() {
    if let Some(pipe) = lock(&PIPE).as_mut() {
        let _ = pipe.write_all(&[1]);
    }
}

impl Broken {
    /// Is this a forked child of the runtime's process?
    pub(super) fn is_inherited(&self) -> bool {
        !self.shared.inner.process.is_this()
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.is_inherited() {
            if self.shared.inner.is(Bug::ForkedDropDestroys) {
                self.shared.inner.close();
                self.shared.inner.drain();
            }
            // It belongs to the parent, with all its locks.
            std::mem::forget(self.shared.clone());
            return;
        }
        let inner = &self.shared.inner;
        match inner.bug {
            Bug::FirstHandleOwns if self.first => inner.close(),
            Bug::DestroyUnderRuntimeLock => drop(lock(&inner.state)),
            Bug::DropCollides => {
                static INSIDE: AtomicUsize = AtomicUsize::new(0);
                let others = INSIDE.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(200));
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                assert!(others == 0 || thread::panicking(), "two are the last");
            }
            _ => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        enter(self.inner.bug);
        match self.inner.bug {
            Bug::DropWaitsForPool => {
                self.inner.close();
                self.pool.close();
                // Also for the calling one, for which `wait_ended` does not wait.
                while self.pool.status().threads > 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Bug::DropInAsyncPanics if context::current() == Code::Async => {
                self.inner.close();
                if !thread::panicking() {
                    panic!("cannot drop a runtime in a context where blocking is not allowed");
                }
            }
            Bug::DropWaits => {
                self.inner.close();
                let mut state = lock(&self.inner.state);
                while state.workers > 0 {
                    state = self
                        .inner
                        .ended
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
            Bug::NeverEnds => {}
            _ => self.inner.close(),
        }
    }
}

impl Shutdown for Broken {
    fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, ShutdownError> {
        let inner = &self.shared.inner;
        if !inner.is(Bug::ShutdownInAsync) {
            implement::check_may_block().map_err(|_| ShutdownError::in_async())?;
        }
        if self.is_inherited() && !inner.is(Bug::ForkedShutdownWaits) {
            return Ok(ShutdownReport::default());
        }
        let deadline = match inner.bug {
            Bug::ShutdownOverflows => Some(Instant::now() + timeout),
            _ => Instant::now().checked_add(timeout),
        };
        let again = std::mem::replace(&mut lock(&inner.state).shut, true);
        assert!(
            !(again && inner.is(Bug::SecondShutdownPanics)),
            "shut down already"
        );
        if !inner.is(Bug::QueuedClosuresRunAtShutdown) && !inner.is(Bug::PoolNeverCloses) {
            self.shared.pool.close();
        }
        inner.close();
        self.shared.timers.close();
        if !matches!(
            inner.bug,
            Bug::ShutdownLeavesFutures | Bug::JoinHangsAfterShutdown | Bug::FinishesQueueAtShutdown
        ) {
            inner.drain();
        }
        let mut report = ShutdownReport::default();
        if inner.is(Bug::ReportAlwaysClean) {
            return Ok(report);
        }
        let mut state = lock(&inner.state);
        while state.workers > 0 {
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break;
            }
            state = inner
                .ended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        report.tasks_running = state.polling;
        report.threads_running = state.workers;
        drop(state);
        let early = match inner.bug {
            Bug::SecondShutdownEarly => again,
            Bug::ThreadsNotJoined => true,
            _ => false,
        };
        if report.threads_running == 0 && !early {
            inner.threads.join();
        }
        let unwaited = timeout.is_zero() && inner.is(Bug::ReapedOnlyByShutdown);
        if report.threads_running == 0 && !unwaited {
            inner.reap();
        }
        if inner.is(Bug::PoolNeverCloses) {
            return Ok(report);
        }
        let pool = self.shared.pool.wait_ended(deadline);
        if inner.is(Bug::QueuedClosuresRunAtShutdown) {
            self.shared.pool.close();
        }
        let timers = &self.shared.timers;
        if inner.is(Bug::ShutdownWaitsForWakers) || timers.wait_ended(deadline) {
            timers.join();
        } else {
            report.threads_running += 1;
        }
        report.closures_running = pool.running + pool.lent;
        report.closures_dropped = pool.dropped;
        report.threads_running += pool.threads;
        Ok(report)
    }

    fn is_shutdown(&self) -> bool {
        match self.shared.inner.bug {
            Bug::ShutdownUnseen => false,
            _ if self.is_inherited() => true,
            _ => lock(&self.shared.inner.state).shut,
        }
    }

    fn status(&self) -> RuntimeStatus {
        let mut status = RuntimeStatus::default();
        if !self.shared.inner.is(Bug::StatusEmpty) {
            status.pool = self.shared.pool.status();
        }
        status
    }
}
