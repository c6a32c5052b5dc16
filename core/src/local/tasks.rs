//! All local tasks of a thread, and the future that drives them beside the main one.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};

use super::{
    LocalSpawner,
    current::Entered,
    task::{Control, LocalFuture, LocalTask, runner},
};
use crate::{
    JoinError,
    sync::atomic::Ordering,
    woken::{Ticket, Woken},
};

pin_project_lite::pin_project! {
    /// Polls the main future, and the tasks beside it, until that is ready.
    pub(super) struct Drive<F> {
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

pub(super) fn drive<F: Future>(local: &Local, main: F) -> Drive<F> {
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

/// Spawns local tasks. Made by [`block_on`](super::block_on) and [`run`](super::run); a clone is another handle.
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
    // Weak: gone once there is neither a waker nor a handle.
    control: Weak<Ticket<Control>>,
}

/// The number of the main future.
const MAIN: u64 = 0;

/// Tasks polled before the thread's own executor gets a turn.
const BATCH: usize = 64;

impl Local {
    pub(super) fn new() -> Self {
        let woken = Woken::new();
        woken.due(Control::of_main(MAIN));
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
                self.poll_task(&control, &mut cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_task(&self, control: &Control, cx: &mut Context<'_>) {
        let number = control.number;
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let entry = tasks.entries.get_mut(&number);
            entry.and_then(|entry| entry.future.take())
        };
        // Gone already: woken after its end.
        let Some(mut future) = taken else {
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
            let control = entry.control.upgrade();
            if let Some(mut future) = entry.future {
                let reason = match &control {
                    Some(control) if control.aborted.load(Ordering::Acquire) => {
                        JoinError::cancelled()
                    }
                    _ => JoinError::shutdown(),
                };
                future.as_mut().end(reason);
            }
            if let Some(control) = control {
                control.finished.store(true, Ordering::Release);
            }
        }
        self.woken.clear();
    }
}

pub(super) struct EndOnDrop(pub(super) Local);

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
        let (mut runner, place) = runner(future);
        let mut tasks = self.tasks.borrow_mut();
        tasks.next += 1;
        let lost = self.woken.downgrade();
        let control = self.woken.ticket(Control::of_task(tasks.next, lost));
        if tasks.closed {
            drop(tasks);
            runner.as_mut().end(JoinError::shutdown());
            control.finished.store(true, Ordering::Release);
        } else {
            tasks.entries.insert(
                control.number,
                Entry {
                    future: Some(runner),
                    control: Arc::downgrade(&control),
                },
            );
            drop(tasks);
            control.wake_by_ref();
        }
        LocalTask::new(place, control)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
