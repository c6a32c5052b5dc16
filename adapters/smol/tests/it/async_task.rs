//! The handle over `async_task::Task`, on an executor that the tests turn by hand, to see steps
//! that are too fast in a whole runtime.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use async_task::Runnable;
use fourway_adapt::{
    Outcome,
    async_task::{AsyncTask, refused, spawn},
};
use fourway_core::{JoinError, Task, task::Metadata};

const MUST: Duration = Duration::from_secs(30);

/// A queue; nothing runs unless a test says so.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<Runnable>>>);

impl Queue {
    fn spawn<F>(&self, future: F) -> AsyncTask<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let queue = self.clone();
        spawn(Metadata::caller(), future, None, |future| {
            let schedule = move |runnable| queue.lock().push_back(runnable);
            let (runnable, task) = async_task::spawn(future, schedule);
            runnable.schedule();
            task
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Runnable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one task, if one is ready.
    fn tick(&self) -> bool {
        let runnable = self.lock().pop_front();
        runnable.map(Runnable::run).is_some()
    }

    fn run(&self) {
        while self.tick() {}
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Waker, Arc<Count>) {
    let count = Arc::new(Count::default());
    (Waker::from(count.clone()), count)
}

fn poll<T: Send>(task: &mut AsyncTask<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    Pin::new(task).poll(&mut Context::from_waker(waker))
}

#[track_caller]
fn ready<T: Send>(task: &mut AsyncTask<T>) -> Result<T, JoinError> {
    match poll(task, Waker::noop()) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the task should have ended"),
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn cancelled_before_the_first_poll() {
    let queue = Queue::default();
    let polled = Arc::new(());
    let held = polled.clone();
    let mut task = queue.spawn(async move {
        let _held = held;
        panic!("must not be polled")
    });
    task.abort();
    assert!(!task.is_finished(), "the future is still there");
    assert_eq!(Arc::strong_count(&polled), 2);
    queue.run();
    assert_eq!(Arc::strong_count(&polled), 1);
    assert!(task.is_finished());
    let result: Result<(), _> = ready(&mut task);
    assert!(result.unwrap_err().is_cancelled());
}

#[test]
fn aborting_a_finished_task_keeps_its_output() {
    let queue = Queue::default();
    let mut task = queue.spawn(async { 1 });
    let handle = task.abort_handle();
    queue.run();
    assert!(task.is_finished() && handle.is_finished());
    handle.abort();
    task.abort();
    assert!(task.is_finished() && handle.is_finished());
    assert_eq!(ready(&mut task).unwrap(), 1);
    assert!(handle.is_finished());
}

#[test]
fn a_joiner_from_before_the_first_abort_handle_is_woken() {
    // By the end of the task.
    let queue = Queue::default();
    let (waker, woken) = counting();
    let mut task = queue.spawn(async { 1 });
    assert!(poll(&mut task, &waker).is_pending());
    let handle = task.abort_handle();
    assert!(!task.is_finished() && !handle.is_finished());
    queue.run();
    assert!(woken.get() >= 1);
    assert_eq!(ready(&mut task).unwrap(), 1);

    // By its cancellation, with a look at it in between.
    let (waker, woken) = counting();
    let mut task = queue.spawn(pending::<()>());
    assert!(poll(&mut task, &waker).is_pending());
    queue.run();
    task.abort_handle().abort();
    assert!(!task.is_finished());
    assert!(poll(&mut task, &waker).is_pending());
    let before = woken.get();
    assert!(!task.is_finished(), "a look must not displace the joiner");
    queue.run();
    assert!(woken.get() > before);
    assert!(ready(&mut task).unwrap_err().is_cancelled());

    // By its executor, in the middle of destroying it when the task was shared.
    let (waker, woken) = counting();
    let (in_destructor, arrived) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let guard = OnDrop(move || {
        in_destructor.send(()).unwrap();
        gate.recv_timeout(MUST).unwrap();
    });
    let mut task = queue.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    assert!(poll(&mut task, &waker).is_pending());
    let runnable = queue.lock().pop_front();
    let destroying = thread::spawn(move || drop(runnable));
    arrived.recv_timeout(MUST).unwrap();
    let handle = task.abort_handle();
    // Not to displace the joiner, whose waker is with the native task, a look does
    // not poll; the task counts as finished while its executor destroys it.
    assert!(task.is_finished() && handle.is_finished());
    handle.abort();
    assert!(poll(&mut task, &waker).is_pending());
    assert!(!task.is_finished(), "its destructor is running");
    assert!(!handle.is_finished());
    let before = woken.get();
    go_on.send(()).unwrap();
    destroying.join().unwrap();
    assert!(woken.get() > before);
    assert!(task.is_finished() && handle.is_finished());
    assert!(ready(&mut task).unwrap_err().is_shutdown());
}

#[test]
fn wakers_are_released_with_the_task() {
    let queue = Queue::default();
    for shared in [false, true] {
        let (waker, woken) = counting();
        let mut task = queue.spawn(async {});
        let handle = shared.then(|| task.abort_handle());
        assert!(poll(&mut task, &waker).is_pending());
        queue.run();
        assert!(poll(&mut task, &waker).is_ready());
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1);
        drop((task, handle));

        let (waker, woken) = counting();
        let mut task = queue.spawn(pending::<()>());
        let handle = shared.then(|| task.abort_handle());
        assert!(poll(&mut task, &waker).is_pending());
        drop(task);
        queue.run();
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1);
        drop(handle);
    }
}

#[test]
fn an_abort_handle_cancels_a_detached_task() {
    let queue = Queue::default();
    let held = Arc::new(());
    let inside = held.clone();
    let task = queue.spawn(async move {
        let _inside = inside;
        pending::<()>().await;
    });
    let handle = task.abort_handle();
    task.detach();
    queue.run();
    assert_eq!(Arc::strong_count(&held), 2);
    assert!(!handle.is_finished());
    handle.abort();
    queue.run();
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(handle.is_finished());
}

#[test]
fn a_detached_tasks_output_goes_where_it_ends_although_abort_handles_live() {
    for finished_before in [false, true] {
        let queue = Queue::default();
        let output = Arc::new(());
        let inside = output.clone();
        let task = queue.spawn(async move { inside });
        let handle = task.abort_handle();
        if finished_before {
            queue.run();
        }
        task.detach();
        queue.run();
        assert!(handle.is_finished());
        assert_eq!(Arc::strong_count(&output), 1);
        handle.abort();
        assert!(handle.is_finished());
    }
}

#[test]
fn a_detached_task_outlives_its_abort_handles() {
    let queue = Queue::default();
    let (waker_out, waker_in) = mpsc::channel();
    let output = Arc::new(());
    let inside = output.clone();
    let mut first = true;
    let task = queue.spawn(std::future::poll_fn(move |cx| {
        if std::mem::take(&mut first) {
            waker_out.send(cx.waker().clone()).unwrap();
            return Poll::Pending;
        }
        Poll::Ready(inside.clone())
    }));
    let handle = task.abort_handle();
    task.detach();
    drop(handle);
    queue.run();
    waker_in.recv_timeout(MUST).unwrap().wake();
    assert!(queue.tick());
    assert_eq!(Arc::strong_count(&output), 1);
    // It can never be woken again, and has no handle: it is destroyed (WA-3, lost tasks are
    // destroyed).
    let (waker_out, waker_in) = mpsc::channel();
    let inside = output.clone();
    let task = queue.spawn(std::future::poll_fn(move |cx| {
        let _inside = &inside;
        waker_out.send(cx.waker().clone()).unwrap();
        Poll::<()>::Pending
    }));
    let handle = task.abort_handle();
    task.detach();
    queue.run();
    drop(handle);
    assert_eq!(Arc::strong_count(&output), 2);
    drop(waker_in.recv_timeout(MUST).unwrap());
    queue.run();
    assert_eq!(Arc::strong_count(&output), 1);
}

#[test]
fn dropping_a_shared_handle_cancels_and_drops_the_output() {
    let queue = Queue::default();
    let output = Arc::new(());
    // Unfinished.
    let inside = output.clone();
    let task = queue.spawn(async move {
        let _inside = inside;
        pending::<()>().await;
    });
    let handle = task.abort_handle();
    queue.run();
    drop(task);
    queue.run();
    assert!(handle.is_finished());
    assert_eq!(Arc::strong_count(&output), 1);
    // Finished; the output must not wait for the abort handle to go.
    let inside = output.clone();
    let task = queue.spawn(async move { inside });
    let handle = task.abort_handle();
    queue.run();
    drop(task);
    assert_eq!(Arc::strong_count(&output), 1);
    assert!(handle.is_finished());
}

/// Panics when it is dropped, without troubling the panic hook.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new(self.0));
    }
}

