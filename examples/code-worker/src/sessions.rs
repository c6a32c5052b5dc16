//! The sessions of a client, by name: [`Sessions`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::engine::EngineSession;

#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_name: HashMap<String, Opened>,
    next: u64,
    lost: usize,
    // All have been taken out, and there will be no other.
    closed: bool,
}

/// What became of a session that was to be inserted.
#[derive(Debug)]
pub(crate) enum Inserted {
    New(Opened),
    /// Another was inserted meanwhile; the given one is of no use.
    Found(Opened, EngineSession),
    /// The client has no sessions any more.
    Closed(EngineSession),
}

/// A session, and a number that is unique for this client: a name may be used again.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) session: EngineSession,
}

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock: sessions are dropped outside.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Opened> {
        self.state().by_name.get(name).cloned()
    }

    /// Inserts a session, unless there is one of this name, or [`take`](Self::take) came before.
    pub(crate) fn insert(&self, name: &str, session: EngineSession) -> Inserted {
        let mut state = self.state();
        if state.closed {
            return Inserted::Closed(session);
        }
        if let Some(found) = state.by_name.get(name) {
            return Inserted::Found(found.clone(), session);
        }
        state.next += 1;
        let number = state.next;
        let opened = Opened { number, session };
        state.by_name.insert(name.to_owned(), opened.clone());
        Inserted::New(opened)
    }

    pub(crate) fn remove(&self, name: &str) -> Option<EngineSession> {
        let removed = self.state().by_name.remove(name);
        removed.map(|opened| opened.session)
    }

    /// Removes the lost session with this number, unless it is gone.
    pub(crate) fn lose(&self, name: &str, number: u64) -> Option<EngineSession> {
        let mut state = self.state();
        if state.by_name.get(name)?.number != number {
            return None;
        }
        state.lost += 1;
        let removed = state.by_name.remove(name);
        drop(state);
        removed.map(|opened| opened.session)
    }

    /// How many sessions were lost.
    pub(crate) fn lost(&self) -> usize {
        self.state().lost
    }

    pub(crate) fn count(&self) -> usize {
        self.state().by_name.len()
    }

    pub(crate) fn all(&self) -> Vec<(String, EngineSession)> {
        let state = self.state();
        let all = state.by_name.iter();
        all.map(|(name, opened)| (name.clone(), opened.session.clone()))
            .collect()
    }

    /// Takes all sessions out, and lets no other in.
    pub(crate) fn take(&self) -> Vec<EngineSession> {
        let mut state = self.state();
        state.closed = true;
        let taken = std::mem::take(&mut state.by_name);
        drop(state);
        taken.into_values().map(|opened| opened.session).collect()
    }
}
