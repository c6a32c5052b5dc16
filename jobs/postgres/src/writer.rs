//! The connection that writes: [`Writer`].

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
    ask::{Answer, Ask},
    db::{Address, Db, PATIENCE, STANDSTILL},
    handed_out::HandedOut,
    transact::transact,
};

/// How many requests are one transaction at most.
const GROUP: usize = 1000;

/// After how long to ask again for a second connection, which the server may not grant.
const REFUSED: Duration = Duration::from_secs(10);

/// About how many rows are worth a second transaction. Fewer wait for the end of the first one, and for
/// others to come with them: much of the cost of a transaction is the same for each.
const LARGE: usize = 64;

/// Connections that perform all waiting requests in one transaction: many small writes cost one
/// sync of the server's disk and three round trips in the common case.
///
/// While one transaction waits for the server, or for its disk, a second one is prepared, or its answers
/// are read. Its connection is opened under load. Without it, as the server may grant no more, the first
/// connection performs all requests.
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
        let task = || Task {
            address: address.clone(),
            changes: changes.clone(),
            known: known.clone(),
            db: None,
        };
        tokio::spawn(run(Counted::new(task(), receiver.clone())));
        tokio::spawn(help(Counted::new(task(), receiver)));
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
async fn run(mut once: Counted<impl Once>) {
    let mut group = Vec::new();
    while once.next(&mut group).await {
        perform(&mut group, &mut once).await;
    }
    once.waiting.close();
}

/// Performs requests beside [`run`], while there is a connection for it. Takes none without one, as the
/// other task could perform them.
async fn help(mut once: Counted<impl Once>) {
    let mut group = Vec::new();
    loop {
        if !once.once.is_connected() {
            once.waiting.load.notified().await;
            if once.waiting.is_closed() {
                return;
            }
            let connected = AssertUnwindSafe(once.once.connect()).catch_unwind().await;
            if !matches!(connected, Ok(Ok(()))) {
                sleep(REFUSED).await;
            }
        } else if once.next(&mut group).await {
            perform(&mut group, &mut once).await;
        } else {
            return;
        }
    }
}

async fn perform(group: &mut Vec<Request>, once: &mut Counted<impl Once>) {
    let asks: Vec<_> = group.iter().map(|request| &request.ask).collect();
    let answers = answers(&asks, once).await;
    once.at_work = None;
    for (request, answer) in group.drain(..).zip(answers) {
        // The caller may be gone.
        let _ = request.reply.send(answer);
    }
}

/// The requests that nobody performs yet.
struct Waiting {
    receiver: Mutex<mpsc::UnboundedReceiver<Request>>,
    /// How many transactions are under way.
    at_work: AtomicUsize,
    /// One has ended.
    ended: Notify,
    /// Many requests have come during a transaction; or [closed](Self::closed).
    load: Notify,
    /// There will be no more.
    closed: AtomicBool,
}

impl Waiting {
    fn new(receiver: mpsc::UnboundedReceiver<Request>) -> Self {
        Self {
            receiver: Mutex::new(receiver),
            at_work: AtomicUsize::new(0),
            ended: Notify::new(),
            load: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// The requests of the next transaction, none when there will be no more. With `begins` it is under
    /// way until the guard is dropped.
    async fn next(self: &Arc<Self>, group: &mut Vec<Request>, begins: bool) -> Option<AtWork> {
        // One of the tasks waits for requests, and the next one waits for the lock.
        let mut receiver = self.receiver.lock().await;
        let have_waited = !receiver.is_empty();
        if receiver.recv_many(group, GROUP).await == 0 {
            return None;
        }
        if have_waited && weight(group.iter().map(|one| &one.ask)) >= LARGE {
            self.load.notify_one();
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
        begins.then(|| self.begin())
    }

    fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    fn close(&self) {
        // Release: what `load` tells is this.
        self.closed.store(true, Ordering::Release);
        self.load.notify_one();
    }

    /// Acquire, with the release in [`close`](Self::close).
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A transaction that is under way.
struct AtWork(Arc<Waiting>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Release);
        self.0.ended.notify_waiters();
    }
}

/// Counts a transaction as under way while it has a connection: until then it holds nothing up.
struct Counted<O> {
    once: O,
    waiting: Arc<Waiting>,
    at_work: Option<AtWork>,
}

impl<O: Once> Counted<O> {
    fn new(once: O, waiting: Arc<Waiting>) -> Self {
        Self {
            once,
            waiting,
            at_work: None,
        }
    }

    /// Are there requests for another transaction?
    async fn next(&mut self, group: &mut Vec<Request>) -> bool {
        // Under the lock of the requests, so that the other task finds it under way.
        let begins = self.once.is_connected();
        self.at_work = self.waiting.next(group, begins).await;
        !group.is_empty()
    }
}

impl<O: Once> Once for Counted<O> {
    fn is_connected(&self) -> bool {
        self.once.is_connected()
    }

    async fn connect(&mut self) -> Result<(), EngineError> {
        self.once.connect().await
    }

    async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
        if !self.once.is_connected() {
            self.at_work = None;
            self.once.connect().await?;
        }
        if self.at_work.is_none() {
            self.at_work = Some(self.waiting.begin());
        }
        let result = self.once.once(asks, again).await;
        if !self.once.is_connected() {
            self.at_work = None;
        }
        result
    }
}

/// Performs requests in one transaction.
trait Once: Send {
    fn is_connected(&self) -> bool;

