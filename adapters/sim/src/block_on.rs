use std::{
    future::{Future, IntoFuture},
    panic::Location,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicU8,
            Ordering::{self, Relaxed},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use fourway_core::{
    BlockOn, BlockOnError,
    context::{self, Context as Mark},
    implement::{self, Parking},
};

use crate::{
    Sim,
    carrier::{Carrier, Role},
    failure::Wait,
    here::{Entered, Here},
    state::{Inner, Phase, Runnable},
    trace::Action,
};

impl BlockOn for Sim {
    #[track_caller]
    fn try_block_on<F: IntoFuture>(&self, future: F) -> Result<F::Output, BlockOnError> {
        let location = Location::caller();
        let inner = self.inner();
        if let Err(error) = implement::check_may_block() {
            if !inner.is_inherited() {
                inner.refused(location);
            }
            return Err(error);
        }
        inner.point(location, false);
        drive(inner, future.into_future(), Some(location), OwnSlot::Lend)
    }

    #[track_caller]
    fn block_on<F: IntoFuture>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => refuse(self.inner(), &error),
        }
    }

    fn block_in_place<T, F: FnOnce() -> T>(&self, f: F) -> Result<T, BlockOnError> {
        if context::current() != Mark::Async {
            return Ok(f());
        }
        let inner = self.inner();
        if implement::runtime_id() != Some(inner.id) {
            // Another runtime's thread: it has tasks of its own waiting, which we cannot run.
            return Err(BlockOnError::unsupported());
        }
        // In a forked child no other thread polls tasks.
        let me = inner.here().filter(|_| !inner.is_inherited());
        if let Some(me) = me.filter(|me| me.role == Role::Worker) {
            // From here on, and for the rest of this poll, another worker polls tasks.
            if me.enter_in_place() {
                let mut state = inner.lock();
                state.busy -= 1;
                inner.kick(state);
            }
        }
        let _mark = implement::enter(Mark::Blocking, Some(inner.id));
        Ok(f())
    }
}

/// Panics, at the caller's line.
#[track_caller]
pub(crate) fn refuse(inner: &Inner, error: &BlockOnError) -> ! {
    if error.is_shutdown() && !inner.is_inherited() && inner.is_ending() {
        // The run has ended already, and its report says why: the panic hook is not needed.
        std::panic::resume_unwind(Box::new(error.to_string()))
    }
    panic!("{error}")
}

impl Inner {
    /// Async code has asked to block.
    fn refused(self: &Arc<Self>, location: &'static Location<'static>) {
        let mut state = self.lock();
        let unit = self.current_unit(&state);
        state.event(unit, Action::Refused);
        state.refusals.push((unit, location));
    }
}

/// The slot of the calling thread's closure, while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnSlot {
    Lend,
    Keep,
}

/// `wait`, for both kinds of handles.
#[track_caller]
pub(crate) fn wait<F: Future>(inner: &Arc<Inner>, handle: F) -> F::Output {
    match try_wait(inner, handle) {
        Ok(output) => output,
        Err(error) => refuse(inner, &error),
    }
}

/// `try_wait`, for both kinds of handles.
///
/// # Errors
///
/// In async code, and those of [`drive`].
pub(crate) fn try_wait<F: Future>(
    inner: &Arc<Inner>,
    handle: F,
) -> Result<F::Output, BlockOnError> {
    implement::check_may_block()?;
    drive(inner, handle, None, OwnSlot::Lend)
}

/// Runs a future to its end on the calling thread, which may block.
///
/// # Errors
///
/// [`is_shutdown`](BlockOnError::is_shutdown): the run is over, and the wait would never end.
pub(crate) fn drive<F: Future>(
    inner: &Arc<Inner>,
    future: F,
    location: Option<&'static Location<'static>>,
    slot: OwnSlot,
) -> Result<F::Output, BlockOnError> {
    if inner.is_inherited() {
        return fourway_adapt::block_on(future, Some(inner.id));
    }
    let mut state = inner.lock();
    let (me, entered) = match inner.here() {
        Some(me) => (me, None),
        None => {
            inner.check_foreign(&mut state);
            if state.strict && !inner.config.foreign_threads {
                return Err(BlockOnError::shutdown());
            }
            let me = inner.guest(&mut state);
            state.carriers.insert(me.number, me.clone());
            let here = Here {
                inner: inner.clone(),
                carrier: me.clone(),
            };
            (me, Some(here.enter(false)))
        }
    };
    if let Some(location) = location {
        me.seen_at(location);
    }
    let state = inner.regain(state, &me);
    drop(state);
    let signal = Arc::new(Signal {
        inner: inner.clone(),
        carrier: me.clone(),
        status: AtomicU8::new(POLLING),
    });
    let waker = Waker::from(signal.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(Some(future));
    let mut driving = Driving {
        inner,
        me: &me,
        future: future.as_mut(),
        signal: &signal,
        slot,
        lent: false,
        entered,
    };
    loop {
        let poll = {
            let _mark = implement::enter(Mark::Async, Some(inner.id));
            let future = driving.future.as_mut().as_pin_mut();
            future.expect("present until it is destroyed").poll(&mut cx)
        };
        if let Poll::Ready(output) = poll {
            return Ok(output);
        }
        if !driving.wait() {
            return Err(BlockOnError::shutdown());
        }
    }
}

/// A thread that drives a future.
struct Driving<'a, F> {
    inner: &'a Arc<Inner>,
    me: &'a Arc<Carrier>,
    future: Pin<&'a mut Option<F>>,
    signal: &'a Arc<Signal>,
    slot: OwnSlot,
    lent: bool,
    /// For a guest.
    entered: Option<Entered>,
}

