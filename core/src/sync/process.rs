//! The parts that a process or a thread of a model has once: the clock, once-cells and
//! thread-locals.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::HashMap,
    marker::PhantomData,
    time::{Duration, Instant},
};

#[cfg(all(fourway_loom, not(fourway_shuttle)))]
use ::loom::thread as checker;
#[cfg(fourway_shuttle)]
use ::shuttle::thread as checker;

pub use crate::__fourway_modelled_thread_local as thread_local;

std::thread_local! {
    // Of the system's thread, on which all threads of one model run.
    static START: Instant = Instant::now();
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static ONCE: RefCell<HashMap<usize, &'static dyn Any>> = RefCell::default();
}

/// The time in the model. It does not have to be set back between executions.
pub(super) fn time() -> Instant {
    START.with(|start| *start) + PASSED.get()
}

pub(super) fn advance(time: Duration) {
    PASSED.set(PASSED.get() + time);
}

/// Forgets the once-cells, so that they are made anew.
pub(super) fn forget() {
    ONCE.with_borrow_mut(HashMap::clear);
}

/// A cell that is made once in a process, or once in an execution of a model.
pub struct OnceLock<T> {
    make_it_sized: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub const fn new() -> Self {
        Self {
            make_it_sized: std::sync::OnceLock::new(),
        }
    }
}

impl<T: Any> OnceLock<T> {
    fn key(&'static self) -> usize {
        std::ptr::from_ref(&self.make_it_sized).addr()
    }

    pub fn get(&'static self) -> Option<&'static T> {
        let known = ONCE.with_borrow(|once| once.get(&self.key()).copied());
        known.map(|value| value.downcast_ref().expect("each lock has one type"))
    }

    pub fn get_or_init(&'static self, f: impl FnOnce() -> T) -> &'static T {
        self.get().unwrap_or_else(|| {
            let value: &'static T = Box::leak(Box::new(f()));
            ONCE.with_borrow_mut(|once| once.insert(self.key(), value));
            value
        })
    }
}

/// A thread-local of the model's threads.
pub struct LocalKey<T: 'static>(checker::LocalKey<T>);

impl<T: 'static> LocalKey<T> {
    pub const fn new(init: fn() -> T) -> Self {
        Self(checker::LocalKey {
            init,
            _p: PhantomData,
        })
    }

    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.0.with(f)
    }

    pub fn try_with<R>(
        &'static self,
        f: impl FnOnce(&T) -> R,
    ) -> std::result::Result<R, checker::AccessError> {
        self.0.try_with(f)
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __fourway_modelled_thread_local {
    ($($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block;)*) => {
        $($(#[$attr])* $vis static $name: $crate::sync::LocalKey<$t> =
            $crate::sync::LocalKey::new(|| $init);)*
    };
}
