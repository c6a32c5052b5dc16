//! The scope that work belongs to, beside its awaiting caller: [`Enclosing`].

use std::sync::{Arc, Weak};

use crate::{
    Payload,
    cancel::{self, CancellationToken},
    values::{Key, Values},
};

/// A scope that is not over before the work in it is: a nursery.
///
/// It travels among the [`Values`] of the work. A blocking body of a call holds it open while it
/// runs, because such a body outlives the future that awaits it ([OF-3]). An inner scope holds it
/// open until the inner scope is over.
///
/// [OF-3]: crate::contract#OF-3
pub trait Enclosing: Send + Sync {
    /// Keeps the scope open until the hold is dropped. `None` if it is over already.
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>>;

    /// Cancelled as soon as nothing in the scope may go on, shielded work included.
    fn killed(&self) -> CancellationToken;

    /// Is the scope dropping its work that is not shielded?
    fn drops(&self) -> bool;
}

/// Keeps a scope open. Made by [`Enclosing::hold`].
pub trait Hold: Send {
    /// Calls `f`, once, as work of the scope.
    fn around(&self, f: &mut dyn FnMut()) {
        f();
    }

    /// Work of the scope panicked, and no caller is left to receive the panic.
    fn panicked(&mut self, payload: Payload);
}

static ENCLOSING: Key<Weak<dyn Enclosing>> = Key::new("enclosing scope");

/// `values`, with `scope` as the scope that the work belongs to.
///
/// Gives `values` unchanged, and allocates nothing, if `scope` is set already.
#[must_use]
pub fn enclose(values: Values, scope: &Weak<dyn Enclosing>) -> Values {
    if encloses(scope, &values) {
        return values;
    }
    values.with(&ENCLOSING, scope.clone())
}

/// [`enclose`], which also makes `token` the current one ([`attach`](CancellationToken::attach)):
/// in one allocation.
#[must_use]
pub fn enclose_with(
    values: Values,
    scope: &Weak<dyn Enclosing>,
    token: &CancellationToken,
) -> Values {
    if encloses(scope, &values) {
        return token.attach(values);
    }
    values.with_both(
        (&ENCLOSING, scope.clone()),
        (&cancel::CURRENT, token.clone()),
    )
}

fn encloses(scope: &Weak<dyn Enclosing>, values: &Values) -> bool {
    values
        .get(&ENCLOSING)
        .is_some_and(|known| known.ptr_eq(scope))
}

/// The scope that the calling thread's work belongs to, if it still exists.
#[must_use]
pub fn enclosing() -> Option<Arc<dyn Enclosing>> {
    // Upgraded outside of the thread-local's borrow: to drop it may run foreign code.
    ENCLOSING.get()?.upgrade()
}
