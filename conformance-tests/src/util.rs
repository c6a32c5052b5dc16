//! Common tools of the cases: handshakes, deadlines and counters.
//!
//! Cases wait for events, never for a time. An event that *must* happen has a generous deadline
//! ([`must`]) and fails loudly. For an event that must *not* happen, a case watches for a short
//! time ([`must_not`]), after a handshake that makes the wrong result likely to show.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_core::{BlockOn, Runtime, Task};

/// How long an event that must happen may take. Only a failing case reaches it.
pub(crate) fn must() -> Duration {
    Duration::from_millis(MUST.load(Ordering::Relaxed))
}

/// How long a case watches for an event that must not happen.
pub(crate) fn must_not() -> Duration {
    Duration::from_millis(MUST_NOT.load(Ordering::Relaxed))
}

// Milliseconds. Relaxed: written before the cases of a process begin.
static MUST: AtomicU64 = AtomicU64::new(30_000);
static MUST_NOT: AtomicU64 = AtomicU64::new(50);

/// For the runner, before a case begins.
pub(crate) fn set_limits(must: u64, must_not: u64) {
    MUST.store(must, Ordering::Relaxed);
    MUST_NOT.store(must_not, Ordering::Relaxed);
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < must(), "did not happen in time: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Watches for [`MUST_NOT`], and fails if `condition` ever holds.
#[track_caller]
pub(crate) fn never(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < must_not() {
        assert!(!condition(), "must not happen: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Runs `f` on a plain thread and gives its result, or fails if that takes too long. Panics
/// continue in the caller.
#[track_caller]
pub(crate) fn on_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    eventually("a thread ends", || thread.is_finished());
    match thread.join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Opened once; waited for from sync code or async code, any number of times.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    state: Mutex<(bool, Vec<Waker>)>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Two handles on one gate.
    pub(crate) fn pair() -> (Self, Self) {
        let gate = Self::new();
        (gate.clone(), gate)
    }

    pub(crate) fn open(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.0.opened.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Blocks the thread until the gate is open.
    #[track_caller]
    pub(crate) fn wait(&self) {
        assert!(self.wait_for(must()), "a gate was not opened in time");
    }

    /// Blocks the thread until the gate is open or the time is over.
    pub(crate) fn wait_for(&self, time: Duration) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .0
            .opened
            .wait_timeout_while(state, time, |(open, _)| !*open)
            .unwrap_or_else(PoisonError::into_inner);
        state.0
    }

    /// Waits in async code, with a waker and no polling.
    pub(crate) async fn opened(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.1.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Counts. Clones count together.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A value that counts when it is dropped.
    pub(crate) fn on_drop(&self) -> OnDrop<impl FnMut() + Send + 'static> {
        let counter = self.clone();
        OnDrop(move || {
            counter.add();
        })
    }
}

/// Calls a closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A handwritten future with its own destructor: `on_drop` lives as long as the future, unlike the
/// locals of an async block, which are gone when it is ready.
pub(crate) struct HandMade<P, D> {
    pub(crate) poll: P,
    #[allow(dead_code, reason = "it is there to be dropped")]
    pub(crate) on_drop: D,
}

impl<P, D, T> Future for HandMade<P, D>
where
    P: FnMut(&mut Context<'_>) -> Poll<T> + Unpin,
    D: Unpin,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        (self.poll)(cx)
    }
}

/// A waker that counts, and may call a closure.
pub(crate) struct CountingWaker {
    pub(crate) wakes: Counter,
    action: Option<Box<dyn Fn() + Send + Sync>>,
}

impl CountingWaker {
    #[allow(
        clippy::new_ret_no_self,
        reason = "what is wanted of it is a waker and its count"
    )]
    pub(crate) fn new() -> (Waker, Counter) {
        let wakes = Counter::new();
        let waker = Waker::from(Arc::new(Self {
            wakes: wakes.clone(),
            action: None,
        }));
        (waker, wakes)
    }

    pub(crate) fn with(action: impl Fn() + Send + Sync + 'static) -> (Waker, Counter) {
        let wakes = Counter::new();
        let waker = Waker::from(Arc::new(Self {
            wakes: wakes.clone(),
            action: Some(Box::new(action)),
        }));
        (waker, wakes)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.add();
        if let Some(action) = &self.action {
            action();
        }
    }
}

