//! The life of a worker thread: it takes tasks from its own queue, from outside and from the other
//! workers, and sleeps when there are none.

use std::{
    cell::RefCell,
    ptr::{self, NonNull},
    sync::Arc,
    time::Duration,
};

use fourway_adapt::spin::{Seen, Spin};

use crate::{
    cell::{Header, TaskRef},
    executor::Executor,
    idle::{Sleeper, Woken},
    poller::Ready,
    queue::{Local, Steal, Stealer, surely},
    sync::{
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
        thread_local,
    },
};

/// After so many tasks a worker takes one from outside, even if it has some of its
/// own: tasks that wake each other must not starve it (FA-1, no task starves).
const OUTSIDE_EVERY: usize = 61;

/// After so many tasks from the slot in a row a worker takes one from its queue: two
/// tasks that wake each other must not starve it (FA-1, no task starves).
const SLOT_STREAK: u32 = 8;

/// After so many tasks a worker looks into the poller: while all workers are busy none waits there.
const POLL_EVERY: u32 = 61;

/// A worker that has run out of work looks for at most so long before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// The part of a worker that other threads see. On cache lines of its own (128 bytes: processors
/// fetch them in pairs).
#[repr(align(128))]
pub(crate) struct Lane {
    /// The task that was queued last: it runs next, while its data is still in the cache. Null if
    /// there is none.
    slot: AtomicPtr<Header>,
    /// Counts the tasks that were run.
    tick: AtomicUsize,
    /// Is a task being run?
    busy: AtomicBool,
    queue: Stealer<TaskRef>,
}

/// A worker's private part: the right to be a worker. It goes to another thread when this one
/// blocks.
pub(crate) struct Core {
    index: usize,
    queue: Local<TaskRef>,
    tick: usize,
    streak: u32,
    spin: Spin,
    /// Has a search been [announced](announce_search)?
    announced: bool,
    /// The ticks of the others when this one last looked, as the sentinel.
    seen: Vec<usize>,
}

/// The lanes and cores of `workers` workers.
pub(crate) fn cores(workers: usize) -> (Box<[Lane]>, Vec<Core>) {
    let cores = (0..workers)
        .map(|index| Core {
            index,
            queue: Local::new_fifo(),
            tick: 0,
            streak: 0,
            spin: Spin::new(SPIN),
            announced: false,
            seen: Vec::new(),
        })
        .collect::<Vec<_>>();
    let lanes = cores.iter().map(|core| Lane {
        slot: AtomicPtr::new(ptr::null_mut()),
        tick: AtomicUsize::new(0),
        busy: AtomicBool::new(false),
        queue: core.queue.stealer(),
    });
    (lanes.collect(), cores)
}

impl Lane {
    /// Puts a task into the slot, and takes out the one before.
    fn exchange(&self, task: Option<TaskRef>) -> Option<TaskRef> {
        let task = task.map_or(ptr::null_mut(), |task| task.into_pointer().as_ptr());
        // SeqCst: see `Idle::notify_sentinel`. Its Release and Acquire hand the task over.
        let before = self.slot.swap(task, Ordering::SeqCst);
        #[allow(unsafe_code, reason = "an atomic pointer cannot own")]
        // SAFETY: only this function writes to the slot, and only pointers that it made
        // from references. Each is taken back by the one exchange that finds it there.
        NonNull::new(before).map(|task| unsafe { TaskRef::from_pointer(task) })
    }

    fn take_slot(&self) -> Option<TaskRef> {
        // Relaxed: a task that is there, or is not, at some moment.
        if self.slot.load(Ordering::Relaxed).is_null() {
            return None;
        }
        self.exchange(None)
    }

    fn slot_used(&self) -> bool {
        !self.slot.load(Ordering::SeqCst).is_null()
    }

    /// Tasks in its queue.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Takes any task at all.
    pub(crate) fn take_any(&self) -> Option<TaskRef> {
        self.take_slot().or_else(|| surely(|| self.queue.steal()))
    }
}

thread_local! {
    /// The worker that this thread is, while it is one.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

struct Worker {
    executor: Arc<Executor>,
    core: Core,
}

/// Why a task is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// It is new, or was woken: it runs next.
    Woken,
    /// It was woken while it was polled: it runs after the others.
    Again,
}

/// Queues a task with the calling thread, if that is a worker of `executor`; otherwise
/// gives it back.
pub(crate) fn push(executor: *const Executor, task: TaskRef, why: Push) -> Result<(), TaskRef> {
    let mut task = Some(task);
    // Also called by wakers in the destructors of thread-locals, when there is none.
    let _ = WORKER.try_with(|worker| {
        let worker = worker.borrow();
        if let Some(worker) = &*worker {
            if ptr::eq(Arc::as_ptr(&worker.executor), executor) {
                if let Some(task) = task.take() {
                    worker.push(task, why);
                }
            }
        }
    });
    task.map_or(Ok(()), Err)
}

