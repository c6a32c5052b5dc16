//! Futures that must stay on one thread: [`LocalSpawner`], [`block_on`], [`run`] and [`spawn`].
//!
//! | where one is | how local tasks are run |
//! |---|---|
//! | in sync code, or in an offloaded closure | [`block_on`] |
//! | in async code that stays on its thread: inside a `block_on`, a Tokio `LocalSet` | [`run`] |
//! | in async code that may move, such as a spawned task | offload, and [`block_on`] there |
//! | deep inside of any of these | [`spawn`], which finds the tasks it belongs to |

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    AbortHandle, BlockOn, BlockOnError, JoinError,
    implement::{Abort, discard, wake},
    sync::atomic::{AtomicBool, Ordering},
    task::Metadata,
    woken::{Ticket, Woken},
};

/// Runs futures that are not `Send` as tasks on the current thread.
pub trait LocalSpawner {
    /// The handle of a local task. It stays on the thread as well.
    type LocalTask<T: 'static>: Future<Output = Result<T, JoinError>> + Unpin + 'static;

    /// Starts `future` as a task of this thread.
    ///
    /// It is polled and destroyed here and nowhere else; it may be woken, and
    /// aborted, from any thread, and both are carried out here ([LO-1]). Dropping
    /// the handle cancels the task ([CA-1]).
    ///
    /// [LO-1]: crate::contract#LO-1
    /// [CA-1]: crate::contract#CA-1
    #[track_caller]
    fn spawn_local<F>(&self, future: F) -> Self::LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static;
}

/// Runs `f` on the calling thread together with the local tasks it spawns.
///
/// Tasks that are left when `f` is ready are destroyed, on this thread, before
/// this returns; their handles resolve as shut down.
///
/// # Errors
///
/// Those of [`BlockOn::try_block_on`]. `f` has not been called.
///
/// # Examples
///
/// ```
/// # fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::local::{self, LocalSpawner};
/// use std::rc::Rc;
///
/// let text = Rc::new(String::from("not Send"));
/// let length = local::block_on(&rt, async |local| {
///     local.spawn_local(async move { text.len() }).await.unwrap()
/// });
/// assert_eq!(length.unwrap(), 8);
/// # }
/// ```
pub fn block_on<R, F, T>(runtime: &R, f: F) -> Result<T, BlockOnError>
where
    R: BlockOn,
    F: AsyncFnOnce(Local) -> T,
{
    // Calls `f` when it is polled: where the runtime refuses, it is not called.
    runtime.try_block_on(run(f))
}

/// Runs `f` as part of the calling async code, together with the local tasks it spawns.
///
/// The future that it returns is not `Send`, and drives the tasks while it is polled. So it
/// suits async code that stays on one thread: inside a `block_on`, in a task of a Tokio
/// `LocalSet`, in another local task. Tasks that are left when `f` is ready, or when the
/// future is dropped, are destroyed, on this thread; their handles resolve as shut down.
///
/// A spawned task may move between threads, and cannot await this. It offloads instead:
///
/// ```
/// # async fn example(rt: impl fourway_core::Runtime) {
/// use fourway_core::local;
/// use std::rc::Rc;
///
/// let inner = rt.clone();
/// let length = rt.offload(move || {
///     local::block_on(&inner, async |_| {
///         let text = Rc::new(String::from("not Send"));
///         local::spawn(async move { text.len() }).await.unwrap()
///     })
/// });
/// assert_eq!(length.await.unwrap().unwrap(), 8);
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future destroys `f`'s and all its tasks.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, local};
/// use std::{cell::Cell, rc::Rc};
///
/// fn example(rt: impl BlockOn) {
///     let sum = rt.block_on(local::run(async |_| {
///         let sum = Rc::new(Cell::new(0));
///         let shared = sum.clone();
///         local::spawn(async move { shared.set(42) }).await.unwrap();
///         sum.get()
///     }));
///     assert_eq!(sum, 42);
/// }
/// ```
pub async fn run<F, T>(f: F) -> T
where
    F: AsyncFnOnce(Local) -> T,
{
    let local = Local::new();
    // Destroys the remaining tasks, also when `f` panics.
    let _end = EndOnDrop(local.clone());
    // A plain function may spawn as well before it returns its future.
    let main = {
        let _current = Entered::new(&local);
        f(local.clone())
    };
    drive(&local, main).await
}