/// Drives a future on a plain thread without a runtime, so that a case can watch joins outside of
/// the runtime under test.
#[track_caller]
pub(crate) fn drive<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(unpark.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // Only a wake leads to another poll: a lost wake must not go unnoticed.
        while !unpark.1.swap(false, Ordering::SeqCst) {
            assert!(start.elapsed() < must(), "a future was not ready in time");
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// Runs `f` on `n` plain threads at a time and gives the results in order.
#[track_caller]
pub(crate) fn on_threads<T: Send + 'static>(
    n: usize,
    f: impl Fn(usize) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let threads: Vec<_> = (0..n)
        .map(|i| {
            let f = f.clone();
            thread::spawn(move || f(i))
        })
        .collect();
    eventually("all threads end", || {
        threads.iter().all(thread::JoinHandle::is_finished)
    });
    threads
        .into_iter()
        .map(|thread| match thread.join() {
            Ok(value) => value,
            Err(payload) => std::panic::resume_unwind(payload),
        })
        .collect()
}

/// Receives a message that must come.
#[track_caller]
pub(crate) fn receive<T>(from: &mpsc::Receiver<T>) -> T {
    match from.recv_timeout(must()) {
        Ok(message) => message,
        Err(error) => panic!("a message that must come did not: {error}"),
    }
}

/// Polls a future once, by hand.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Panics without calling the panic hook, for cases that do not test it.
pub(crate) fn panic_quietly(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// The text of a panic, and the place that the panic hook got.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// Runs `f`, which must panic on this thread, and gives the panic.
#[track_caller]
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Caught {
    install_hook();
    let before = WATCHING.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    WATCHING.set(before);
    assert!(result.is_err(), "it must panic");
    SEEN.take().expect("the panic hook saw the panic")
}

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// The prefix of every marker.
const MARKER: &str = "fourway-marker-";

/// Panics with a marker that the hook has seen, and their threads.
static MARKED: Mutex<Vec<(String, ThreadId)>> = Mutex::new(Vec::new());

/// The process-wide panic hook, which concurrent cases share: it distinguishes panics by thread
/// (for [`caught`]) and by text (for [`HookWatch`]).
fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let text = text.unwrap_or_default();
            if text.starts_with(MARKER) {
                let mut marked = MARKED.lock().unwrap_or_else(PoisonError::into_inner);
                marked.push((text.to_owned(), thread::current().id()));
                return;
            }
            if !WATCHING.get() {
                return other(info);
            }
            SEEN.set(info.location().map(|location| Caught {
                message: text.to_owned(),
                file: location.file().to_owned(),
                line: location.line(),
            }));
        }));
    });
}

/// Watches the panic hook for panics with its own text.
#[derive(Clone)]
pub(crate) struct HookWatch(String);

impl HookWatch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        install_hook();
        // Relaxed: only uniqueness matters.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{MARKER}{n}"))
    }

    /// Panics, with the panic hook.
    pub(crate) fn panic(&self) -> ! {
        std::panic::panic_any(self.0.clone())
    }

    /// The text that it panics with.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The threads on which the hook saw such a panic, one for each time.
    pub(crate) fn seen(&self) -> Vec<ThreadId> {
        let marked = MARKED.lock().unwrap_or_else(PoisonError::into_inner);
        let own = marked.iter().filter(|(text, _)| *text == self.0);
        own.map(|(_, thread)| *thread).collect()
    }
}

/// How a runtime answers when it is asked to block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It blocked.
    Ran,
    /// It refused, as nested, without polling the future.
    Refused,
    /// Anything else.
    Wrong(String),
}

