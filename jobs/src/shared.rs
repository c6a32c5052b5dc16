//! The common state of a manager, its handles and its workers: the store, the runtime, the clock.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use fourway_core::{
    AnyRuntime, Offload, Shutdown, Spawner, Task,
    cancel::Reason,
    implement::{discard, fork::Process, wake},
};

use crate::{
    JobHandle, JobId, JobManager, WeakJobManager,
    body::Place,
    clock::{Now, Watch},
    dispatch::{Dispatcher, Runner},
    error::{Refusal, UnknownJob},
    event::Events,
    forked::{self, InChild, Next},
    inbox::Inbox,
    job::Options,
    padded::Padded,
    schedule::Schedules,
    slot::Slot,
    store::{Effects, Failed, New, Record, Refused, Settings, Store},
    sync::{Mutex, MutexGuard, lock},
    ticker::Ticker,
};

pub(crate) struct Shared {
    pub(crate) runtime: AnyRuntime,
    pub(crate) watch: Watch,
    /// In which it was made. In a forked child nothing below is touched (FK-1, forked children).
    process: Process,
    in_child: Next,
    /// Apart from what each submitter reads and from the count of the handles.
    store: Padded<Mutex<Store>>,
    inbox: Arc<Inbox>,
    schedules: Schedules,
    /// There is a subscriber.
    listened: AtomicBool,
    /// For what runs in a job.
    manager: OnceLock<WeakJobManager>,
}

impl Shared {
    pub(crate) fn new(runtime: AnyRuntime, watch: Watch, settings: Settings, ageing: u64) -> Self {
        let listened = settings.history > 0;
        let inbox = Arc::new(Inbox::new(JobId::new_manager()));
        let store = Store::new(settings, ageing, inbox.clone());
        Self {
            inbox,
            runtime,
            watch,
            process: Process::this(),
            in_child: Next::new(),
            store: Padded(Mutex::new(store)),
            schedules: Schedules::default(),
            listened: AtomicBool::new(listened),
            manager: OnceLock::new(),
        }
    }

    /// It is that manager's, from its beginning.
    pub(crate) fn is_of(&self, manager: WeakJobManager) {
        let is_first = self.manager.set(manager).is_ok();
        debug_assert!(is_first, "a manager has its own");
    }

    pub(crate) fn manager(&self) -> Option<JobManager> {
        self.manager.get()?.upgrade()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = lock(self.store());
        store.bring_in();
        store
    }

