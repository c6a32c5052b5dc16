//! The scope that work belongs to, beside its awaiting caller: [`Enclosing`].

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{Ordering, fence},
    },
};

use crate::{
    Payload,
    cancel::{self, CancellationToken},
    values::{Key, LateEntry, Values},
};

/// A scope that is not over before the work in it is: a nursery.
///
/// It travels among the [`Values`] of the work. A blocking body of a call holds it open while it
/// runs, because such a body outlives the future that awaits it ([cancelled closures][OF-3]). An
/// inner scope holds it open until the inner scope is over.
///
/// [OF-3]: crate::contract#OF-3
pub trait Enclosing: Send + Sync {
    /// Keeps the scope open until the hold is dropped. `None` if it is over already.
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>>;

    /// Cancelled as soon as nothing in the scope may go on, shielded work included.
    fn killed(&self) -> CancellationToken;

    /// Is the scope dropping its work that is not shielded?
    fn drops(&self) -> bool;

    /// The token of its work, for [`enclose_late`]. Work asks for it, so that no lock may be held
    /// here that is held while foreign code runs.
    fn token(&self) -> CancellationToken {
        CancellationToken::new()
    }
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
/// Gives `values` unchanged, and allocates nothing, if `scope` is set already. Otherwise values may
/// be dropped or cloned, as by [`Values::with`].
///
/// # Panics
///
/// With a panic of that code.
#[must_use]
pub fn enclose(values: Values, scope: &Weak<dyn Enclosing>) -> Values {
    if encloses(scope, &values) {
        return values;
    }
    values.with(&ENCLOSING, scope.clone())
}

/// [`enclose`], which also makes `token` the current one ([`attach`](CancellationToken::attach)):
/// in one allocation.
///
/// # Panics
///
/// As [`enclose`].
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

/// [`enclose_with`] for a scope that is set nowhere yet. Without a `token`, the scope
/// [makes](Enclosing::token) one when it is first asked for. Most scopes end without.
///
/// Until then it counts as not cancelled. The scope must make it [with the
/// entry](Enclosed::token_with).
///
/// # Panics
///
/// As [`enclose`].
#[must_use]
pub fn enclose_late(
    values: Values,
    scope: Weak<dyn Enclosing>,
    token: Option<CancellationToken>,
) -> (Values, Enclosed) {
    let make = |scope: &Weak<dyn Enclosing>| match scope.upgrade() {
        Some(scope) => Some(scope.token()),
        None => {
            // Pairs with the Release with which the last holder of the scope has let go of it. If
            // the scope had a token, it is set, and no fresh one takes its place.
            fence(Ordering::Acquire);
            None
        }
    };
    let (values, entry) = values.with_late(&ENCLOSING, scope, &cancel::CURRENT, token, make);
    (values, Enclosed(entry))
}

/// The entry that [`enclose_late`] made among the values. It keeps none of them.
pub struct Enclosed(LateEntry<Weak<dyn Enclosing>, CancellationToken>);

impl Enclosed {
    /// Calls `f` with the token of the scope, for it to be kept there. It is made now if it has
    /// not been.
    ///
    /// Work that has the values finds the token from here on, before anybody can have it from the
    /// scope: what is cancelled is seen as cancelled.
    pub fn token_with<T>(&self, f: impl FnOnce(&CancellationToken) -> T) -> T {
        self.0.with(f)
    }

    /// Are these the values that were made with it, and none was added?
    #[must_use]
    pub fn is_of(&self, values: &Values) -> bool {
        self.0.is_newest_of(values)
    }
}

impl fmt::Debug for Enclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enclosed").finish_non_exhaustive()
    }
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
