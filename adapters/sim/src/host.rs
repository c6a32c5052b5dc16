//! The simulation as the [`Host`] of code that would make its threads wait, or start others, by the
//! system's means.

use std::{any::Any, future::Future, pin::Pin, sync::Arc, time::Duration};

use fourway_core::{
    BlockOnError,
    implement::{BoxFuture, Host, HostedThread},
};

use crate::{
    block_on::{OwnSlot, drive},
    carrier::{Carrier, Role},
    here::{Entered, Here},
    state::{Inner, Runnable},
    timer::Sleep,
    trace::{Action, UnitKind},
};

pub(crate) struct Hosting(pub(crate) Arc<Inner>);

impl Host for Hosting {
    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) -> Result<(), BlockOnError> {
        drive(&self.0, future, None, OwnSlot::Keep)
    }

    fn wait_and_lend(
        &self,
        future: Pin<&mut (dyn Future<Output = ()> + '_)>,
    ) -> Result<(), BlockOnError> {
        drive(&self.0, future, None, OwnSlot::Lend)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture {
        Box::pin(Sleep::after(&self.0, duration))
    }

    fn thread(&self) -> Box<dyn HostedThread> {
        let inner = self.0.clone();
        let mut state = inner.lock();
        inner.check_foreign(&mut state);
        let parent = inner.current_unit(&state);
        let unit = state.unit(UnitKind::Thread, None, None, parent);
        let carrier = state.carrier(Role::Scoped, unit);
        state.carriers.insert(carrier.number, carrier.clone());
        // Turns do not change here: until the thread is there it could not take its own.
        state.threads.push(Runnable::Resume(carrier.clone()));
        drop(state);
        Box::new(Starting {
            inner,
            carrier: Some(carrier),
        })
    }
}

/// A thread that other code is about to start.
struct Starting {
    inner: Arc<Inner>,
    /// Until it begins.
    carrier: Option<Arc<Carrier>>,
}

impl HostedThread for Starting {
    fn begin(mut self: Box<Self>) -> Box<dyn Any> {
        let carrier = self.carrier.take().expect("it begins once");
        carrier.is_this_thread();
        let here = Here {
            inner: self.inner.clone(),
            carrier: carrier.clone(),
        };
        let entered = here.enter(true);
        carrier.wait_turn();
        let unit = carrier.unit();
        self.inner.lock().event(Some(unit), Action::Ran);
        Box::new(Begun {
            inner: self.inner.clone(),
            carrier,
            _entered: entered,
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let Some(carrier) = self.carrier.take() else {
            return;
        };
        let mut state = self.inner.lock();
        state.carriers.remove(&carrier.number);
        state.threads.retain(|one| one.id() != carrier.unit());
        state.event(Some(carrier.unit()), Action::Ended);
    }
}

/// A thread that other code has started, until it ends.
struct Begun {
    inner: Arc<Inner>,
    carrier: Arc<Carrier>,
    _entered: Entered,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let me = &self.carrier;
        let mut state = self.inner.regain(self.inner.lock(), me);
        state.event(Some(me.unit()), Action::Ended);
        state.carriers.remove(&me.number);
        self.inner.leave(state, me);
    }
}