/// Is the calling thread a worker of `executor`, and in charge of its queue?
pub(crate) fn is_worker_of(executor: &Executor) -> bool {
    let is_it = |worker: &RefCell<Option<Worker>>| {
        let worker = worker.borrow();
        worker
            .as_ref()
            .is_some_and(|worker| ptr::eq(Arc::as_ptr(&worker.executor), executor))
    };
    // In the destructors of thread-locals it may be gone, and the thread is no worker any more.
    WORKER.try_with(is_it).unwrap_or(false)
}

/// The calling thread, a worker of `executor` that has run its task, is about to wake a
/// thread that may come back with the next task at once. If it has nothing else to do, it counts as
/// searching from now on. Otherwise that thread would wake another worker, which costs it more than
/// the task takes.
///
/// Call it only if nothing but that wake comes before the next look at the queues: a worker that
/// counts as searching and does not look keeps others from being woken.
pub(crate) fn announce_search(executor: &Executor) {
    let _ = WORKER.try_with(|worker| {
        let Ok(mut worker) = worker.try_borrow_mut() else {
            return;
        };
        let Some(worker) = &mut *worker else { return };
        let ours = ptr::eq(Arc::as_ptr(&worker.executor), executor);
        let nothing_to_do = worker.core.queue.is_empty() && !worker.lane().slot_used();
        if ours && nothing_to_do && !worker.core.announced {
            worker.core.announced = executor.idle.try_search();
        }
    });
}

/// Takes the calling thread's core, if it has one: it is no worker any more.
pub(crate) fn take_core() -> Option<Core> {
    let worker = WORKER.with(|worker| worker.borrow_mut().take());
    worker.map(|worker| worker.core)
}

/// Gives the calling thread a core.
pub(crate) fn give_core(executor: Arc<Executor>, core: Core) {
    let before = WORKER.with(|worker| worker.borrow_mut().replace(Worker { executor, core }));
    debug_assert!(before.is_none(), "a thread is one worker");
    drop(before);
}

impl Worker {
    fn lane(&self) -> &Lane {
        &self.executor.lanes[self.core.index]
    }

    fn push(&self, task: TaskRef, why: Push) {
        let idle = &self.executor.idle;
        if why == Push::Again {
            // Alone, the task is this worker's next: no other worker has to come for it. With
            // another task in the slot, which goes first and may take long, it is not.
            let alone = self.core.queue.is_empty() && !self.lane().slot_used();
            self.core.queue.push(task);
            if !alone {
                idle.notify();
            }
            return;
        }
        match self.lane().exchange(Some(task)) {
            None => idle.notify_sentinel(),
            Some(before) => {
                self.core.queue.push(before);
                idle.notify();
            }
        }
    }

    /// The next task of this worker, or from outside.
    fn next(&mut self) -> Option<TaskRef> {
        let executor = &*self.executor;
        let lane = &executor.lanes[self.core.index];
        let core = &mut self.core;
        core.tick = core.tick.wrapping_add(1);
        lane.tick.store(core.tick, Ordering::Relaxed);
        if core.tick % OUTSIDE_EVERY == 0 {
            if let Some(task) = surely(|| executor.outside.steal()) {
                return Some(task);
            }
        }
        if let Some(task) = lane.take_slot() {
            if core.streak < SLOT_STREAK {
                core.streak += 1;
                return Some(task);
            }
            core.queue.push(task);
        }
        core.streak = 0;
        core.queue.pop().or_else(|| {
            let task = surely(|| executor.outside.steal_batch_and_pop(&core.queue));
            if !core.queue.is_empty() {
                // While they were on their way here no worker could see them, and a worker that
                // went to sleep meanwhile did so without them.
                executor.idle.notify();
            }
            task
        })
    }

    /// A task of another worker.
    fn steal(&mut self) -> Option<TaskRef> {
        let lanes = &self.executor.lanes;
        // Begins with the next worker, so that not all of them turn to the same one.
        (1..lanes.len()).find_map(|offset| {
            let victim = &lanes[(self.core.index + offset) % lanes.len()];
            surely(|| {
                if victim.queue.is_empty() {
                    return Steal::Empty;
                }
                victim.queue.steal_batch_and_pop(&self.core.queue)
            })
        })
    }
}

/// Takes a task that has been in the slot of a worker since the last call, while that
/// worker was busy with something else.
fn watch(executor: &Executor, seen: &mut Vec<usize>) -> Option<TaskRef> {
    // One worker at a time watches: for all of them it would be the square of their number.
    seen.resize(executor.lanes.len(), 0);
    let mut lanes = executor.lanes.iter().zip(seen);
    lanes.find_map(|(lane, seen)| {
        let tick = lane.tick.load(Ordering::Relaxed);
        let stuck = lane.slot_used() && tick == *seen;
        *seen = tick;
        if stuck { lane.take_slot() } else { None }
    })
}