    /// For a dispatcher that ends a job and takes the next one. What has arrived may stay in the
    /// inbox: see [`Store::take`].
    pub(crate) fn lock_to_take(&self) -> MutexGuard<'_, Store> {
        lock(self.store())
    }

    /// Is this the process in which the manager was made? Another one is a forked child.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_this()
    }

    #[inline]
    fn store(&self) -> &Mutex<Store> {
        match self.is_here() {
            true => &self.store,
            false => &InChild::of(&self.in_child).store,
        }
    }

    pub(crate) fn schedules(&self) -> &Schedules {
        match self.is_here() {
            true => &self.schedules,
            false => &InChild::of(&self.in_child).schedules,
        }
    }

    /// The job is not known.
    pub(crate) fn unknown(&self, id: JobId) -> UnknownJob {
        UnknownJob {
            id,
            is_forked: !self.is_here(),
        }
    }

    pub(crate) fn subscribe(&self, after: Option<u64>, buffer: usize) -> Events {
        self.listen();
        let ring = self.lock().subscribe(after, buffer);
        if !self.is_here() {
            // There will be no event.
            ring.close();
        }
        Events::new(ring)
    }

    pub(crate) fn now(&self) -> Now {
        self.watch.now()
    }

    /// Submits a job: by the inbox, if that is open and the job has no options. Inlined: see
    /// [`Inbox::enter`].
    #[inline]
    pub(crate) fn submit_new<T: Send + 'static>(
        self: &Arc<Self>,
        new: New,
        options: Options,
        slot: Arc<Slot<T>>,
    ) -> Result<JobHandle<T>, Refused> {
        let is_plain =
            new.body.place() == Place::Task && options.class.is_none() && options.more.is_none();
        if is_plain && self.inbox.may_be_open() && self.is_here() {
            let now = self.now();
            if let Some(inbox) = self.inbox.enter() {
                let id = inbox.put(new, now);
                return Ok(JobHandle::new(id, slot, self.clone(), false));
            }
        }
        self.submit(Record::new(new), options, &slot)
    }

    /// Submits a job.
    #[inline(never)]
    pub(crate) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        record: Record,
        options: Options,
        slot: &Arc<Slot<T>>,
    ) -> Result<JobHandle<T>, Refused> {
        if !self.is_here() {
            let parts = Some(Box::new((record, options)));
            return Err(Refused {
                refusal: Refusal::Forked,
                parts,
            });
        }
        // A time on the wall is compared with what the clock shows now.
        let now = if options.starts_on_wall() {
            self.watch.look()
        } else {
            self.now()
        };
        let submitted = self.change(|store, fx| store.submit(record, options, now, fx))?;
        let handle = |id, slot, was_there| JobHandle::new(id, slot, self.clone(), was_there);
        match submitted {
            (id, None) => Ok(handle(id, slot.clone(), false)),
            (id, Some(found)) => match found.into_any().downcast::<Slot<T>>() {
                Ok(slot) => Ok(handle(id, slot, true)),
                Err(other) => {
                    // It may be the last one by now.
                    discard(other);
                    Err(Refused {
                        refusal: Refusal::OtherType(id),
                        parts: None,
                    })
                }
            },
        }
    }

    /// Changes the state and performs the effects of the change.
    pub(crate) fn with<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Store, Now, &mut Effects) -> T,
    ) -> T {
        let now = self.now();
        self.change(|store, fx| change(store, now, fx))
    }

    #[inline]
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Store, &mut Effects) -> T) -> T {
        let mut fx = Effects::default();
        let output = change(&mut self.lock(), &mut fx);
        self.apply(&mut fx);
        output
    }

    /// Performs the effects of a change of the state. Leaves the lists empty, with their memory.
    pub(crate) fn apply(self: &Arc<Self>, fx: &mut Effects) {
        each(&mut fx.cancel, |(control, reason)| control.cancel(reason));
        each(&mut fx.bodies, discard);
        each(&mut fx.failed, |Failed { slot, error, round }| {
            slot.fail(error, round);
        });
        each(&mut fx.wakers, wake);
        if fx.has_more() {
            self.apply_more(fx);
        }
        each(&mut fx.records, discard);
        each(&mut fx.slots, discard);
    }

    /// The rare effects.
    #[cold]
    fn apply_more(self: &Arc<Self>, fx: &mut Effects) {
        for gone in fx.gone.drain(..) {
            discard(gone);
        }
        for watcher in fx.watchers.drain(..) {
            watcher.act(self);
        }
        for failure in fx.failures.drain(..) {
            discard(failure);
        }
        for control in fx.controls.drain(..) {
            discard(control);
        }
        for waker in fx.unused.drain(..) {
            discard(waker);
        }
        for _ in 0..std::mem::take(&mut fx.dispatchers) {
            self.runtime.spawn_detached(Dispatcher::new(self.clone()));
        }
        for _ in 0..std::mem::take(&mut fx.runners) {
            self.offload_runner();
        }
        if std::mem::take(&mut fx.ticker) {
            self.runtime.spawn_detached(Ticker::new(self.clone()));
        }
    }

    fn offload_runner(self: &Arc<Self>) {
        let runner = Runner::new(self.clone());
        self.runtime.offload(move || runner.run()).detach();
    }

    /// A worker was dropped by the runtime.
    pub(crate) fn worker_lost(self: &Arc<Self>, place: Place) {
        self.with(|store, now, fx| store.worker_lost(place, now, fx));
        self.check_runtime();
    }

    /// The ticker was dropped by the runtime, or cancelled from outside. Its deadlines are
    /// still due.
    pub(crate) fn ticker_lost(self: &Arc<Self>, replace: bool) {
        self.check_runtime();
        if replace && !self.runtime.is_shutdown() {
            // The ticker computes its next wake-up itself, and ends if it has nothing to wait for.
            self.with(|store, _, fx| store.tick_at(0, fx));
        }
    }

    /// Once the runtime is shut down, no job of it will run any more.
    pub(crate) fn check_runtime(self: &Arc<Self>) {
        if self.runtime.is_shutdown() {
            self.give_up();
        }
    }

    /// Accepts no more jobs and cancels all jobs.
    pub(crate) fn give_up(self: &Arc<Self>) -> Vec<JobId> {
        self.schedules().close();
        self.with(|store, now, fx| {
            store.close(false, fx);
            let unfinished = store.unfinished();
            for id in &unfinished {
                store.cancel(*id, Reason::Shutdown, now, fx);
            }
            unfinished
        })
    }

    fn listen(&self) {
        // Relaxed: a hint. Events missed meanwhile happened before the subscription.
        self.listened.store(true, Ordering::Relaxed);
    }

    /// A job has told of its progress.
    pub(crate) fn progressed(self: &Arc<Self>, id: JobId, attempt: u32, fraction: Option<f64>) {
        // Relaxed: as above.
        if self.listened.load(Ordering::Relaxed) {
            self.with(|store, now, fx| store.progressed(id, attempt, fraction, now, fx));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_here() {
            return;
        }
        // The jobs are the parent's, and so is the run of their destructors.
        let store = std::mem::replace(&mut self.store.0, InChild::empty_store());
        std::mem::forget(store);
        std::mem::forget(self.inbox.clone());
        forked::leave(&mut self.schedules);
    }
}

/// Takes the items out one after the other. Most lists have no item or one. A `drain` of them
/// takes about fifty instructions, and each job has several lists.
#[inline]
fn each<T>(list: &mut Vec<T>, mut f: impl FnMut(T)) {
    match list.len() {
        0 => {}
        1 => list.pop().into_iter().for_each(f),
        _ => list.drain(..).for_each(&mut f),
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.lock().counts();
        f.debug_struct("JobManager")
            .field("runtime", &self.runtime)
            .field("counts", &counts)
            .finish_non_exhaustive()
    }
}
