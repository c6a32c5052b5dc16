//! Wakers for drivers that must not be unwound: [`WakerSlot`], [`is_harmless`].

use std::{
    fmt, ptr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicPtr, Ordering::Relaxed},
    },
    task::{Context, RawWakerVTable, Wake, Waker},
};

use fourway_core::{context, implement};

use crate::{
    sync::{Mutex, MutexGuard},
    wake, wakes_a_thread,
};

/// A slot between a driver that calls wakers, such as a foreign runtime's reactor, and the waker
/// of whoever waits.
///
/// The driver has [`waker`](Self::waker), which is the same one for as long as the slot lives,
/// however many tasks poll. It passes a wake on to the last waker that was [set](Self::set), once.
/// A hand-made waker may panic, which would end the driver's thread, and with it all timers and
/// sockets: the slot contains it. The thread counts as running async code meanwhile, because to
/// block it would hold up the others ([no blocking in async code](fourway_core::contract#BL-2)).
///
/// Dropping the slot drops the waker that was set, although the driver may keep its own for longer
/// ([timers work anywhere](fourway_core::contract#TI-2)).
///
/// It allocates once. Not needed for wakers that are [harmless](is_harmless).
///
/// # Examples
///
/// ```
/// use fourway_adapt::WakerSlot;
/// use std::task::{Context, Poll, Waker};
///
/// fn poll(slot: &WakerSlot, cx: &Context<'_>, native: impl Fn(&Waker) -> Poll<()>) -> Poll<()> {
///     // Before the driver is asked: a wake in between finds the waker.
///     slot.set(cx.waker());
///     native(slot.waker())
/// }
/// # let slot = WakerSlot::new();
/// # assert!(poll(&slot, &Context::from_waker(Waker::noop()), |_| Poll::Pending).is_pending());
/// ```
pub struct WakerSlot {
    slot: Arc<Slot>,
    waker: Waker,
}

impl WakerSlot {
    /// An empty slot.
    #[must_use]
    pub fn new() -> Self {
        let slot = Arc::<Slot>::default();
        Self {
            waker: Waker::from(slot.clone()),
            slot,
        }
    }

    /// The waker for the driver.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Calls `poll` with a waker that a driver may have: `cx`'s own if that is
    /// [harmless](is_harmless), or that of the slot in `place`, which is made when it is first needed.
    ///
    /// Once there is a slot it is used for every waker, so that it keeps none that is out of date.
    pub fn between<T>(
        place: &mut Option<Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        if place.is_none() && is_harmless(cx.waker()) {
            return poll(cx);
        }
        let slot = place.get_or_insert_with(Self::new);
        // Before the driver is asked: a wake in between finds the waker.
        slot.set(cx.waker());
        poll(&mut Context::from_waker(slot.waker()))
    }

    /// The next wake is passed on to `waker`, and to no earlier one.
    pub fn set(&self, waker: &Waker) {
        let known = |known: &Waker| known.will_wake(waker);
        if self.slot.lock().as_ref().is_some_and(known) {
            return;
        }
        // Cloned and dropped outside of the lock, because it is user code.
        let waker = waker.clone();
        let before = self.slot.lock().replace(waker);
        drop(before);
    }
}

impl Default for WakerSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        let waker = self.slot.lock().take();
        drop(waker);
    }
}

impl fmt::Debug for WakerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakerSlot").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Slot {
    waker: Mutex<Option<Waker>>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        // No user code runs under the lock, so that nothing can poison it.
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            let _mark = implement::enter(context::Context::Async, None);
            wake(waker);
        }
    }
}

/// The functions of wakers that are known to be harmless. Their addresses are only compared.
static HARMLESS: [AtomicPtr<RawWakerVTable>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Is this waker known to return at once, without a panic and without a call of unknown code? A
/// driver can have such a waker itself, without a [`WakerSlot`].
///
/// It is, if it [wakes a thread](wakes_a_thread), or is of a kind that was
/// [declared](declare_harmless). [`Waker::noop`] is not known: each crate has functions of its own
/// for it.
#[inline]
#[must_use]
pub fn is_harmless(waker: &Waker) -> bool {
    // Relaxed: the pointers are compared and not dereferenced.
    let is = |known: &AtomicPtr<_>| ptr::eq(known.load(Relaxed), waker.vtable());
    HARMLESS.iter().any(is) || wakes_a_thread(waker)
}

/// Declares all wakers with the functions of `waker` to be [harmless](is_harmless). For adapters,
/// about the wakers of their runtime's tasks.
///
/// There is room for few kinds; the rest is ignored.
pub fn declare_harmless(waker: &Waker) {
    let functions = ptr::from_ref(waker.vtable()).cast_mut();
    for known in &HARMLESS {
        // Relaxed, as the pointers are only compared.
        match known.compare_exchange(ptr::null_mut(), functions, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(same) if same == functions => return,
            Err(_) => {}
        }
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker"));
        }
    }

    #[test]
    fn a_panic_of_a_waker_is_contained_and_each_set_is_woken_once() {
        let slot = WakerSlot::new();
        let waker = slot.waker().clone();
        let (panics, other) = (Arc::new(Panics), Arc::new(Panics));
        slot.set(&Waker::from(other.clone()));
        slot.set(&Waker::from(panics.clone()));
        assert_eq!(Arc::strong_count(&other), 1);
        waker.wake_by_ref();
        assert_eq!(Arc::strong_count(&panics), 1);
        waker.wake_by_ref();
        slot.set(&Waker::from(panics.clone()));
        drop(slot);
        assert_eq!(Arc::strong_count(&panics), 1);
        waker.wake();
    }

    #[test]
    fn unknown_wakers_are_not_harmless() {
        let waker = Waker::from(Arc::new(Panics));
        assert!(!is_harmless(&waker));
        assert!(!is_harmless(WakerSlot::new().waker()));
    }
}