/// Asks `rt` to block on the calling thread.
pub(crate) fn ask(rt: &impl BlockOn) -> Answer {
    let polls = Counter::new();
    let future = {
        let polls = polls.clone();
        std::future::poll_fn(move |_| {
            polls.add();
            Poll::Ready(())
        })
    };
    match rt.try_block_on(future) {
        Ok(()) => Answer::Ran,
        Err(error) if polls.get() > 0 => Answer::Wrong(format!("polled, then {error:?}")),
        Err(error) if error.is_nested() => Answer::Refused,
        Err(error) => Answer::Wrong(format!("{error:?}")),
    }
}

/// The simplest executor, used as "another runtime".
#[derive(Clone, Debug)]
pub(crate) struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || adapt::run(future));
    }
}

/// A runtime that is not the one under test.
pub(crate) fn other_runtime() -> Adapter<ThreadEach> {
    Adapter::new(ThreadEach)
}

/// The threads on which an event was seen. Clones share one set.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Mutex<HashSet<ThreadId>>>);

impl Threads {
    /// Adds the calling thread.
    pub(crate) fn note(&self) {
        self.lock().insert(thread::current().id());
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn share_any(&self, other: &Self) -> bool {
        let other = other.lock().clone();
        !self.lock().is_disjoint(&other)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<ThreadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts how many are inside at a time, and the maximum.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    /// Inside until the guard is dropped.
    pub(crate) fn enter(&self) -> OnDrop<impl FnMut() + Send + use<>> {
        let inside = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(inside, Ordering::SeqCst);
        let gauge = self.0.clone();
        OnDrop(move || {
            gauge.0.fetch_sub(1, Ordering::SeqCst);
        })
    }

    pub(crate) fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A future that a case controls from outside, and whose end it can see.
#[derive(Clone, Default)]
pub(crate) struct Puppet(Arc<PuppetState>);

#[derive(Default)]
struct PuppetState {
    polls: AtomicUsize,
    drops: AtomicUsize,
    ready: AtomicBool,
    busy: AtomicBool,
    overlaps: AtomicUsize,
    polled_within: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Puppet {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The future; to be called once. Its output is the number of polls.
    pub(crate) fn future(&self) -> Strings {
        Strings(self.0.clone())
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    pub(crate) fn drops(&self) -> usize {
        self.0.drops.load(Ordering::SeqCst)
    }

    /// The waker of the last poll, which must have happened.
    pub(crate) fn waker(&self) -> Waker {
        self.lock().clone().expect("the puppet has been polled")
    }

    /// Gives up the waker of the last poll.
    pub(crate) fn forget_waker(&self) {
        let waker = self.lock().take();
        drop(waker);
    }

    pub(crate) fn wake(&self) {
        self.waker().wake();
    }

    /// Lets the future be ready at its next poll, and wakes it if it waits.
    pub(crate) fn finish(&self) {
        self.0.ready.store(true, Ordering::SeqCst);
        let waker = self.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until it has been polled `n` times.
    #[track_caller]
    pub(crate) fn polled(&self, n: usize) {
        eventually("a task is polled", || self.polls() >= n);
    }

    /// Waits until it has been destroyed.
    #[track_caller]
    pub(crate) fn destroyed(&self) {
        eventually("a future is destroyed", || self.drops() > 0);
        self.sound();
    }

    /// Checks that nothing forbidden has happened.
    #[track_caller]
    pub(crate) fn sound(&self) {
        assert!(self.drops() <= 1, "a future was destroyed twice");
        let overlaps = self.0.overlaps.load(Ordering::SeqCst);
        assert_eq!(overlaps, 0, "polls or destruction overlapped");
        let inline = self.0.polled_within.load(Ordering::SeqCst);
        assert_eq!(inline, 0, "a future was polled inline");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The future of a [`Puppet`].
pub(crate) struct Strings(Arc<PuppetState>);

impl Future for Strings {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let state = &self.0;
        if state.busy.swap(true, Ordering::SeqCst) {
            state.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        if WITHIN.get() {
            state.polled_within.fetch_add(1, Ordering::SeqCst);
        }
        // First the waker, then the flag: see `finish`.
        let waker = cx.waker().clone();
        let before = {
            let mut stored = state.waker.lock().unwrap_or_else(PoisonError::into_inner);
            stored.replace(waker)
        };
        drop(before);
        let ready = state.ready.load(Ordering::SeqCst);
        state.busy.store(false, Ordering::SeqCst);
        let polls = state.polls.fetch_add(1, Ordering::SeqCst) + 1;
        if ready {
            Poll::Ready(polls)
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Strings {
    fn drop(&mut self) {
        if self.0.busy.load(Ordering::SeqCst) {
            self.0.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        self.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; no [`Puppet`] and no [`is_within`] future may be polled inside of it.
pub(crate) fn within<T>(f: impl FnOnce() -> T) -> T {
    let before = WITHIN.replace(true);
    let result = f();
    WITHIN.set(before);
    result
}

/// Is the calling thread inside of [`within`]?
pub(crate) fn is_within() -> bool {
    WITHIN.get()
}

/// Keeps a runtime's one worker busy until it is dropped.
pub(crate) struct Occupied {
    go: Gate,
    /// Is no other task polled meanwhile? A runtime may have more threads than requested; then the
    /// order is not certain.
    pub(crate) entirely: bool,
}

/// Occupies a runtime that was built with one worker. Meanwhile the case must not wait for an event
/// that needs the runtime.
pub(crate) fn occupy(rt: &impl Runtime) -> Occupied {
    let (started, go) = (Gate::new(), Gate::new());
    let (opens, waits) = (started.clone(), go.clone());
    rt.spawn(async move {
        opens.open();
        waits.wait();
    })
    .detach();
    started.wait();
    let (polled, probe) = Gate::pair();
    rt.spawn(async move { polled.open() }).detach();
    let entirely = !probe.wait_for(must_not());
    Occupied { go, entirely }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.go.open();
    }
}

/// Runs `f` when the calling thread ends, by the destructor of a thread-local. It must not panic.
pub(crate) fn at_thread_end(f: impl FnOnce() + 'static) {
    type Todo = Vec<Box<dyn FnOnce()>>;
    struct AtEnd(RefCell<Todo>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(|f| f());
        }
    }
    thread_local! {
        static AT_END: AtEnd = const { AtEnd(RefCell::new(Vec::new())) };
    }
    AT_END.with(|at_end| at_end.0.borrow_mut().push(Box::new(f)));
}

/// The panic payload of an inconclusive case.
pub(crate) struct Inconclusive(pub(crate) String);

/// Ends the case as inconclusive, for example because the machine lacks a facility.
#[allow(dead_code, reason = "for cases to come")]
pub(crate) fn inconclusive(reason: &str) -> ! {
    std::panic::panic_any(Inconclusive(reason.to_owned()))
}

/// The rounds of a stress case, each with a random number: as many as the time allows, and the same
/// numbers for the same seed. `stream` distinguishes the threads of a case.
pub(crate) fn stress(stream: u64) -> impl Iterator<Item = u64> {
    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }
    let options = crate::Options::default();
    let seed = number(crate::run::SEED).unwrap_or(options.seed);
    let time = number(crate::run::STRESS).map_or(options.stress_time, Duration::from_millis);
    let start = Instant::now();
    // SplitMix64.
    let mut state = seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    // At least one round, even without time.
    std::iter::repeat_with(random)
        .enumerate()
        .take_while(move |(round, _)| *round == 0 || start.elapsed() < time)
        .map(|(_, random)| {
            // Relaxed: read after the case's end, for the report.
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            random
        })
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// The rounds begun since the last call, by all threads of a stress case.
pub(crate) fn take_rounds() -> u64 {
    ROUNDS.swap(0, Ordering::Relaxed)
}