/// A worker's next step.
enum Next {
    Run(TaskRef),
    Leave,
    /// The thread is no worker any more.
    Lost,
}

/// The life of a worker thread that has been [given](give_core) a core. Ends with the core when
/// there is nothing left to do, or without it when it has lost the core to another thread.
pub(crate) fn work(executor: &Arc<Executor>) -> Option<Core> {
    let me = Sleeper::new();
    let mut searching = false;
    let mut ready = Vec::new();
    let mut ran = 0_u32;
    loop {
        match next(executor, &me, &mut searching, &mut ready) {
            Next::Run(task) => {
                task.run();
                if executor.is_inherited() {
                    // The other tasks are the parent's.
                    return None;
                }
                ran = ran.wrapping_add(1);
                if ran % POLL_EVERY == 0 {
                    poll(executor, &mut ready);
                }
            }
            Next::Leave => return take_core(),
            Next::Lost => return None,
        }
    }
}

/// Looks into the poller on a busy worker, if no other worker is there.
fn poll(executor: &Executor, ready: &mut Vec<Ready>) {
    match executor.idle.place.take() {
        Some(turn) => turn.look(ready),
        None => return,
    };
    tell(ready);
    // Another worker may have found the place taken, and gone to sleep meanwhile.
    executor.idle.notify_poller();
}

/// Tells the listeners of what was ready, on the thread that may then run the tasks that they wake.
///
/// If the caller counts as searching, it looks for work soon: listeners wake, and do no more.
fn tell(ready: &mut Vec<Ready>) {
    ready.drain(..).for_each(Ready::tell);
}

fn next(
    executor: &Arc<Executor>,
    me: &Arc<Sleeper>,
    searching: &mut bool,
    ready: &mut Vec<Ready>,
) -> Next {
    let idle = &executor.idle;
    loop {
        let found = WORKER.with(|worker| {
            let mut worker = worker.borrow_mut();
            let worker = worker.as_mut()?;
            *searching |= std::mem::take(&mut worker.core.announced);
            let mut task = worker.next();
            if task.is_none() {
                *searching = *searching || idle.try_search();
                if *searching {
                    task = worker.steal();
                }
            }
            worker.lane().busy.store(task.is_some(), Ordering::Relaxed);
            Some(task)
        });
        match found {
            None => return Next::Lost,
            Some(Some(task)) => {
                if std::mem::take(searching) {
                    if idle.found() && executor.has_more() {
                        idle.notify();
                    }
                    idle.notify_poller();
                }
                return Next::Run(task);
            }
            Some(None) => {}
        }
        if executor.is_closed() {
            if std::mem::take(searching) {
                idle.found();
            }
            return Next::Leave;
        }
        if let Some(task) = rest(executor, me, searching, ready) {
            return Next::Run(task);
        }
    }
}

/// Looks around for a while, and then sleeps. This function holds the core meanwhile: only the
/// worker itself queues anything with it.
fn rest(
    executor: &Arc<Executor>,
    me: &Arc<Sleeper>,
    searching: &mut bool,
    ready: &mut Vec<Ready>,
) -> Option<TaskRef> {
    let mut core = take_core()?;
    let wait = core.spin.begin();
    let visible = || executor.is_closed() || executor.has_queued();
    let mut taken = None;
    let seen = if *searching {
        let mut turn = executor.idle.place.take();
        core.spin.look(&wait, || {
            let turn = turn.as_mut();
            visible() || turn.is_some_and(|turn| turn.look_now_and_then(ready))
        })
        // A worker that has found the place taken meanwhile can rely on this one: it goes to sleep,
        // or finds something, and then says so.
    } else {
        Seen::No
    };
    if seen == Seen::No {
        let was_searching = std::mem::take(searching);
        let slots_used = || executor.lanes.iter().any(Lane::slot_used);
        let seen = &mut core.seen;
        let watch = || watch(executor, seen);
        match executor
            .idle
            .sleep(me, was_searching, visible, slots_used, watch, ready)
        {
            Woken::Notified => *searching = true,
            Woken::Found(task) => {
                // As in `next`: there is no sentinel now, and perhaps no searching worker.
                if executor.idle.found() && executor.has_more() {
                    executor.idle.notify();
                }
                executor.idle.notify_poller();
                taken = Some(task);
            }
        }
    }
    core.spin.end(&wait, seen, me.notified_at());
    if taken.is_some() {
        executor.lanes[core.index]
            .busy
            .store(true, Ordering::Relaxed);
    }
    give_core(executor.clone(), core);
    tell(ready);
    taken
}

impl Executor {
    /// Is there a task in a queue?
    fn has_queued(&self) -> bool {
        !self.outside.is_empty() || self.lanes.iter().any(|lane| !lane.queue.is_empty())
    }

    /// Is there a task in a queue or in a slot?
    fn has_more(&self) -> bool {
        self.has_queued() || self.lanes.iter().any(Lane::slot_used)
    }
}