/// The spawner of the local tasks that the calling code is part of: the innermost, while the
/// main future or a task of a [`block_on`] or a [`run`] is made, polled or destroyed ([LO-2]).
///
/// [LO-2]: crate::contract#LO-2
#[must_use]
pub fn current() -> Option<Local> {
    // Not there any more: in the destructor of another thread-local.
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

/// Spawns a local task from anywhere inside of a [`block_on`] or a [`run`].
///
/// As [`spawn_local`](LocalSpawner::spawn_local) on [`current`].
///
/// # Panics
///
/// If the calling code is part of neither, at the caller's line.
#[track_caller]
pub fn spawn<F>(future: F) -> LocalTask<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match current() {
        Some(local) => local.spawn_local(future),
        None => panic!(
            "`local::spawn` outside of `local::block_on` and `local::run`: there is nothing to \
             run the task on this thread; begin one of them further out, or spawn a future that \
             is `Send` on a runtime"
        ),
    }
}

thread_local! {
    /// The spawner of the innermost future that is being polled on this thread.
    static CURRENT: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// Makes a spawner current until this is dropped.
struct Entered {
    before: Option<Local>,
}

impl Entered {
    fn new(local: &Local) -> Self {
        let local = local.clone();
        let before = CURRENT.try_with(|current| current.replace(Some(local)));
        Self {
            before: before.ok().flatten(),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        // Dropped outside of the borrow: the last handle drops the tasks, which are user code.
        let ours = CURRENT.try_with(|current| current.replace(before));
        drop(ours);
    }
}

pin_project_lite::pin_project! {
    /// Polls the main future, and the tasks beside it, until that is ready.
    struct Drive<F> {
        local: Local,
        // `None` once it has been destroyed.
        #[pin]
        main: Option<F>,
    }

    impl<F> PinnedDrop for Drive<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _current = Entered::new(this.local);
            this.main.set(None);
        }
    }
}

fn drive<F: Future>(local: &Local, main: F) -> Drive<F> {
    Drive {
        local: local.clone(),
        main: Some(main),
    }
}

impl<F: Future> Future for Drive<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _current = Entered::new(this.local);
        let main = this.main.as_mut().as_pin_mut();
        let poll = this
            .local
            .poll(main.expect("polled after it was ready"), cx);
        if poll.is_ready() {
            this.main.set(None);
        }
        poll
    }
}

/// Spawns local tasks. Made by [`block_on`] and [`run`]; a clone is another handle.
#[derive(Clone)]
pub struct Local {
    tasks: Rc<RefCell<Tasks>>,
    /// The part that other threads may touch.
    woken: Woken<Control>,
}

/// The part that belongs to the thread. Never borrowed while user code runs.
struct Tasks {
    entries: HashMap<u64, Entry>,
    next: u64,
    closed: bool,
}

struct Entry {
    // `None` while it is being polled.
    future: Option<Pin<Box<dyn LocalFuture>>>,
    control: Arc<Ticket<Control>>,
}

/// The number of the main future.
const MAIN: u64 = 0;

/// Tasks polled before the thread's own executor gets a turn.
const BATCH: usize = 64;

impl Local {
    fn new() -> Self {
        let woken = Woken::new();
        woken.due(Control::new(MAIN));
        Self {
            tasks: Rc::new(RefCell::new(Tasks {
                entries: HashMap::new(),
                next: MAIN,
                closed: false,
            })),
            woken,
        }
    }

