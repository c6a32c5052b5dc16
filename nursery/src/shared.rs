//! What a nursery, its handles and its children have in common.
//!
//! One lock for all of it. Under it nothing of the user's runs: no waker is cloned, called or
//! dropped, no future, closure, error or handle dropped, no token cancelled. What a change of
//! the state asks for is collected and done after the lock is released.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasherDefault, DefaultHasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_core::{
    JoinError, Payload, Runtime, Task,
    cancel::{CancellationToken, Reason},
    implement::{Enclosing, Hold, discard, enclose, enclosing, wake},
    values::Values,
};

use crate::{
    error::{Failure, NurseryError, Refusal, is_cancellation},
    ledger::Ledger,
    sync::{Mutex, MutexGuard, lock},
};

pub(crate) struct Shared<R: Runtime, E> {
    pub(crate) runtime: R,
    /// Asks the body and the children to end. The current token of all of them.
    pub(crate) soft: CancellationToken,
    /// Has them dropped, unless they are in a shield. Made by the first that waits for it, or
    /// that cancels it: most nurseries end without either.
    hard: OnceLock<CancellationToken>,
    /// What is current in the body.
    pub(crate) values: Values,
    pub(crate) settings: Settings<E>,
    /// This, for what the children carry.
    pub(crate) me: Weak<dyn Enclosing>,
    /// The nursery of the child or body in which this one runs: it is not over before this is.
    around: Option<Arc<dyn Enclosing>>,
    /// Set once the nursery's future was dropped: shields do not hold any more.
    abandoned: AtomicBool,
    state: Mutex<State<R, E>>,
}

pub(crate) struct Settings<E> {
    pub(crate) supervise: bool,
    pub(crate) grace: Duration,
    pub(crate) keep: usize,
    pub(crate) on_failure: Option<OnFailure<E>>,
    pub(crate) is_cancellation: Option<Says<E>>,
}

pub(crate) type OnFailure<E> = Arc<dyn Fn(Failure<E>) + Send + Sync>;
/// Is the error a cancellation?
pub(crate) type Says<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

struct State<R: Runtime, E> {
    /// The body, children, and those that wait in line.
    live: usize,
    /// Others that keep the nursery open: nurseries in its children, bodies of calls that run on
    /// after their children were dropped. Once there is none of both, the nursery is over.
    holds: usize,
    /// How this one holds the nursery around it, until it is over.
    hold: Option<Box<dyn Hold>>,
    /// The nursery's future is gone: nobody asks for the verdict.
    left: bool,
    /// No more children are started.
    cancelling: bool,
    limit: usize,
    taken: usize,
    line: VecDeque<InLine>,
    /// The next number of one in line, or of a closure.
    next: u64,
    /// Places granted to those who wait for one and have not been told yet.
    granted: Vec<u64>,
    /// Closures that have not ended; `None` until their handle is there, or after it was used.
    // The numbers are ours: no keys by chance, which each nursery would have to ask for.
    closures: HashMap<u64, Option<R::OffloadTask<()>>, BuildHasherDefault<DefaultHasher>>,
    ledger: Ledger<E>,
    spawned: u64,
    /// The nursery's future, which waits for the last to end.
    host: Option<Waker>,
    /// Cancelled when the nursery is over. Made when somebody asks for it.
    over: Option<CancellationToken>,
    /// Cancelled when the nursery's future is dropped. Made by the first child in a shield that
    /// is to be dropped.
    kill: Option<CancellationToken>,
}

struct InLine {
    number: u64,
    /// Who waits for this to be started, or for the place.
    waiter: Option<Waker>,
    /// `None` for one that waits for a place only, or has not been put here yet.
    start: Option<Start>,
}

/// Starts a child; dropped unused, it ends it as cancelled.
pub(crate) type Start = Box<dyn FnOnce() + Send>;

/// How a child, or the body, ended.
pub(crate) enum End<E> {
    Done,
    Failed(Failure<E>),
    Cancelled,
    /// Something else will tell, once it has ended too.
    Deferred,
}

/// What a child holds of its nursery while it lives.
#[derive(Clone, Copy)]
pub(crate) struct Stake {
    /// It has a place of the limit.
    place: bool,
    closure: Option<u64>,
    /// It is what has been left of a child that has told its end already.
    hold: bool,
}

