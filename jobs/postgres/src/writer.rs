//! The connection that writes: [`Writer`].

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fourway_adapt::fork::Process;
use fourway_jobs_engine::{Changes, EngineError};
use futures_util::{
    FutureExt,
    future::{Either, select},
};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::{
    db::{Address, Db, PATIENCE, STANDSTILL},
    handed_out::HandedOut,
    rows::{Answer, Ask, transact},
};

/// How many requests are one transaction at most.
const GROUP: usize = 1000;

/// How many transactions are made at a time. While one waits for the server, or for its disk, the other
/// is prepared, or its answers are read.
const AT_A_TIME: usize = 2;

/// About how many rows are worth a second transaction. Fewer wait for the end of the first one, and for
/// others to come with them: much of the cost of a transaction is the same for each.
const LARGE: usize = 64;

/// Connections that perform all waiting requests in one transaction: many small writes cost one
/// sync of the server's disk and three round trips. The second one is opened when it is first needed.
///
/// Requests that wait at the same time have no order, as if they came from two processes.
#[derive(Clone)]
pub(crate) struct Writer {
    requests: mpsc::UnboundedSender<Request>,
    /// In which its task is.
    process: Process,
}

struct Request {
    ask: Ask,
    reply: oneshot::Sender<Result<Answer, EngineError>>,
}

impl Writer {
    /// Starts its tasks; they end with the last clone.
    pub(crate) fn start(address: Arc<Address>, changes: Arc<Changes>) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Waiting::new(receiver));
        let known = Arc::new(HandedOut::default());
        for _ in 0..AT_A_TIME {
            let task = Task {
                address: address.clone(),
                changes: changes.clone(),
                known: known.clone(),
                db: None,
            };
            tokio::spawn(run(task, receiver.clone()));
        }
        Self {
            requests,
            process: Process::this(),
        }
    }

    /// An error in a forked child, which has neither the threads nor the connections of its parent.
    pub(crate) fn check_process(&self) -> Result<(), EngineError> {
        if self.process.is_this() {
            return Ok(());
        }
        Err(EngineError::forked())
    }

    /// # Cancel safety
    ///
    /// The request is performed even if its caller is gone.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, EngineError> {
        self.check_process()?;
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
    known: Arc<HandedOut>,
    db: Option<Db>,
}

/// Performs requests until the last [`Writer`] is gone.
async fn run(mut once: impl Once, waiting: Arc<Waiting>) {
    let mut group = Vec::new();
    while let Some(_at_work) = waiting.next(&mut group).await {
        let asks: Vec<_> = group.iter().map(|request| &request.ask).collect();
        let answers = answers(&asks, &mut once).await;
        for (request, answer) in group.drain(..).zip(answers) {
            // The caller may be gone.
            let _ = request.reply.send(answer);
        }
    }
}

/// The requests that nobody performs yet.
struct Waiting {
    receiver: Mutex<mpsc::UnboundedReceiver<Request>>,
    /// How many transactions are under way.
    at_work: AtomicUsize,
    /// One has ended.
    ended: Notify,
}

impl Waiting {
    fn new(receiver: mpsc::UnboundedReceiver<Request>) -> Self {
        Self {
            receiver: Mutex::new(receiver),
            at_work: AtomicUsize::new(0),
            ended: Notify::new(),
        }
    }

    /// The requests of the next transaction, which is under way until the guard is dropped; `None` when
    /// there will be no more.
    async fn next(&self, group: &mut Vec<Request>) -> Option<AtWork<'_>> {
        // One of the tasks waits for requests, and the next one waits for the lock.
        let mut receiver = self.receiver.lock().await;
        if receiver.recv_many(group, GROUP).await == 0 {
            return None;
        }
        while group.len() < GROUP && weight(group.iter().map(|one| &one.ask)) < LARGE {
            // Before the look, so that no end is missed.
            let ended = self.ended.notified();
            // Acquire, with the release in the guard's drop, though nothing else is read by it.
            if self.at_work.load(Ordering::Acquire) == 0 {
                break;
            }
            let room = GROUP - group.len();
            let (ended, more) = (pin!(ended), pin!(receiver.recv_many(group, room)));
            if let Either::Right((0, _)) = select(ended, more).await {
                // The last handle is gone.
                break;
            }
        }
        self.at_work.fetch_add(1, Ordering::Relaxed);
        Some(AtWork(self))
    }
}

/// A transaction that is under way.
struct AtWork<'a>(&'a Waiting);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Release);
        self.0.ended.notify_waiters();
    }
}

/// Performs requests in one transaction.
trait Once: Send {
    /// `again` if an earlier try may have committed them.
    fn once(
        &mut self,
        asks: &[&Ask],
        again: bool,
    ) -> impl Future<Output = Result<Vec<Answer>, EngineError>> + Send;
}

