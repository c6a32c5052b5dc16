//! The simulation that the calling thread takes part in, and its carrier there.

use std::{cell::RefCell, sync::Arc, thread};

use fourway_core::implement::{self, InHost};

use crate::{
    carrier::Carrier,
    failure::FailureKind,
    host::Hosting,
    state::{Inner, Phase, State},
};

thread_local! {
    static CURRENT: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The simulation that a thread takes part in.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) inner: Arc<Inner>,
    pub(crate) carrier: Arc<Carrier>,
}

impl Here {
    /// That of the calling thread.
    pub(crate) fn get() -> Option<Self> {
        CURRENT
            .try_with(|here| here.try_borrow().ok()?.clone())
            .ok()?
    }

    /// The calling thread takes part until the guard is dropped. `in_run`: it does nothing but by
    /// turns.
    pub(crate) fn enter(self, in_run: bool) -> Entered {
        let host = in_run.then(|| implement::enter_host(Arc::new(Hosting(self.inner.clone()))));
        let before = CURRENT.try_with(|here| here.replace(Some(self)));
        Entered {
            before: before.ok().flatten(),
            _host: host,
        }
    }
}

/// Made by [`Here::enter`].
pub(crate) struct Entered {
    before: Option<Here>,
    _host: Option<InHost>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let _ = CURRENT.try_with(|here| drop(here.replace(before)));
    }
}

/// Is the calling thread about to end, so that its owner cannot be known?
fn is_ending() -> bool {
    CURRENT.try_with(|_| ()).is_err()
}

impl Inner {
    /// The calling thread's carrier, if it takes part in this simulation.
    pub(crate) fn here(&self) -> Option<Arc<Carrier>> {
        CURRENT
            .try_with(|here| {
                let here = here.borrow();
                let here = here.as_ref()?;
                std::ptr::eq(&*here.inner, self).then(|| here.carrier.clone())
            })
            .ok()
            .flatten()
    }

    /// The simulation is used on a thread that it does not know.
    pub(crate) fn check_foreign(&self, state: &mut State) {
        if !state.strict || self.config.foreign_threads || state.phase > Phase::Running {
            return;
        }
        if is_ending() || self.here().is_some() {
            return;
        }
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        state.find(FailureKind::ForeignThread { name });
    }
}
