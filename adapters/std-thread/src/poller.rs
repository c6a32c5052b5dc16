//! The place in the poller, which one worker has at a time: see `IDLE.md` beside this file.
//!
//! Without the feature `reactor` there is none, and all of this is empty.

#[cfg(feature = "reactor")]
pub(crate) use with::{Mark, Place, Poller, Ready};
#[cfg(not(feature = "reactor"))]
pub(crate) use without::{Mark, Place, Ready};

#[cfg(feature = "reactor")]
mod with {
    use std::{
        sync::{Arc, OnceLock},
        time::Duration,
    };

    use crate::{
        reactor::{Listener, Readiness},
        sync::atomic::{AtomicBool, Ordering, fence},
    };

    /// Waits for the system: an epoll, a kqueue.
    pub(crate) trait Poller: Send + Sync {
        /// Waits until something is ready, which it adds to `ready`, or it is interrupted, or
        /// the time is over. May return for no reason. Called by one thread at a time.
        fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>);

        /// Has the current wait return, or the next one.
        fn interrupt(&self);
    }

    /// An event, and the listener to tell of it.
    pub(crate) struct Ready {
        pub(crate) listener: Arc<dyn Listener>,
        pub(crate) readiness: Readiness,
    }

    impl Ready {
        pub(crate) fn tell(self) {
            self.listener.ready(self.readiness);
        }
    }

    pub(crate) struct Place {
        /// Is there a poller?
        open: AtomicBool,
        taken: AtomicBool,
        poller: OnceLock<Box<dyn Poller>>,
    }

    /// Is this worker in the poller? As seen by the threads that wake it.
    pub(crate) struct Mark(AtomicBool);

    impl Place {
        pub(crate) fn new() -> Self {
            Self {
                open: AtomicBool::new(false),
                taken: AtomicBool::new(false),
                poller: OnceLock::new(),
            }
        }

        /// Opens the place. The caller must call `Idle::notify_poller` next.
        pub(crate) fn open(&self, poller: Box<dyn Poller>) {
            if self.poller.set(poller).is_ok() {
                self.open.store(true, Ordering::SeqCst);
            }
        }

        #[inline]
        pub(crate) fn is_open(&self) -> bool {
            self.open.load(Ordering::SeqCst)
        }

        /// Is there a poller, with no worker in it?
        pub(crate) fn is_free(&self) -> bool {
            self.is_open() && !self.taken.load(Ordering::SeqCst)
        }

        /// Takes the place, if there is one and it is free.
        #[inline]
        pub(crate) fn take(&self) -> Option<Turn<'_>> {
            if !self.is_free() {
                return None;
            }
            let order = Ordering::SeqCst;
            // Not a swap, which would write in vain as well.
            let taken = self.taken.compare_exchange(false, true, order, order);
            taken.ok()?;
            let poller = self.poller.get().expect("it is open");
            Some(Turn {
                place: self,
                poller: &**poller,
                looks: 0,
            })
        }

        /// Has a worker that was notified leave the poller, if it is there.
        pub(crate) fn interrupt(&self, mark: &Mark) {
            // Pairs with the fence in `Turn::wait`: either this sees the mark, or that sees the
            // notice.
            fence(Ordering::SeqCst);
            if mark.is_set() {
                if let Some(poller) = self.poller.get() {
                    poller.interrupt();
                }
            }
        }
    }

    impl Mark {
        pub(crate) fn new() -> Self {
            Self(AtomicBool::new(false))
        }

        /// Relaxed: in `interrupt` a fence stands before it; elsewhere it is a hint.
        pub(crate) fn is_set(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// The place, taken. A thread that leaves it and stays awake calls `Idle::notify_poller` soon.
    pub(crate) struct Turn<'a> {
        place: &'a Place,
        poller: &'a dyn Poller,
        looks: u32,
    }

    impl Turn<'_> {
        /// Sleeps in the poller, unless `is_notified`.
        pub(crate) fn wait(
            &self,
            mark: &Mark,
            is_notified: impl Fn() -> bool,
            timeout: Option<Duration>,
            ready: &mut Vec<Ready>,
        ) {
            mark.0.store(true, Ordering::Relaxed);
            // Pairs with the fence in `Place::interrupt`.
            fence(Ordering::SeqCst);
            if !is_notified() {
                self.poller.wait(timeout, ready);
            }
            // A thread that sees it still set interrupts a later wait for nothing.
            mark.0.store(false, Ordering::Relaxed);
        }

        /// Looks without sleeping.
        pub(crate) fn look(&self, ready: &mut Vec<Ready>) -> bool {
            self.poller.wait(Some(Duration::ZERO), ready);
            !ready.is_empty()
        }

        /// The same for callers that ask again and again: not each time, as a system call takes a
        /// hundred times as long as the other looks.
        pub(crate) fn look_now_and_then(&mut self, ready: &mut Vec<Ready>) -> bool {
            const EVERY: u32 = 16;
            let look = self.looks % EVERY == 0;
            self.looks = self.looks.wrapping_add(1);
            look && self.look(ready)
        }
    }

    impl Drop for Turn<'_> {
        fn drop(&mut self) {
            self.place.taken.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(not(feature = "reactor"))]
mod without {
    use std::{convert::Infallible, time::Duration};

    pub(crate) struct Place;

    pub(crate) struct Mark;

    pub(crate) enum Turn {}

    pub(crate) struct Ready(Infallible);

    #[allow(clippy::unused_self, reason = "as with the feature")]
    impl Place {
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn is_open(&self) -> bool {
            false
        }

        #[inline]
        pub(crate) fn is_free(&self) -> bool {
            false
        }

        #[inline]
        pub(crate) fn take(&self) -> Option<Turn> {
            None
        }

        #[inline]
        pub(crate) fn interrupt(&self, _mark: &Mark) {}
    }

    #[allow(clippy::unused_self, reason = "as with the feature")]
    impl Mark {
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn is_set(&self) -> bool {
            false
        }
    }

    impl Turn {
        pub(crate) fn wait(
            &self,
            _mark: &Mark,
            _is_notified: impl Fn() -> bool,
            _timeout: Option<Duration>,
            _ready: &mut Vec<Ready>,
        ) {
            match *self {}
        }

        pub(crate) fn look(&self, _ready: &mut Vec<Ready>) -> bool {
            match *self {}
        }

        pub(crate) fn look_now_and_then(&mut self, _ready: &mut Vec<Ready>) -> bool {
            match *self {}
        }
    }

    impl Ready {
        pub(crate) fn tell(self) {
            match self.0 {}
        }
    }
}