    /// Has the `block_on` or `run` ended? Then it accepts no more tasks.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.tasks.borrow().closed
    }

    /// Polls all woken futures, in the order of the wakes.
    fn poll<F: Future>(&self, mut main: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.woken.set_whole(cx.waker());
        for _ in 0..BATCH {
            let Some(control) = self.woken.pop() else {
                return Poll::Pending;
            };
            let waker = Waker::from(control.clone());
            let mut cx = Context::from_waker(&waker);
            if control.number == MAIN {
                if let Poll::Ready(output) = main.as_mut().poll(&mut cx) {
                    return Poll::Ready(output);
                }
            } else {
                self.poll_task(control.number, &mut cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_task(&self, number: u64, cx: &mut Context<'_>) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            tasks
                .entries
                .get_mut(&number)
                .and_then(|entry| Some((entry.future.take()?, entry.control.clone())))
        };
        // Gone already: woken after its end.
        let Some((mut future, control)) = taken else {
            return;
        };
        let aborted = || control.aborted.load(Ordering::Acquire);
        let ended = if aborted() {
            future.as_mut().end(JoinError::cancelled());
            true
        } else if future.as_mut().poll_local(cx) {
            true
        } else if aborted() {
            // Aborted during the poll.
            future.as_mut().end(JoinError::cancelled());
            true
        } else {
            false
        };
        let mut tasks = self.tasks.borrow_mut();
        if ended {
            let entry = tasks.entries.remove(&number);
            drop(tasks);
            control.finished.store(true, Ordering::Release);
            drop(entry);
        } else if let Some(entry) = tasks.entries.get_mut(&number) {
            entry.future = Some(future);
        }
    }

    /// Destroys all tasks. Their destructors may spawn; that is refused.
    fn end(&self) {
        let entries = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.closed = true;
            std::mem::take(&mut tasks.entries)
        };
        for (_, entry) in entries {
            if let Some(mut future) = entry.future {
                let reason = if entry.control.aborted.load(Ordering::Acquire) {
                    JoinError::cancelled()
                } else {
                    JoinError::shutdown()
                };
                future.as_mut().end(reason);
            }
            entry.control.finished.store(true, Ordering::Release);
        }
        self.woken.clear();
    }
}

struct EndOnDrop(Local);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let _current = Entered::new(&self.0);
        self.0.end();
    }
}

impl LocalSpawner for Local {
    type LocalTask<T: 'static> = LocalTask<T>;