impl<F> Driving<'_, F> {
    /// Waits for a wake. `false` if there will be none.
    fn wait(&mut self) -> bool {
        let _parking = Parking::begin();
        let (inner, me) = (self.inner, self.me);
        let mut state = inner.regain(inner.lock(), me);
        let unit = me.unit();
        if state.strict && state.phase >= Phase::Evicting {
            // No thread waits any more, nor gives way.
            return false;
        }
        if !self.lent && self.slot == OwnSlot::Lend {
            self.lent = inner.lend(&mut state, me);
        }
        let woken = self.signal.status.swap(WAITING, Relaxed) == WOKEN;
        if woken {
            // It has given way, and is ready.
            self.signal.status.store(POLLING, Relaxed);
            state.event(Some(unit), Action::Yielded);
            state.gave_way = Some(unit);
            state.threads.push(Runnable::Resume(me.clone()));
        } else {
            state.event(Some(unit), Action::Waits);
            me.since.store(state.clock, Relaxed);
            state.blocked.insert(me.number);
        }
        inner.switch(state, me, woken);
        let mut state = inner.lock();
        state.blocked.remove(&me.number);
        self.signal.status.store(POLLING, Relaxed);
        state.event(Some(unit), Action::Ran);
        drop(state);
        drop(me.take_waits());
        !me.evicted.swap(false, Relaxed)
    }
}

impl<F> Drop for Driving<'_, F> {
    fn drop(&mut self) {
        {
            let _mark = implement::enter(Mark::Async, Some(self.inner.id));
            self.future.set(None);
        }
        drop(self.me.take_waits());
        // Wakes have no effect from here on.
        let state = self.inner.lock();
        self.signal.status.store(OVER, Relaxed);
        drop(state);
        if self.lent {
            self.inner.take_back(self.me);
        }
        if let Some(entered) = self.entered.take() {
            drop(entered);
            let mut state = self.inner.lock();
            state.carriers.remove(&self.me.number);
            if state.holder == Some(self.me.number) {
                self.inner.leave(state, self.me);
            } else {
                self.inner.kick(state);
            }
        }
    }
}

const POLLING: u8 = 0;
const WOKEN: u8 = 1;
const WAITING: u8 = 2;
const OVER: u8 = 3;

/// Wakes a thread that drives a future; each `drive` has its own, so that a wake meant for an
/// earlier one causes no poll in a later one (BL-5, park tokens and stale wakes).
struct Signal {
    inner: Arc<Inner>,
    carrier: Arc<Carrier>,
    /// Written under the simulation's lock.
    status: AtomicU8,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.inner.is_inherited() {
            return;
        }
        let mut state = self.inner.lock();
        self.inner.check_foreign(&mut state);
        match self.status.load(Relaxed) {
            POLLING => self.status.store(WOKEN, Relaxed),
            WAITING => {
                self.status.store(POLLING, Relaxed);
                let by = self.inner.current_unit(&state);
                let unit = self.carrier.unit();
                state.event(by, Action::Woke(unit));
                // Evicted, it is among the ready already.
                if state.blocked.remove(&self.carrier.number) {
                    state.threads.push(Runnable::Resume(self.carrier.clone()));
                }
                self.inner.kick(state);
            }
            _ => {}
        }
    }
}

impl Carrier {
    /// `true` if it was not in there.
    fn enter_in_place(&self) -> bool {
        !self.in_place.swap(true, Ordering::Relaxed)
    }

    /// `true` if it was in there.
    pub(crate) fn leave_in_place(&self) -> bool {
        self.in_place.swap(false, Ordering::Relaxed)
    }
}

/// A wait of the calling thread for the simulation's own purposes.
pub(crate) fn note(inner: &Inner, wait: Wait) {
    if let Some(here) = inner.here() {
        here.note(wait);
    }
}