impl Stake {
    pub(crate) const NO_PLACE: Self = Self {
        place: false,
        closure: None,
        hold: false,
    };
    pub(crate) const PLACE: Self = Self {
        place: true,
        ..Self::NO_PLACE
    };
    pub(crate) const HOLD: Self = Self {
        hold: true,
        ..Self::NO_PLACE
    };

    pub(crate) fn closure(number: u64) -> Self {
        Self {
            closure: Some(number),
            ..Self::PLACE
        }
    }
}

/// What a child that was let in does.
pub(crate) enum Admission {
    Start,
    /// It waits, under that number, for [`Shared::put_in_line`].
    InLine(u64),
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    pub(crate) fn open(
        runtime: R,
        soft: CancellationToken,
        limit: usize,
        settings: Settings<E>,
    ) -> Arc<Self> {
        // Not held while it is made, for what is dropped on a panic is foreign code.
        let around = enclosing();
        let hold = around.clone().and_then(|around| around.hold());
        Arc::new_cyclic(|me: &Weak<Self>| {
            let me: Weak<dyn Enclosing> = me.clone();
            Self::new(runtime, soft, limit, settings, me, around, hold)
        })
    }

    fn new(
        runtime: R,
        soft: CancellationToken,
        limit: usize,
        settings: Settings<E>,
        me: Weak<dyn Enclosing>,
        around: Option<Arc<dyn Enclosing>>,
        hold: Option<Box<dyn Hold>>,
    ) -> Self {
        let values = soft.attach(enclose(Values::current(), &me));
        let keep = settings.keep;
        Self {
            runtime,
            soft,
            hard: OnceLock::new(),
            values,
            settings,
            me,
            around: around.filter(|_| hold.is_some()),
            abandoned: AtomicBool::new(false),
            state: Mutex::new(State {
                live: 1, // the body
                holds: 0,
                hold,
                left: false,
                cancelling: false,
                limit,
                taken: 0,
                line: VecDeque::new(),
                next: 0,
                granted: Vec::new(),
                closures: HashMap::default(),
                ledger: Ledger::new(keep),
                spawned: 0,
                host: None,
                over: None,
                kill: None,
            }),
        }
    }

    // -----------------------------------------------------------------------
    // Coming in