    fn spawn_local<F>(&self, future: F) -> LocalTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let cell = Rc::new(RefCell::new(Joint {
            result: None,
            joiner: None,
            taken: false,
        }));
        let mut runner: Pin<Box<Runner<F>>> = Box::pin(Runner {
            future: Some(future),
            cell: cell.clone(),
        });
        let mut tasks = self.tasks.borrow_mut();
        tasks.next += 1;
        let control = self.woken.ticket(Control::new(tasks.next));
        if tasks.closed {
            drop(tasks);
            runner.as_mut().end(JoinError::shutdown());
            control.finished.store(true, Ordering::Release);
        } else {
            tasks.entries.insert(
                control.number,
                Entry {
                    future: Some(runner),
                    control: control.clone(),
                },
            );
            drop(tasks);
            control.wake_by_ref();
        }
        LocalTask {
            metadata: Metadata::caller(),
            cell,
            control,
            attached: true,
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// The part of a task that is known to all threads.
struct Control {
    number: u64,
    aborted: AtomicBool,
    finished: AtomicBool,
}

impl Control {
    fn new(number: u64) -> Self {
        Self {
            number,
            aborted: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    fn is_finished(&self) -> bool {
        // Acquire pairs with the Release after the future was destroyed.
        self.finished.load(Ordering::Acquire)
    }
}

/// Marks the task and wakes it: the rest is done on its thread.
fn abort(control: &Arc<Ticket<Control>>) {
    // Release pairs with the Acquire before and after each poll.
    control.aborted.store(true, Ordering::Release);
    control.wake_by_ref();
}

/// An [`AbortHandle`]'s target.
struct RemoteAbort(Arc<Ticket<Control>>);

impl Abort for RemoteAbort {
    fn abort(&self) {
        abort(&self.0);
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// A task's future with the place for its result, its type forgotten.
trait LocalFuture {
    /// Is it ready, or has it panicked? Then it is destroyed as well.
    fn poll_local(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;
    /// Destroys it unfinished.
    fn end(self: Pin<&mut Self>, reason: JoinError);
}

pin_project_lite::pin_project! {
    struct Runner<F: Future> {
        #[pin]
        future: Option<F>,
        cell: Rc<RefCell<Joint<F::Output>>>,
    }
}

struct Joint<T> {
    result: Option<Result<T, JoinError>>,
    joiner: Option<Waker>,
    taken: bool,
}

fn fill<T>(cell: &RefCell<Joint<T>>, result: Result<T, JoinError>) {
    let mut joint = cell.borrow_mut();
    if joint.taken {
        drop(joint);
        discard(result);
        return;
    }
    joint.result = Some(result);
    let joiner = joint.joiner.take();
    drop(joint);
    if let Some(joiner) = joiner {
        // May panic: in the middle of the drive, or of the end of all tasks.
        wake(joiner);
    }
}

impl<F: Future> LocalFuture for Runner<F> {
    fn poll_local(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        match crate::implement::poll_contained(this.future, None, cx) {
            Poll::Pending => false,
            Poll::Ready(result) => {
                fill(this.cell, result.map_err(JoinError::panicked));
                true
            }
        }
    }

    fn end(self: Pin<&mut Self>, reason: JoinError) {
        let this = self.project();
        let error = match crate::implement::destroy_contained(this.future, None) {
            Ok(()) => reason,
            Err(payload) => JoinError::panicked(payload),
        };
        fill(this.cell, Err(error));
    }
}

/// The handle of a local task. It keeps to the rules of
/// [`Task`](crate::Task), and to its thread.
///
/// # Cancel safety
///
/// As [`Task`](crate::Task): polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct LocalTask<T: 'static> {
    metadata: Metadata,
    cell: Rc<RefCell<Joint<T>>>,
    control: Arc<Ticket<Control>>,
    attached: bool,
}

impl<T: 'static> LocalTask<T> {
    /// Has the task ended, and its future been destroyed?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.control.is_finished()
    }

    /// Asks for cancellation, and returns at once.
    pub fn abort(&self) {
        abort(&self.control);
    }

    /// A handle that can cancel the task, also from another thread.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::new(RemoteAbort(self.control.clone())))
    }

    /// Where the task was spawned.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Lets the task run on without a handle.
    pub fn detach(mut self) {
        self.attached = false;
        self.give_up();
    }

    /// Cancels, and waits until the future has been destroyed.
    ///
    /// # Errors
    ///
    /// That of the join: cancelled, or the panic of the task.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels as well, and waits for nothing.
    pub async fn cancel(self) -> Result<T, JoinError> {
        self.abort();
        self.await
    }

    /// The result will not be taken.
    fn give_up(&self) {
        let mut joint = self.cell.borrow_mut();
        joint.taken = true;
        let result = joint.result.take();
        let joiner = joint.joiner.take();
        drop(joint);
        drop(joiner);
        discard(result);
    }
}

impl<T: 'static> Future for LocalTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut joint = self.cell.borrow_mut();
        assert!(!joint.taken, "a task handle was polled after it was ready");
        if let Some(mut result) = joint.result.take() {
            joint.taken = true;
            drop(joint);
            self.attached = false;
            if let Err(error) = &mut result {
                error.set_task(&self.metadata);
            }
            return Poll::Ready(result);
        }
        let before = joint.joiner.replace(waker);
        drop(joint);
        drop(before);
        Poll::Pending
    }
}

impl<T: 'static> Drop for LocalTask<T> {
    fn drop(&mut self) {
        if self.attached {
            self.give_up();
            self.abort();
        }
    }
}