#[test]
fn panicking_destructors() {
    let queue = Queue::default();
    let suspended = |queue: &Queue| {
        let task = queue.spawn(async {
            let _bomb = Bomb("destructor");
            pending::<()>().await;
        });
        queue.run();
        task
    };
    // Cancelled: the joiner gets the payload.
    let mut task = suspended(&queue);
    task.abort();
    queue.run();
    assert!(task.is_finished());
    assert_eq!(
        ready(&mut task).unwrap_err().panic_message(),
        Some("destructor")
    );
    // Destroyed by the executor.
    let mut task = queue.spawn({
        let bomb = Bomb("unrun");
        async move {
            let _bomb = bomb;
        }
    });
    queue.lock().clear();
    assert_eq!(ready(&mut task).unwrap_err().panic_message(), Some("unrun"));
    // Dropped: contained, and the executor goes on.
    drop(suspended(&queue));
    queue.run();
    // Refused.
    let bomb = Bomb("refused");
    let mut task = refused(
        Metadata::caller(),
        async move {
            let _bomb = bomb;
        },
        None,
    );
    assert!(task.is_finished());
    assert_eq!(
        ready(&mut task).unwrap_err().panic_message(),
        Some("refused")
    );
    // An output that is not taken: of a dropped handle, a detached task, and of either with abort
    // handles around.
    for with_handle in [false, true] {
        let task = queue.spawn(async { Bomb("output") });
        let handle = with_handle.then(|| task.abort_handle());
        queue.run();
        drop(task);
        drop(handle);
        let task = queue.spawn(async { Bomb("output") });
        let handle = with_handle.then(|| task.abort_handle());
        task.detach();
        queue.run();
        drop(handle);
    }
    let mut last = queue.spawn(async { 1 });
    queue.run();
    assert_eq!(ready(&mut last).unwrap(), 1);
}

