//! The values that are current on a thread, and their scopes.

use std::{cell::RefCell, future::Future, marker::PhantomData, mem::ManuallyDrop, pin::Pin};

use super::Values;
use crate::{scoped::scoped_future, sync::thread_local};

thread_local! {
    // Without a destructor: destructors of other thread-locals have values, too. There is nothing
    // to drop when the thread ends, because who sets values restores the earlier ones, and the
    // first of them are none.
    static CURRENT: RefCell<ManuallyDrop<Values>> =
        const { RefCell::new(ManuallyDrop::new(Values { newest: None })) };
}

impl Values {
    /// The values that are current on this thread.
    #[must_use]
    pub fn current() -> Self {
        Self::with_current(Self::clone)
    }

    #[inline]
    pub(crate) fn with_current<R: Default>(f: impl FnOnce(&Self) -> R) -> R {
        // Where it can be gone, as in a model, there are no values.
        CURRENT
            .try_with(|current| f(&current.borrow()))
            .unwrap_or_default()
    }

    /// Calls `f` with these values current, and restores the earlier ones.
    pub fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        let _restore = self.enter();
        f()
    }

    /// [`scope`](Self::scope), for a caller that needs the values again. They are moved to the
    /// thread and back: a clone would count a reference that all threads share. While `f` runs,
    /// `self` holds the earlier values.
    pub fn scope_mut<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _back = Lent::new(self);
        f()
    }

    /// Makes these values current whenever `future` is polled or dropped.
    pub fn scope_future<F: Future>(self, future: F) -> WithValues<F> {
        WithValues {
            future: Some(future),
            values: self,
        }
    }

    fn enter(self) -> Restore {
        Restore {
            previous: replace_current(self),
            not_send: PhantomData,
        }
    }
}

scoped_future! {
    /// A future with values of its own. Made by [`Values::scope_future`].
    WithValues, values: Values => Lent::new(values)
}

fn replace_current(values: Values) -> Values {
    CURRENT
        .try_with(|current| current.replace(ManuallyDrop::new(values)))
        .map(ManuallyDrop::into_inner)
        .unwrap_or_default()
}

struct Restore {
    previous: Values,
    // The values belong to this thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The values that go away are dropped after the cell is released: their
        // destructors may look at what is current.
        let gone = replace_current(std::mem::take(&mut self.previous));
        drop(gone);
    }
}

/// Values that are current on this thread until this is dropped. The drop moves them back.
struct Lent<'a> {
    // The earlier ones of the thread meanwhile; `None` if they could not be exchanged.
    values: Option<&'a mut Values>,
    // The values belong to this thread.
    not_send: PhantomData<*const ()>,
}

impl<'a> Lent<'a> {
    fn new(values: &'a mut Values) -> Self {
        Self {
            values: exchange(values).then_some(values),
            not_send: PhantomData,
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(values) = &mut self.values {
            exchange(values);
        }
    }
}

/// `false`, and nothing is changed, where [`CURRENT`] can be gone, as in a model.
fn exchange(values: &mut Values) -> bool {
    CURRENT
        .try_with(|current| std::mem::swap(&mut **current.borrow_mut(), values))
        .is_ok()
}