impl Once for Task {
    async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
        let db = match self.db.take() {
            Some(db) if !db.client.is_closed() => db,
            _ => Db::open(&self.address, None).await?,
        };
        let patience = patience_for(asks);
        let transact = timeout(patience, transact(&db, &self.known, asks, again)).await;
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

/// The answer to each request of a group.
async fn answers(asks: &[&Ask], once: &mut impl Once) -> Vec<Result<Answer, EngineError>> {
    let mut again = false;
    match caught(asks, &mut again, once).await {
        // The server may refuse only one of the requests, or only one panics, so each is tried
        // alone. An earlier try whose answer was lost may have committed the group.
        Err(error) if (error.is_refusal() || error.is_internal()) && asks.len() > 1 => {
            // A panic may come after the commit, too.
            again |= error.is_internal();
            let mut answers = Vec::with_capacity(asks.len());
            for ask in asks {
                let mut again = again;
                let answer = caught(&[ask], &mut again, once).await;
                answers.push(answer.map(|mut answers| answers.remove(0)));
            }
            answers
        }
        Err(error) => asks.iter().map(|_| Err(error.clone())).collect(),
        Ok(answers) => answers.into_iter().map(Ok).collect(),
    }
}

/// A panic is the requests' answer, and not the end of the task: without the task the engine would be
/// closed. The connection was dropped by the panic, and so is the transaction.
async fn caught(
    asks: &[&Ask],
    again: &mut bool,
    once: &mut impl Once,
) -> Result<Vec<Answer>, EngineError> {
    let answers = AssertUnwindSafe(persist(asks, again, once)).catch_unwind();
    answers
        .await
        .unwrap_or_else(|_shown| Err(EngineError::panicked()))
}

/// Repeats the requests for a while: the server may restart, or a deadlock is resolved. Each
/// request is harmless when it is repeated. `again` says that an earlier try may have committed it.
async fn persist(
    asks: &[&Ask],
    again: &mut bool,
    once: &mut impl Once,
) -> Result<Vec<Answer>, EngineError> {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(10);
    loop {
        match once.once(asks, *again).await {
            Err(error) if error.is_unavailable() && Instant::now() < end => {}
            result => return result,
        }
        // The try may have been committed, and its answer lost.
        *again = true;
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// About how many rows they concern.
fn weight<'a>(asks: impl Iterator<Item = &'a Ask>) -> usize {
    asks.map(Ask::weight).sum()
}

/// How long a group may take, unless the server stands still: much takes longer.
fn patience_for(asks: &[&Ask]) -> Duration {
    let rows = weight(asks.iter().copied());
    // Even a slow server writes a thousand rows a second.
    let longer = u64::try_from(rows).unwrap_or(u64::MAX);
    STANDSTILL.saturating_add(Duration::from_millis(longer))
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::{CancelAnswer, next_id};
    use fourway_testing::panic_quietly;

    use super::*;

    /// The number of requests of each try, and whether it was a repetition.
    struct Tries(Vec<(usize, bool)>);

    impl Once for Tries {
        async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
            self.0.push((asks.len(), again));
            match (self.0.len(), asks) {
                (1, _) => Err(EngineError::unavailable("the answer is lost")),
                (2, _) | (_, [Ask::Pass]) => Err(EngineError::invalid("it cannot be read")),
                _ => Ok(vec![Answer::Cancel(CancelAnswer::Dequeued)]),
            }
        }
    }

    /// Panics at each even try.
    struct Panics(u32);

    impl Once for Panics {
        async fn once(&mut self, asks: &[&Ask], _again: bool) -> Result<Vec<Answer>, EngineError> {
            self.0 += 1;
            if self.0 % 2 == 0 {
                panic_quietly("in a transaction");
            }
            let answers = asks.iter().map(|_| Answer::Cancel(CancelAnswer::Dequeued));
            Ok(answers.collect())
        }
    }

    /// Panics with each group that has a request to [pass](Ask::Pass).
    struct PassPanics(Vec<(usize, bool)>);

    impl Once for PassPanics {
        async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
            self.0.push((asks.len(), again));
            if asks.iter().any(|ask| matches!(ask, Ask::Pass)) {
                panic_quietly("in a transaction");
            }
            let answers = asks.iter().map(|_| Answer::Cancel(CancelAnswer::Dequeued));
            Ok(answers.collect())
        }
    }

    #[test]
    fn a_panic_fails_no_other_request_of_its_group() {
        let (first, second, third) = (Ask::Cancel(next_id()), Ask::Pass, Ask::Cancel(next_id()));
        let mut tries = PassPanics(Vec::new());
        let tokio = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let answers = tokio.block_on(answers(&[&first, &second, &third], &mut tries));
        // The panic may have come after the commit.
        assert_eq!(tries.0, [(3, false), (1, true), (1, true), (1, true)]);
        assert!(matches!(
            &answers[..],
            [
                Ok(Answer::Cancel(CancelAnswer::Dequeued)),
                Err(error),
                Ok(Answer::Cancel(CancelAnswer::Dequeued)),
            ] if error.is_internal()
        ));
    }

    #[test]
    fn a_panic_is_answered_and_the_writer_goes_on() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        tokio.block_on(async {
            let (requests, receiver) = mpsc::unbounded_channel();
            tokio::spawn(run(Panics(0), Arc::new(Waiting::new(receiver))));
            let writer = Writer {
                requests,
                process: Process::this(),
            };
            for try_ in 1..=4 {
                match writer.ask(Ask::Cancel(next_id())).await {
                    Ok(_) => assert_eq!(try_ % 2, 1),
                    Err(error) => {
                        assert!(error.is_internal(), "{error}");
                        assert_eq!(try_ % 2, 0);
                    }
                }
            }
        });
    }

    /// A group is committed, and its answer is lost. Then one request of the group is refused.
    #[test]
    fn what_may_have_been_made_is_known_when_each_is_made_by_itself() {
        let (first, second) = (Ask::Cancel(next_id()), Ask::Pass);
        let mut tries = Tries(Vec::new());
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let answers = tokio.block_on(answers(&[&first, &second], &mut tries));
        assert_eq!(tries.0, [(2, false), (2, true), (1, true), (1, true)]);
        assert!(matches!(
            &answers[..],
            [Ok(Answer::Cancel(CancelAnswer::Dequeued)), Err(error)] if error.is_refusal()
        ));
    }
}