impl<T: 'static> fmt::Debug for LocalTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTask")
            .field("finished", &self.is_finished())
            .finish()
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{
        future::{IntoFuture, pending, poll_fn, ready},
        pin::pin,
        sync::atomic::AtomicUsize,
    };

    use super::*;

    /// Polls the future once, after which it must be ready; or refuses it.
    struct Once {
        refuses: bool,
    }

    impl BlockOn for Once {
        fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
            if self.refuses {
                return Err(BlockOnError::nested());
            }
            Ok(at_once(future.into_future()))
        }
    }

    #[track_caller]
    fn at_once<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("not ready at once"),
        }
    }

    #[test]
    fn where_block_on_is_refused_nothing_of_the_function_runs() {
        let mut called = false;
        let refused = block_on(&Once { refuses: true }, |_| {
            called = true;
            ready(())
        });
        assert!(refused.is_err_and(|error| error.is_nested()));
        assert!(!called);
    }

    #[test]
    fn the_function_may_spawn_before_it_returns_its_future() {
        let spawned = |_: Local| {
            assert!(current().is_some());
            spawn(async { 1 })
        };
        let sum = block_on(&Once { refuses: false }, spawned).unwrap();
        assert_eq!(sum.unwrap(), 1);
        assert_eq!(at_once(run(spawned)).unwrap(), 1);
        assert!(current().is_none());
    }

    #[test]
    fn a_function_that_panics_leaves_nothing_behind() {
        let mut kept = None;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            at_once(run(|local: Local| {
                kept = Some(local.spawn_local(pending::<()>()));
                if kept.is_some() {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                ready(())
            }));
        }));
        assert!(panicked.is_err());
        assert!(current().is_none());
        let error = at_once(kept.unwrap()).unwrap_err();
        assert!(error.is_shutdown(), "{error:?}");
    }

    /// Counts its wakes, and panics at each.
    #[derive(Default)]
    struct Panics(AtomicUsize);

    impl Panics {
        fn wakes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    fn join_later<T>(task: &mut LocalTask<T>, panics: &Arc<Panics>) {
        let waker = Waker::from(panics.clone());
        let poll = Pin::new(task).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }

    #[test]
    fn at_the_end_each_handle_resolves_whatever_their_wakers_do() {
        let panics = Arc::new(Panics::default());
        let tasks = at_once(run(async |local| {
            let spawn = |_| local.spawn_local(pending::<()>());
            let mut tasks: Vec<_> = (0..3).map(spawn).collect();
            tasks.iter_mut().for_each(|task| join_later(task, &panics));
            tasks
        }));
        assert_eq!(panics.wakes(), 3);
        for task in tasks {
            assert!(task.is_finished());
            let error = at_once(task).unwrap_err();
            assert!(error.is_shutdown(), "{error:?}");
        }
    }

    #[test]
    fn a_joiner_whose_waker_panics_is_not_the_affair_of_the_others() {
        let panics = Arc::new(Panics::default());
        let (first, second) = at_once(run(async |local| {
            let mut first = local.spawn_local(ready(1));
            join_later(&mut first, &panics);
            let second = local.spawn_local(ready(2));
            (first.await, second.await)
        }));
        assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
    }

    #[test]
    fn who_wakes_a_task_survives_the_waker_of_the_whole() {
        let panics = Arc::new(Panics::default());
        let waker = Waker::from(panics.clone());
        let mut cx = Context::from_waker(&waker);
        let woken = Rc::new(RefCell::new(None::<Waker>));
        let left = woken.clone();
        let mut whole = pin!(run(async |_| {
            let mut polled = false;
            poll_fn(|cx| {
                *left.borrow_mut() = Some(cx.waker().clone());
                if std::mem::replace(&mut polled, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }));
        assert!(whole.as_mut().poll(&mut cx).is_pending());
        let inner = woken.take().expect("it was polled");
        inner.wake();
        assert_eq!(panics.wakes(), 1);
        assert!(whole.as_mut().poll(&mut cx).is_ready());
    }
}