    fn connect(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// While it is connected.
    ///
    /// `again` if an earlier try may have committed them.
    fn once(
        &mut self,
        asks: &[&Ask],
        again: bool,
    ) -> impl Future<Output = Result<Vec<Answer>, EngineError>> + Send;
}

impl Once for Task {
    fn is_connected(&self) -> bool {
        self.db.as_ref().is_some_and(|db| !db.client.is_closed())
    }

    async fn connect(&mut self) -> Result<(), EngineError> {
        self.db = None;
        self.db = Some(Db::open(&self.address, None).await?);
        Ok(())
    }

    async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
        let Some(db) = self.db.take() else {
            return Err(EngineError::internal("there is no connection"));
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
    // A fetch may be of any size.
    asks.map(Ask::weight).fold(0, usize::saturating_add)
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
    use tokio::sync::Semaphore;

    use super::*;

    /// The number of requests of each try, and whether it was a repetition.
    struct Tries(Vec<(usize, bool)>);

    impl Once for Tries {
        fn is_connected(&self) -> bool {
            true
        }

        async fn connect(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        async fn once(&mut self, asks: &[&Ask], again: bool) -> Result<Vec<Answer>, EngineError> {
            self.0.push((asks.len(), again));
            match (self.0.len(), asks) {
                (1, _) => Err(EngineError::unavailable("the answer is lost")),
                (2, _) | (_, [Ask::Pass]) => Err(EngineError::invalid("it cannot be read")),
                _ => Ok(vec![Answer::Cancel(CancelAnswer::Dequeued)]),
            }
        }
    }

    /// Says when it begins, and waits until it may go on.
    struct Gate {
        name: &'static str,
        is_connected: bool,
        is_granted: bool,
        begun: mpsc::UnboundedSender<(&'static str, usize)>,
        open: Arc<Semaphore>,
    }

    impl Once for Gate {
        fn is_connected(&self) -> bool {
            self.is_connected
        }

        async fn connect(&mut self) -> Result<(), EngineError> {
            let _ = self.begun.send((self.name, 0));
            if !self.is_granted {
                return Err(EngineError::unavailable("too many connections"));
            }
            self.is_connected = true;
            Ok(())
        }

        async fn once(&mut self, asks: &[&Ask], _again: bool) -> Result<Vec<Answer>, EngineError> {
            let _ = self.begun.send((self.name, asks.len()));
            self.open.acquire().await.unwrap().forget();
            Ok(asks.iter().map(|_| Answer::Pass).collect())
        }
    }

    /// The two tasks of a writer.
    struct Two {
        requests: Option<mpsc::UnboundedSender<Request>>,
        begun: mpsc::UnboundedReceiver<(&'static str, usize)>,
        gates: [Arc<Semaphore>; 2],
        tasks: [tokio::task::JoinHandle<()>; 2],
    }

    impl Two {
        fn start(is_granted: bool) -> Self {
            let (requests, receiver) = mpsc::unbounded_channel();
            let waiting = Arc::new(Waiting::new(receiver));
            let (say, begun) = mpsc::unbounded_channel();
            let gates = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
            let gate = |name, is_granted, open: &Arc<Semaphore>| {
                let gate = Gate {
                    name,
                    is_connected: false,
                    is_granted,
                    begun: say.clone(),
                    open: open.clone(),
                };
                Counted::new(gate, waiting.clone())
            };
            let tasks = [
                tokio::spawn(run(gate("first", true, &gates[0]))),
                tokio::spawn(help(gate("second", is_granted, &gates[1]))),
            ];
            Self {
                requests: Some(requests),
                begun,
                gates,
                tasks,
            }
        }

        fn send(&self, ask: Ask) -> oneshot::Receiver<Result<Answer, EngineError>> {
            let (reply, answer) = oneshot::channel();
            let requests = self.requests.as_ref().unwrap();
            assert!(requests.send(Request { ask, reply }).is_ok());
            answer
        }

        async fn begun(&mut self) -> (&'static str, usize) {
            self.begun.recv().await.unwrap()
        }

        /// Nothing begins, however often the tasks have their turn.
        async fn quiet(&mut self) {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(self.begun.is_empty());
        }

        fn open(&self, gate: usize) {
            self.gates[gate].add_permits(1);
        }

        /// Both are connected, and the first one performs a request.
        async fn under_load() -> Self {
            let mut two = Self::start(true);
            drop((two.send(light()), two.begun().await));
            assert_eq!(two.begun().await, ("first", 1));
            drop(two.send(heavy()));
            two.quiet().await;
            two.open(0);
            let mut begun = [two.begun().await, two.begun().await];
            begun.sort_unstable();
            assert_eq!(begun, [("first", 1), ("second", 0)]);
            two
        }
    }

    fn light() -> Ask {
        Ask::Cancel(next_id())
    }

    fn heavy() -> Ask {
        Ask::Pass
    }

    fn tokio() -> tokio::runtime::Runtime {
        let mut tokio = tokio::runtime::Builder::new_current_thread();
        tokio.enable_time().build().unwrap()
    }

    #[test]
    fn a_light_group_waits_for_the_other_transaction_and_a_heavy_one_does_not() {
        tokio().block_on(async {
            let mut two = Two::under_load().await;
            let answer = two.send(light());
            two.quiet().await;
            let other = two.send(heavy());
            assert_eq!(two.begun().await, ("second", 2));
            let last = two.send(light());
            two.quiet().await;
            two.open(1);
            assert!(answer.await.unwrap().is_ok() && other.await.unwrap().is_ok());
            two.quiet().await;
            // The end of the first one is the turn of the light one.
            two.open(0);
            let (name, _) = two.begun().await;
            two.open(usize::from(name == "second"));
            assert!(last.await.unwrap().is_ok());
            two.requests = None;
            for task in two.tasks {
                task.await.unwrap();
            }
        });
    }

    #[test]
    fn a_group_that_waits_when_the_last_handle_goes_is_answered() {
        tokio().block_on(async {
            let mut two = Two::under_load().await;
            let answer = two.send(light());
            two.quiet().await;
            two.requests = None;
            assert_eq!(two.begun().await, ("second", 1));
            two.open(1);
            assert!(answer.await.unwrap().is_ok());
            two.open(0);
            for task in two.tasks {
                task.await.unwrap();
            }
        });
    }

    /// As with a limit of the role, or of a pooler.
    #[test]
    fn a_second_connection_that_is_not_granted_takes_nothing() {
        tokio().block_on(async {
            let mut two = Two::start(false);
            drop((two.send(light()), two.begun().await));
            assert_eq!(two.begun().await, ("first", 1));
            let (mut answers, mut tries) = (Vec::new(), 0);
            for _ in 0..3 {
                // Behind the one that is under way.
                answers.push(two.send(heavy()));
                two.open(0);
                loop {
                    match two.begun().await {
                        ("second", performed) => {
                            assert_eq!(performed, 0);
                            tries += 1;
                        }
                        begun => break assert_eq!(begun, ("first", 1)),
                    }
                }
            }
            two.open(0);
            for answer in answers {
                assert!(answer.await.unwrap().is_ok());
            }
            assert_eq!(tries, 1);
        });
    }

    #[test]
    fn an_idle_writer_without_a_second_connection_ends() {
        tokio().block_on(async {
            let mut two = Two::start(true);
            two.requests = None;
            for task in two.tasks {
                task.await.unwrap();
            }
            assert!(two.begun.is_empty());
        });
    }

    #[test]
    fn a_fetch_may_be_of_any_size() {
        let fetch = || Ask::Fetch(fourway_jobs_engine::Fetch::new("w", Vec::new()).max(usize::MAX));
        assert_eq!(weight([fetch(), fetch()].iter()), usize::MAX);
    }

    /// Panics at each even try.
    struct Panics(u32);

    impl Once for Panics {
        fn is_connected(&self) -> bool {
            true
        }

        async fn connect(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

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
        fn is_connected(&self) -> bool {
            true
        }

        async fn connect(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

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
            let waiting = Arc::new(Waiting::new(receiver));
            tokio::spawn(run(Counted::new(Panics(0), waiting)));
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
