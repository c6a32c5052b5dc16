//! What counts: events, wakes, threads, how many are inside.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
};

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