    /// Lets one more child in: at once if there is a place, and if it `may_wait`, into the line
    /// if there is none.
    pub(crate) fn admit(&self, may_wait: bool) -> Result<Admission, Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(asked_to_end) {
            return Err(refusal);
        }
        let admission = if state.taken < state.limit && state.line.is_empty() {
            state.taken += 1;
            Admission::Start
        } else if may_wait {
            Admission::InLine(state.push_in_line())
        } else {
            return Err(Refusal::Full);
        };
        state.live += 1;
        state.spawned += 1;
        Ok(admission)
    }

    /// Puts a child that was let in where its number stands in line; if that has left the line
    /// already, starts or drops it.
    pub(crate) fn put_in_line(&self, number: u64, start: Start) {
        let mut state = self.lock();
        if let Some(in_line) = state.in_line(number) {
            in_line.start = Some(start);
            return;
        }
        let granted = state.take_grant(number);
        drop(state);
        if granted {
            start();
        } else {
            // The line was emptied by a cancellation. Ends the child as cancelled.
            discard(start);
        }
    }

    /// Keeps the nursery open: for what outlives the future of a child that is still there.
    pub(crate) fn hold_open(&self) {
        self.lock().holds += 1;
    }

    /// Takes [`hold_open`](Self::hold_open) back.
    pub(crate) fn release(&self) {
        let mut state = self.lock();
        state.holds -= 1;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// A number for a closure, so that its handle can be kept under it.
    pub(crate) fn closure_number(&self) -> u64 {
        let mut state = self.lock();
        let number = state.number();
        state.closures.insert(number, None);
        number
    }

    /// Keeps a closure's handle, for as long as the closure has not ended, so that it can be
    /// cancelled before it starts.
    pub(crate) fn keep_closure(&self, number: u64, handle: R::OffloadTask<()>) {
        let mut state = self.lock();
        let cancelling = state.cancelling;
        let handle = match state.closures.get_mut(&number) {
            Some(slot) if !cancelling => {
                *slot = Some(handle);
                None
            }
            Some(_) | None => Some(handle),
        };
        drop(state);
        if let Some(handle) = handle {
            // Over already, or to be cancelled like those that `stop_starting` found.
            if cancelling {
                handle.abort();
            }
            handle.detach();
        }
    }

    // -----------------------------------------------------------------------
    // Going out

    /// A child has ended: its future or closure is destroyed, its result handed over.
    pub(crate) fn ended(&self, end: End<E>, stake: Stake) {
        let cancelled = matches!(end, End::Cancelled);
        if let End::Failed(failure) = end {
            // First the siblings, then this child's place: no other is started in between.
            self.failed(failure);
        }
        let mut state = self.lock();
        state.ledger.cancelled += usize::from(cancelled);
        let closure = stake
            .closure
            .and_then(|number| state.closures.remove(&number));
        state.taken -= usize::from(stake.place);
        let others_wait = stake.place && !state.line.is_empty();
        if stake.hold {
            state.holds -= 1;
        } else {
            state.live -= 1;
        }
        let last = state.last();
        drop(state);
        if let Some(handle) = closure.flatten() {
            handle.detach();
        }
        if others_wait {
            self.pass_on();
        }
        if let Some(last) = last {
            last.tell();
        }
    }

    /// Gives free places to those who are first in line.
    fn pass_on(&self) {
        // The cancellation from outside may be new, and nobody have emptied the line yet.
        if self.soft.is_cancelled() {
            return self.stop_starting();
        }
        let granted = self.lock().grant();
        granted.start();
    }

    /// Records a failure, and cancels the others if the policy says so.
    pub(crate) fn failed(&self, failure: Failure<E>) {
        // If the runtime lets go of a child it has been shut down, or has no thread: it is of
        // no use to start the next in line, one after the other.
        let lost = matches!(&failure, Failure::Join(error) if error.is_shutdown());
        self.record(failure);
        if lost {
            self.cancel(&Reason::Shutdown);
        } else if !self.settings.supervise {
            self.cancel(&Reason::SiblingFailed);
        }
    }

    /// Records a failure, or hands it to the one who asked for it.
    pub(crate) fn record(&self, mut failure: Failure<E>) {
        if let Some(on_failure) = &self.settings.on_failure {
            // Unwind safety: the closure is shared, and says itself that it may be.
            match catch_unwind(AssertUnwindSafe(|| on_failure(failure))) {
                Ok(()) => return,
                Err(payload) => failure = Failure::Join(JoinError::panicked(payload)),
            }
        }
        let was_cancelled = self.soft.is_cancelled();
        let surplus = self.lock().ledger.record(failure, was_cancelled);
        surplus.into_iter().for_each(discard);
    }

    /// The body is over. Its failure cancels the children under every policy.
    pub(crate) fn body_failed(&self, failure: Failure<E>) {
        let was_cancelled = self.soft.is_cancelled();
        let mut state = self.lock();
        state.ledger.body_failed = true;
        let surplus = state.ledger.record(failure, was_cancelled);
        drop(state);
        surplus.into_iter().for_each(discard);
        self.cancel(&Reason::SiblingFailed);
    }

    /// The body has left.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.live -= 1;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// What an error of a child or the body is: a cancellation if the nursery is being
    /// cancelled and the error says nothing else; a failure otherwise.
    pub(crate) fn is_cancellation(&self, error: &E) -> bool {
        self.soft.is_cancelled() && self.says_cancelled(error)
    }

    /// Does the error say that the work was cancelled, and nothing else?
    pub(crate) fn says_cancelled(&self, error: &E) -> bool {
        match &self.settings.is_cancellation {
            // Unwind safety: it only looks. A panic has been reported by its hook, and the
            // error is kept as a failure.
            Some(says) => catch_unwind(AssertUnwindSafe(|| says(error))).unwrap_or(false),
            None => is_cancellation(error),
        }
    }

    // -----------------------------------------------------------------------
    // Cancelling

    /// Asks the body and the children to end, and has them dropped if there is no grace.
    pub(crate) fn cancel(&self, reason: &Reason) {
        if !self.soft.is_cancelled() {
            self.lock().ledger.by_itself = true;
        }
        self.soft.cancel_with(reason.clone());
        self.stop_starting();
        if self.settings.grace.is_zero() {
            self.drop_all(reason.clone());
        }
    }

    /// The nursery's future is dropped: everything is to end at once.
    ///
    /// If it is dropped because the nursery around it drops its children, shields hold as they
    /// do there; and this one ends without its future, which that one waits for.
    pub(crate) fn abandon(&self) {
        let around = self.around.as_ref();
        let cut = around.is_some_and(|around| around.drops() && !around.killed().is_cancelled());
        self.soft.cancel_with(Reason::Dropped);
        self.leave_unread();
        self.stop_starting();
        if cut {
            return self.drop_all(Reason::Dropped);
        }
        self.abandoned.store(true, Ordering::Release);
        self.drop_all(Reason::Dropped);
        // After the flag: a child that asks for the token later sees the flag under the lock.
        let kill = self.lock().kill.clone();
        if let Some(kill) = kill {
            kill.cancel_with(Reason::Dropped);
        }
    }

    /// Nobody asks for the verdict any more. What has failed by now is told here if the last
    /// child has ended already, and by the last child otherwise.
    fn leave_unread(&self) {
        let mut state = self.lock();
        state.left = true;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }

    /// The nursery's future has seen that it is over: the one around need not wait for it.
    pub(crate) fn let_go(&self) {
        let hold = self.lock().hold.take();
        drop(hold);
    }

    /// What has not started never will.
    pub(crate) fn stop_starting(&self) {
        let mut state = self.lock();
        if state.cancelling && state.line.is_empty() {
            return;
        }
        state.cancelling = true;
        let line = std::mem::take(&mut state.line);
        let handles: Vec<_> = state
            .closures
            .values_mut()
            .filter_map(Option::take)
            .collect();
        drop(state);
        for in_line in line {
            if let Some(start) = in_line.start {
                // Ends the child, which is told as cancelled.
                discard(start);
            }
            in_line.waiter.into_iter().for_each(wake);
        }
        for handle in handles {
            // Not yet started, it is destroyed here (OF-3); running, it looks at its token.
            handle.abort();
            handle.detach();
        }
    }

    /// What children wait for that are to be dropped when it is cancelled.
    pub(crate) fn hard(&self) -> &CancellationToken {
        self.hard.get_or_init(CancellationToken::new)
    }

    /// Has everything dropped that is not in a shield.
    pub(crate) fn drop_all(&self, reason: Reason) {
        self.hard().cancel_with(reason);
    }

    /// Is everything to be dropped that is not in a shield?
    pub(crate) fn drops_all(&self) -> bool {
        // Not there, nobody has cancelled it. Who comes to wait for it at the same moment
        // makes it or finds it, and looks then.
        self.hard.get().is_some_and(CancellationToken::is_cancelled)
    }

    /// Must a child be dropped that is in `shields` shields?
    pub(crate) fn is_to_be_dropped(&self, shielded: bool) -> bool {
        self.drops_all() && (!shielded || self.kill_token().is_cancelled())
    }

    /// What a child in a shield waits for that is to be dropped: shields hold against all but
    /// the end of the nursery's future, or of one around it.
    pub(crate) fn kill_token(&self) -> CancellationToken {
        let known = self.lock().kill.clone();
        let kill = known.unwrap_or_else(|| {
            // Made outside of the lock, for it takes those of the nurseries around.
            let fresh = match &self.around {
                Some(around) => around.killed().child(),
                None => CancellationToken::new(),
            };
            let mut state = self.lock();
            let kill = state.kill.get_or_insert_with(|| fresh.clone()).clone();
            drop(state);
            kill
        });
        if self.abandoned.load(Ordering::Acquire) {
            kill.cancel_with(Reason::Dropped);
        }
        kill
    }

    // -----------------------------------------------------------------------
    // The line

    /// Waits until the one with that number has left the line.
    pub(crate) fn poll_started(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock, for it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = match state.in_line(number) {
            Some(in_line) => {
                std::mem::swap(&mut in_line.waiter, &mut waker);
                Poll::Pending
            }
            None => Poll::Ready(()),
        };
        drop(state);
        drop(waker);
        poll
    }

    /// Stands in line for a place.
    pub(crate) fn line_up(&self) -> Result<u64, Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(asked_to_end) {
            return Err(refusal);
        }
        if state.taken < state.limit && state.line.is_empty() {
            state.taken += 1;
            let number = state.number();
            state.granted.push(number);
            Ok(number)
        } else {
            Ok(state.push_in_line())
        }
    }

    /// Waits for the place of the one with that number, and takes it.
    pub(crate) fn poll_place(&self, number: u64, cx: &Context<'_>) -> Poll<Result<(), Refusal>> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = if state.take_grant(number) {
            Poll::Ready(Ok(()))
        } else if let Some(in_line) = state.in_line(number) {
            std::mem::swap(&mut in_line.waiter, &mut waker);
            Poll::Pending
        } else {
            // The line was emptied: by a cancellation, or because the nursery is over.
            let refusal = state.refusal(true).unwrap_or(Refusal::Cancelled);
            Poll::Ready(Err(refusal))
        };
        drop(state);
        drop(waker);
        poll
    }

    /// Leaves the line; a place that was granted meanwhile goes to the next.
    pub(crate) fn leave_line(&self, number: u64) {
        let mut state = self.lock();
        let granted = state.take_grant(number);
        let at = state
            .line
            .binary_search_by_key(&number, |in_line| in_line.number);
        let left = at.ok().and_then(|at| state.line.remove(at));
        drop(state);
        drop(left);
        if granted {
            self.give_place_back();
        }
    }

    /// A place that was taken without a child goes to the next.
    pub(crate) fn give_place_back(&self) {
        self.lock().taken -= 1;
        self.pass_on();
    }

    /// A child takes a place that [`poll_place`](Self::poll_place) gave.
    pub(crate) fn admit_to_place(&self) -> Result<(), Refusal> {
        let asked_to_end = self.soft.is_cancelled();
        let mut state = self.lock();
        if let Some(refusal) = state.refusal(asked_to_end) {
            return Err(refusal);
        }
        state.live += 1;
        state.spawned += 1;
        Ok(())
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.lock().limit = limit;
        self.pass_on();
    }

    // -----------------------------------------------------------------------
    // The end

    /// Waits until all have left.
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = if state.is_over() {
            Poll::Ready(())
        } else {
            std::mem::swap(&mut state.host, &mut waker);
            Poll::Pending
        };
        drop(state);
        drop(waker);
        poll
    }

    /// A token that is cancelled once the nursery is over.
    pub(crate) fn over(&self) -> CancellationToken {
        let mut state = self.lock();
        let over = state
            .over
            .get_or_insert_with(CancellationToken::new)
            .clone();
        let now = state.is_over();
        drop(state);
        if now {
            over.cancel();
        }
        over
    }

    /// Children that have not ended, those in line among them; and the body.
    pub(crate) fn live(&self) -> usize {
        self.lock().live
    }

    /// Has everything ended?
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Has anything failed?
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().ledger.has_failed()
    }

    /// Has the body failed?
    pub(crate) fn has_body_failed(&self) -> bool {
        self.lock().ledger.body_failed
    }

    /// Has there been any child?
    pub(crate) fn had_children(&self) -> bool {
        self.lock().spawned > 0
    }

    /// One that was refused because of the cancellation counts as cancelled.
    pub(crate) fn count_refused(&self) {
        self.lock().ledger.cancelled += 1;
    }

    /// What the nursery comes to, once it is over. `body`: what the body gave, if it was not
    /// cut short and did not fail.
    pub(crate) fn verdict<T>(&self, body: Option<T>) -> Result<T, NurseryError<E>> {
        let ledger = std::mem::replace(&mut self.lock().ledger, Ledger::new(0));
        ledger.verdict(body, self.soft.reason())
    }

    fn lock(&self) -> MutexGuard<'_, State<R, E>> {
        lock(&self.state)
    }
}