#[test]
fn a_panic_in_the_poll_during_which_it_is_cancelled_is_not_covered_up() {
    let queue = Queue::default();
    let (give, handles) = mpsc::channel::<fourway_core::AbortHandle>();
    let mut task = queue.spawn(async move {
        handles.recv_timeout(MUST).unwrap().abort();
        drop(Bomb("poll"));
    });
    give.send(task.abort_handle()).unwrap();
    queue.run();
    assert_eq!(ready(&mut task).unwrap_err().panic_message(), Some("poll"));
    // A payload that is not taken goes with the outcome.
    let payload = Arc::new(());
    let spawn_panicking = || {
        let payload = payload.clone();
        queue.spawn(async move { std::panic::resume_unwind(Box::new(payload)) })
    };
    let detached: AsyncTask<()> = spawn_panicking();
    detached.detach();
    let dropped: AsyncTask<()> = spawn_panicking();
    queue.run();
    drop(dropped);
    assert_eq!(Arc::strong_count(&payload), 1);
    // Also when it was cancelled meanwhile and its handle goes.
    let (give, handles) = mpsc::channel::<fourway_core::AbortHandle>();
    let inside = payload.clone();
    let task = queue.spawn(async move {
        handles.recv_timeout(MUST).unwrap().abort();
        std::panic::resume_unwind(Box::new(inside));
    });
    give.send(task.abort_handle()).unwrap();
    queue.run();
    drop::<AsyncTask<()>>(task);
    assert_eq!(Arc::strong_count(&payload), 1);
    // Many panics without a joiner do not push out the payload that a joiner will ask for.
    let mut first = queue.spawn(async { drop(Bomb("first")) });
    queue.run();
    for _ in 0..3000 {
        queue.spawn(async { drop(Bomb("other")) }).detach();
        queue.run();
    }
    assert_eq!(
        ready(&mut first).unwrap_err().panic_message(),
        Some("first")
    );
}

#[test]
fn an_executor_may_end_a_task_without_an_outcome() {
    struct Ends<F>(Pin<Box<F>>, bool);
    impl<F: Future<Output = Outcome<T>>, T> Future for Ends<F> {
        type Output = Outcome<T>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
            if std::mem::replace(&mut self.1, true) {
                return Poll::Ready(Outcome::destroyed());
            }
            let poll = self.0.as_mut().poll(cx);
            cx.waker().wake_by_ref();
            poll
        }
    }
    let queue = Queue::default();
    let spawn_ending = || {
        let queue = queue.clone();
        spawn(Metadata::caller(), pending::<()>(), None, |future| {
            let schedule = move |runnable| queue.lock().push_back(runnable);
            let (runnable, task) = async_task::spawn(Ends(Box::pin(future), false), schedule);
            runnable.schedule();
            task
        })
    };
    let mut task = spawn_ending();
    queue.run();
    assert!(ready(&mut task).unwrap_err().is_shutdown());
    let mut task = spawn_ending();
    queue.run();
    task.abort();
    assert!(task.is_finished());
    assert!(ready(&mut task).unwrap_err().is_shutdown());
}

/// Abort, join, look and run, all at once on threads of their own: every join
/// resolves, the future is gone by then, and nothing is leaked.
#[test]
fn everything_at_once() {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    for round in 0..3000 {
        let queue = Queue::default();
        let alive = Arc::new(());
        let inside = alive.clone();
        let mut left = round % 3;
        let task = queue.spawn(std::future::poll_fn(move |cx| {
            if left == 0 {
                return Poll::Ready(inside.clone());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let detach = round % 5 == 4;
        let handles = [task.abort_handle(), task.abort_handle()];
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                queue.run();
            });
            for (n, handle) in handles.into_iter().enumerate() {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    if n == 0 && round % 2 == 0 {
                        handle.abort();
                    }
                    let _ = handle.is_finished();
                });
            }
            barrier.wait();
            if detach {
                task.detach();
                return;
            }
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut task = task;
            let result = loop {
                // A cancellation may come after the other thread has looked.
                queue.run();
                if let Poll::Ready(result) = poll(&mut task, &waker) {
                    break result;
                }
                thread::park_timeout(Duration::from_millis(1));
            };
            match result {
                Ok(output) => drop(output),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        });
        queue.run();
        assert_eq!(Arc::strong_count(&alive), 1, "round {round}");
    }
}
