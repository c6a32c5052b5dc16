//! The connection that reads and listens for changes: [`Reader`].

use std::{pin::pin, sync::Arc, time::Duration};

use fourway_jobs_engine::{Changes, EngineError};
use futures_util::future::{Either, select};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::db::{Address, Db};

/// A connection that a task opens anew whenever it is lost.
#[derive(Clone)]
pub(crate) struct Reader {
    state: watch::Receiver<State>,
}

#[derive(Clone)]
enum State {
    Up(Arc<Db>),
    Down(Option<EngineError>),
}

impl Reader {
    /// Starts the task; it ends with the last clone.
    pub(crate) fn start(address: Arc<Address>, changes: Arc<Changes>) -> Self {
        let (sender, state) = watch::channel(State::Down(None));
        tokio::spawn(keep(address, changes, sender));
        Self { state }
    }

    /// The connection, which may be lost at any moment; waits for one.
    pub(crate) async fn db(&self, end: Instant) -> Result<Arc<Db>, EngineError> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, State::Up(_)));
        let last = match timeout_at(end, up).await {
            Ok(Ok(up)) => up.clone(),
            Ok(Err(_over)) => return Err(EngineError::closed()),
            Err(_elapsed) => self.state.borrow().clone(),
        };
        match last {
            State::Up(db) => Ok(db),
            State::Down(Some(error)) => Err(error),
            State::Down(None) => Err(EngineError::unavailable("there is no connection yet")),
        }
    }
}

async fn keep(address: Arc<Address>, changes: Arc<Changes>, state: watch::Sender<State>) {
    let mut pause = Duration::ZERO;
    loop {
        match Db::open(&address, Some(changes.clone())).await {
            Ok(db) => {
                pause = Duration::from_millis(10);
                let db = Arc::new(db);
                state.send_replace(State::Up(db.clone()));
                // No notification came for changes made meanwhile.
                changes.tell();
                let (lost, over) = (pin!(db.closed()), pin!(state.closed()));
                if let Either::Right(_) = select(lost, over).await {
                    return;
                }
                state.send_replace(State::Down(None));
            }
            Err(error) => {
                state.send_replace(State::Down(Some(error)));
            }
        }
        if timeout(pause, state.closed()).await.is_ok() {
            return;
        }
        pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
    }
}