impl<R: Runtime, E> State<R, E> {
    fn refusal(&self, asked_to_end: bool) -> Option<Refusal> {
        if self.is_over() {
            Some(Refusal::Closed)
        } else if self.cancelling || asked_to_end {
            Some(Refusal::Cancelled)
        } else {
            None
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn push_in_line(&mut self) -> u64 {
        let number = self.number();
        self.line.push_back(InLine {
            number,
            waiter: None,
            start: None,
        });
        number
    }

    fn take_grant(&mut self, number: u64) -> bool {
        let at = self.granted.iter().position(|granted| *granted == number);
        at.map(|at| self.granted.swap_remove(at)).is_some()
    }

    fn in_line(&mut self, number: u64) -> Option<&mut InLine> {
        // The numbers in line rise.
        let at = self
            .line
            .binary_search_by_key(&number, |in_line| in_line.number);
        at.ok().map(|at| &mut self.line[at])
    }

    /// Gives free places to those who are first in line.
    fn grant(&mut self) -> Granted {
        let mut granted = Granted::default();
        while self.taken < self.limit {
            let Some(first) = self.line.pop_front() else {
                break;
            };
            self.taken += 1;
            if first.start.is_none() {
                self.granted.push(first.number);
            }
            granted.all.push((first.start, first.waiter));
        }
        granted
    }

    fn is_over(&self) -> bool {
        self.live == 0 && self.holds == 0
    }

    /// After one has left: was it the last?
    fn last(&mut self) -> Option<Last<E>> {
        if !self.is_over() {
            return None;
        }
        // While the future is there, it may yet be dropped before it has seen the end: then the
        // one around has what has failed.
        let (failures, hold) = if self.left {
            (self.ledger.take_failures(), self.hold.take())
        } else {
            (Vec::new(), None)
        };
        Some(Last {
            host: self.host.take(),
            over: self.over.clone(),
            // Those who wait for a place alone: children in line count as live.
            line: std::mem::take(&mut self.line),
            failures,
            hold,
        })
    }
}

/// Those who got a place, to be started once the lock is released.
#[derive(Default)]
struct Granted {
    all: Vec<(Option<Start>, Option<Waker>)>,
}

impl Granted {
    fn start(self) {
        for (start, waiter) in self.all {
            if let Some(start) = start {
                start();
            }
            waiter.into_iter().for_each(wake);
        }
    }
}

/// Who is to be told that the nursery is over.
struct Last<E> {
    host: Option<Waker>,
    over: Option<CancellationToken>,
    line: VecDeque<InLine>,
    /// Of a nursery whose future is gone.
    failures: Vec<Failure<E>>,
    hold: Option<Box<dyn Hold>>,
}

impl<E> Last<E> {
    fn tell(self) {
        for in_line in self.line {
            in_line.waiter.into_iter().for_each(wake);
        }
        self.host.into_iter().for_each(wake);
        if let Some(over) = self.over {
            over.cancel();
        }
        let mut hold = self.hold;
        for failure in self.failures {
            match (failure, &mut hold) {
                // An error has a type that the nursery around does not know; a panic has not.
                (Failure::Join(error), Some(hold)) if error.is_panic() => {
                    hold.panicked(error.into_panic());
                }
                (failure, _) => discard(failure),
            }
        }
        // The nursery around may be over now.
        drop(hold);
    }
}

// ---------------------------------------------------------------------------
// For what is inside of children

impl<R: Runtime, E: Send + 'static> Enclosing for Shared<R, E> {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        let mut state = self.lock();
        if state.is_over() {
            return None;
        }
        state.holds += 1;
        drop(state);
        Some(Box::new(Held {
            shared: self,
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }))
    }

    fn killed(&self) -> CancellationToken {
        self.kill_token()
    }

    fn drops(&self) -> bool {
        self.drops_all()
    }
}

/// Something inside of a child that may outlive it.
struct Held<R: Runtime, E: Send + 'static> {
    shared: Arc<Shared<R, E>>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl<R: Runtime, E: Send + 'static> Hold for Held<R, E> {
    fn around(&self, f: &mut dyn FnMut()) {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        f();
    }

    fn panicked(&mut self, payload: Payload) {
        let failure = Failure::Join(JoinError::panicked(payload));
        self.shared.failed(failure);
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Held<R, E> {
    fn drop(&mut self) {
        self.shared.release();
    }
}

impl<R: Runtime, E> fmt::Debug for Shared<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Nursery")
            .field("live", &state.live)
            .field("in_line", &state.line.len())
            .field("cancelling", &state.cancelling)
            .finish_non_exhaustive()
    }
}
