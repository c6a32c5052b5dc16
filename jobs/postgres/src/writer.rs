//! The connection that writes: [`Writer`].

use std::{sync::Arc, time::Duration};

use fourway_jobs_engine::{Changes, EngineError};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    db::{Address, Db, PATIENCE, STANDSTILL},
    rows::{Answer, Ask, transact},
};

/// How many requests are one transaction at most.
const GROUP: usize = 1000;

/// A connection that performs all waiting requests in one transaction: many small writes cost one
/// sync of the server's disk and three round trips.
#[derive(Clone)]
pub(crate) struct Writer {
    requests: mpsc::UnboundedSender<Request>,
}

struct Request {
    ask: Ask,
    reply: oneshot::Sender<Result<Answer, EngineError>>,
}

impl Writer {
    /// Starts its task; it ends with the last clone.
    pub(crate) fn start(address: Arc<Address>, changes: Arc<Changes>) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let task = Task {
            address,
            changes,
            db: None,
        };
        tokio::spawn(task.run(receiver));
        Self { requests }
    }

    /// # Cancel safety
    ///
    /// The request is performed even if its caller is gone.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { ask, reply };
        if self.requests.send(request).is_err() {
            return Err(EngineError::closed());
        }
        answer
            .await
            .unwrap_or_else(|_gone| Err(EngineError::closed()))
    }
}

struct Task {
    address: Arc<Address>,
    changes: Arc<Changes>,
    db: Option<Db>,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Request>) {
        let mut group = Vec::new();
        while receiver.recv_many(&mut group, GROUP).await > 0 {
            let asks: Vec<_> = group.iter().map(|request| &request.ask).collect();
            match self.persist(&asks).await {
                // The server may refuse just one of them, so each is tried alone.
                Err(error) if !error.is_unavailable() && group.len() > 1 => {
                    for request in group.drain(..) {
                        let answer = self.persist(&[&request.ask]).await;
                        let answer = answer.map(|mut answers| answers.remove(0));
                        // The caller may be gone.
                        let _ = request.reply.send(answer);
                    }
                }
                Err(error) => {
                    for request in group.drain(..) {
                        let _ = request.reply.send(Err(error.clone()));
                    }
                }
                Ok(answers) => {
                    for (request, answer) in group.drain(..).zip(answers) {
                        let _ = request.reply.send(Ok(answer));
                    }
                }
            }
        }
    }

    /// Repeats the group for a while: the server may restart, a deadlock may be resolved. Each
    /// request is harmless when made twice.
    async fn persist(&mut self, asks: &[&Ask]) -> Result<Vec<Answer>, EngineError> {
        let end = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(10);
        let mut again = false;
        loop {
            match self.once(asks, again).await {
                Err(error) if error.is_unavailable() && Instant::now() < end => {}
                result => return result,
            }
            // It may have been committed, and the answer lost.
            again = true;
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
        let db = match self.db.take() {
            Some(db) if !db.client.is_closed() => db,
            _ => Db::open(&self.address, None).await?,
        };
        let patience = patience_for(asks);
        let transact = timeout(patience, transact(&db, asks, again)).await;
        let (answers, changed) = transact.unwrap_or_else(|_elapsed| {
            db.give_up();
            Err(EngineError::unavailable(
                "the server did not answer in time",
            ))
        })?;
        // After an error the connection is not kept, as the state of its transaction is unknown.
        self.db = Some(db);
        if changed {
            self.changes.tell();
        }
        Ok(answers)
    }
}

/// How long a group may take, unless the server stands still: much takes longer.
fn patience_for(asks: &[&Ask]) -> Duration {
    let rows: usize = asks.iter().map(|ask| ask.weight()).sum();
    // Even a slow server writes a thousand rows a second.
    let longer = u64::try_from(rows).unwrap_or(u64::MAX);
    STANDSTILL.saturating_add(Duration::from_millis(longer))
}
