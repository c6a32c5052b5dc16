//! The bugs, each with its model and the cases that must catch it.
//!
//! `CAUGHT_BY` is checked: `main.rs` fails if one of these cases passes on the broken runtime, or
//! fails without one of the words.

use std::sync::OnceLock;

use fourway_conformance::Entry;

/// The bug of this process.
static BUG: OnceLock<Bug> = OnceLock::new();

pub(crate) fn bug() -> Bug {
    *BUG.get().expect("chosen before the case begins")
}

/// Chooses the bug of this process.
pub(crate) fn choose(bug: Bug) {
    BUG.get_or_init(|| bug);
}

/// The name of the chosen bug. In the process that starts the cases, none is chosen.
pub(crate) fn chosen() -> Option<&'static str> {
    let bug = *BUG.get()?;
    KNOWN
        .iter()
        .find(|known| known.bug == bug)
        .map(|known| known.name)
}

/// The description of a bug.
pub(crate) struct Known {
    bug: Bug,
    pub(crate) name: &'static str,
    /// Its model.
    pub(crate) model: &'static str,
    /// Cases that must catch it.
    pub(crate) caught_by: &'static [&'static str],
    /// The constant words in the message of the first case.
    pub(crate) words: &'static str,
    /// The cases of [`UNRELATED`](crate::UNRELATED) that the bug does affect.
    pub(crate) also: &'static [&'static str],
}

macro_rules! bugs {
    ($($bug:ident, $model:literal, [$($case:literal),* $(,)?], $words:literal, [$($also:literal),* $(,)?];)*) => {
        /// One bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Bug {
            $($bug),*
        }

        pub(crate) const KNOWN: &[Known] = &[$(Known {
            bug: Bug::$bug,
            name: stringify!($bug),
            model: $model,
            caught_by: &[$($case),*],
            words: $words,
            also: &[$($also),*],
        }),*];

        /// A subject for each.
        pub(crate) fn variants(of: &Entry) -> Vec<Entry> {
            vec![$(of.variant(stringify!($bug), || {
                choose(Bug::$bug);
            })),*]
        }
    };
}

bugs! {
    None, "no bug: the runtime without any must pass", [], "", [];
    PollsInlineAtSpawn, "an eager executor: `spawn` polls on the caller's thread", ["SP-2.1", "SP-2.2"], "a future was polled inline", [];
    LazySpawn, "futures' remote handles: nothing runs until the handle is polled", ["SP-1.1", "SP-1.2", "SP-1.4"], "a gate was not opened in time", [];
    SpawnAfterShutdownPanics, "futures' `ThreadPool` and others: spawning too late panics", ["SP-3.2", "SP-3.1"], "the runtime is shut down", [];
    SpawnAfterShutdownHangs, "a join that nobody will ever resolve", ["SP-3.1", "SP-3.3", "SP-3.4", "SH-3.1", "SH-3.5"], "did not happen in time: a refused task is finished", [];
    SpawnAfterShutdownLeaks, "the future is forgotten and not dropped", ["SP-3.1", "SP-3.5"], "left: (0, 0)", [];
    FirstJoinerWins, "a handle moved between executors wakes the first one for ever", ["JO-1.2", "OF-2.5"], "did not happen in time: the last joiner is woken", [];
    JoinBeforeDestroy, "tokio 7825: the join resolves while the future's destructor runs", ["JO-2.1", "JO-2.3"], "the join came before the destructor's end", [];
    JoinerWakerLeaks, "tokio 6986: the joiner's waker is kept after completion", ["JO-1.6"], "did not happen in time: the waker is released by a join, though the ha", [];
    MetadataOfWrapper, "a task is said to be started in the wrapper", ["JO-6.1", "JO-6.2", "JO-6.3", "JO-6.5"], "left == right", [];
    ErrorOfNoTask, "an error that does not say which task it is about", ["JO-6.4"], "the error names the task", [];
    PayloadLost, "async_executors on Tokio: the panic's payload is lost", ["JO-3.1", "JO-3.9", "JO-4.5", "CX-2.6"], "left: Some(\"the task panicked\")", [];
    PanicLooksCancelled, "a panic reported as a cancellation", ["JO-4.1", "JO-3.1"], "left: [true, false, false]", [];
    PanicKillsWorker, "futures' `ThreadPool`: a worker dies with the task's panic", ["JO-3.4", "JO-3.6", "JO-3.5"], "it hung for", [];
    PanicRethrownAtJoin, "async-task: the awaiter panics in place of the task", ["JO-3.1", "JO-3.4"], "a literal", [];
    HookRunsTwice, "a panic raised anew, so that it is reported twice", ["JO-3.7", "JO-3.1"], "the task panicked: late", [];
    CancelledLooksShutDown, "cancelled and shut down are one and the same", ["JO-4.1", "JO-4.2", "JO-1.13", "CA-3.9"], "left: [false, false, true]", [];
    ShutdownLooksCancelled, "Tokio: a task destroyed at shutdown counts as cancelled", ["JO-4.2", "JO-5.1", "SH-1.17"], "left: [true, false, false]", [];
    JoinHangsAfterShutdown, "async-executor 163: a pending join hangs when the executor goes", ["JO-5.1", "JO-5.2", "SH-3.3", "JO-5.4", "SH-3.6", "SH-3.7"], "a message that must come did not: timed out waiting on channel", [];
    DetachOnDrop, "Tokio, agnostic: dropping a handle detaches", ["CA-1.1", "CA-1.2", "CA-2.7"], "a future is destroyed", [];
    CancelLostWhenDropped, "tokio 3964: abort, then drop, and the task runs on", ["CA-1.1", "CA-1.7"], "did not happen in time: a future is destroyed", [];
    CancelDoesNotWait, "agnostic, risingwave 7663: aborted is not stopped", ["CA-3.1", "CA-3.8", "CA-4.6", "WT-1.14"], "must not happen: cancel is ready before the destructor has ended", [];
    CancelLosesOutput, "cancelling a finished task throws its output away", ["CA-3.2", "JO-4.4", "OF-3.6"], "JoinError::Cancelled", [];
    AbortIgnoredWhileRunning, "a cancellation during a poll is forgotten", ["CA-2.4", "CA-2.5", "CA-2.8", "CA-2.3"], "it hung for", [];
    PolledAfterCancel, "a task cancelled before its first poll is polled once more", ["CA-2.1", "CA-2.6"], "polled after it was cancelled", [];
    AbortHandleDiesOnDetach, "an abort handle that is no good once the task is detached", ["CA-3.5", "OF-3.11"], "did not happen in time: it knows of the end", [];
    DestructorPanicAborts, "async-task: a destructor that panics aborts the process", ["CA-4.1", "CA-4.3", "CA-4.5", "SH-1.16"], "its process ended by itself", [];
    DestructorPanicLost, "a destructor's panic is swallowed", ["CA-4.1"], "error.is_panic()", [];
    OutputDropPanicEscapes, "tokio 4412: an output whose destructor panics on handle drop", ["JO-3.10", "CA-4.13", "OF-2.4", "JO-3.11"], "fourway-marker", [];
    DestroyUnderLock, "destructors run under the task's lock", ["CA-4.10", "CA-3.10"], "it hung for", [];
    LostWakeDuringPoll, "a wake during a poll is lost", ["WA-1.3"], "a gate was not opened in time", ["SP-4.4", "SP-4.6", "CX-1.1"];
    NoCoalescing, "each wake is a poll", ["WA-1.2"], "must not happen: more polls than wakes", [];
    WakePollsInline, "waking polls on the waker's thread", ["WA-2.1"], "a future was polled inline", [];
    SpuriousPolls, "tasks are polled without having been woken", ["WA-1.4", "WA-1.1", "WA-1.8"], "must not happen: a task is polled that nobody woke", [];
    WakeAfterGonePanics, "a waker that outlives its runtime panics", ["WA-2.4", "WA-2.5", "SH-3.2", "SH-3.10"], "woken after the runtime is gone", [];
    LostTaskKept, "a task that nobody can wake is kept for ever", ["WA-3.1", "WA-3.2", "WA-3.4", "WA-3.5"], "did not happen in time: tasks that nobody can wake are destroyed", [];
    NestedRuns, "smol: `block_on` inside a task runs, and blocks the executor", ["BL-2.1", "BL-2.2", "BL-2.5", "BL-2.6", "BL-2.7", "BL-2.9", "BL-2.10", "BL-2.11", "BL-2.12", "BL-2.14", "BL-2.15", "BL-2.16", "BL-2.17", "LO-1.8", "LO-1.10"], "left: [Ran, Ran]", [];
    NestedHangs, "agnostic on smol: `block_on` inside a task hangs", ["BL-2.1", "BL-2.2"], "it hung for", [];
    NestedPanics, "Tokio: `block_on` inside a task panics, also where an error was asked for", ["BL-2.1"], "from within a runtime", [];
    NestedPolls, "the future is polled before the refusal", ["BL-2.1", "BL-2.2", "BL-2.3", "BL-2.4"], "left == right", [];
    ContextCached, "SmartAsync: the first answer is kept for ever", ["BL-2.1", "BL-2.2"], "", [];
    RefusesInClosure, "`block_on` refused where blocking is allowed", ["BL-3.1", "CX-2.2", "BL-3.8", "LO-1.12", "BL-3.3", "BL-3.5", "CX-1.5"], "left: Refused", [];
    EatenToken, "pollster: trusts the park token, which the future may eat", ["BL-5.1"], "it hung for", [];
    OneBlockerAtATime, "a global lock around `block_on`", ["BL-4.1"], "did not happen in time: all threads end", [];
    NoMarkInBlockOn, "the root future of `block_on` does not count as async code", ["BL-2.2", "CX-1.4"], "left: [Ran, Ran]", [];
    BlockOnPanicSwallowed, "a panic in `block_on` never reaches the caller", ["BL-1.3"], "it hung for", [];
    NoMarkInTask, "tasks do not count as async code", ["BL-2.1", "CX-1.2", "BL-2.13", "CX-2.4", "CX-2.8"], "left: [Ran, Ran]", [];
    NoMarkInDrop, "a future's destructor does not count as async code", ["BL-2.4", "CX-1.6"], "left: Ran", [];
    MarkLeftAfterPanic, "tokio 5177: a panic leaves the thread marked", ["CX-1.8", "BL-1.4", "LO-1.15"], "left == right", [];
    BlockInPlaceStalls, "the other tasks wait while a task blocks in place", ["BL-6.2"], "did not happen in time: all are inside at a time", [];
    BlockInPlaceUnmarked, "`block_on` inside `block_in_place` is refused", ["BL-3.7", "CX-1.7", "BL-5.5"], "left: Refused", [];
    NestedOffloadStarves, "anyio, trio, asyncio, Tokio: nested offload with a limit of 1 hangs", ["OF-4.1", "OF-4.7", "OF-4.2", "OF-4.3", "OF-4.4", "OF-4.5", "OF-4.6", "OF-4.10"], "it hung for", [];
    RunsDroppedClosures, "Tokio: closures run although their handles are gone", ["OF-3.1", "CX-2.7"], "right: 1000", [];
    OffloadCancelIgnored, "a closure that has not started cannot be cancelled", ["OF-3.2"], "", [];
    OffloadPayloadLost, "the payload of a closure's panic is lost", ["OF-2.2"], "left: None", [];
    ThreadPerClosure, "tokio's and blocking's pools: a burst starts a thread each; no limit", ["OF-7.1", "OF-6.3", "OF-7.2"], "threads", ["OF-5.9"];
    OffloadOnWorker, "closures run on the threads that poll tasks", ["OF-1.1", "OF-1.2", "OF-1.3"], "share_any", ["OF-5.9"];
    OffloadInline, "closures run on the caller's thread", ["OF-1.5"], "assertion failed: !closure.is_finished()", ["OF-5.9"];
    NewestClosureFirst, "waiting closures run in the wrong order", ["OF-5.5", "OF-3.7"], "left == right", ["OF-5.9"];
    UnmarkedClosure, "a closure's thread does not say what it is", ["CX-1.3", "CX-2.5", "CX-2.9"], "left: Sync", [];
    InPlaceUnmarked, "a blocking body under `wait` finds no current runtime", ["CX-1.16"], "no current runtime: a body in place", [];
    LimitIgnored, "the limit on closures is not kept", ["OF-5.4"], "must not happen: it starts without a slot", ["OF-5.9"];
    QueueNeverFull, "`try_offload` never says that the queue is full", ["OF-5.6", "OF-5.8", "CX-3.6", "OF-5.7"], "full", [];
    TimerEarly, "timers fire a little early", ["TI-1.1", "TI-1.6", "TI-3.6"], " for 1", [];
    DueTimerPends, "a timer that is due is not ready at its first poll", ["TI-1.2", "TI-1.3", "TI-3.4", "TI-3.7", "TI-3.10"], "assertion failed: poll_once(&mut Box::pin(sleep), &waker).is_ready()", [];
    HugeDurationPanics, "tokio 4495: a huge duration overflows", ["TI-1.4"], "overflow when adding duration to instant", [];
    TimersCoarse, "tokio 3190: a shorter timer waits for a longer one", ["TI-4.1"], "it hung for", [];
    SleepWakerLeaks, "a dropped timer keeps its waker", ["TI-2.4", "TI-2.5", "TI-2.6", "TI-3.3"], "the waker is released", [];
    BusyIdle, "idle workers spin", ["FA-1.8", "FA-1.9"], "its threads are never idle", [];
    DropInAsyncPanics, "Tokio: dropping the last handle in async code panics", ["SH-2.2", "SH-2.3"], "cannot drop a runtime in a context where blocking is not allowed", [];
    DropWaits, "dropping the last handle joins the workers", ["SH-2.1", "SH-2.5"], "", [];
    NeverEnds, "blocking: threads that never end", ["SH-2.9"], "did not happen in time: the threads end", [];
    ShutdownLeavesFutures, "futures are not destroyed at shutdown", ["SH-1.2", "JO-5.5", "CA-3.13"], "left: (1, 0)", [];
    ShutdownInAsync, "`shutdown` waits on a thread that runs async code", ["SH-1.10"], "assertion failed: rt.block_on(async { refused(&rt) })", [];
    QueuedClosuresRunAtShutdown, "closures in the queue run after all", ["SH-1.8"], "closures_running: 1", [];
    ReportAlwaysClean, "the report says that everything has ended, whatever runs", ["SH-1.5", "SH-1.6", "SH-1.3", "SH-1.12"], "assertion failed: !report.is_clean()", [];
    NotifyLost, "tokio 525: a wake-up is lost, in this case every fiftieth from outside", ["SP-1.6", "WA-1.10", "FA-1.10", "JO-1.11"], "a gate was not opened in time", [];
    NewestTaskFirst, "a queue served from the wrong end: what a worker queues goes first", ["FA-1.2", "FA-1.1", "FA-1.3", "SP-1.7", "FA-1.6", "TI-4.2", "BL-4.4"], "a future was not ready in time", [];
    FirstHandleOwns, "a clone of the handle that does not keep the runtime", ["SP-1.8", "SP-4.9"], "JoinError::Shutdown", [];
    TimerOwnsRuntime, "a task that sleeps keeps the runtime that is to destroy it", ["JO-5.7"], "a future was not ready in time", [];
    SpawnNeedsPollLock, "one lock for the executor, held while a task is polled", ["SP-2.3", "SP-2.6", "JO-3.6", "SP-1.3", "SP-2.7"], "it hung for", [];
    ForeignAsyncRefused, "lapin 436: in another runtime's task the ambient context is the wrong one", ["SP-2.4", "CX-1.10"], "called from the wrong context", [];
    SpawnOnlyOnWorkers, "async code that is polled outside of the workers cannot spawn", ["SP-2.12", "BL-1.5", "BL-1.2", "LO-1.9", "BL-1.1", "CX-2.1"], "called from the wrong context", [];
    NoSpawnInClosure, "pool threads that are not told of their runtime", ["SP-2.5", "SP-2.7"], "called from the wrong context", [];
    PanicsWhileUnwinding, "a lock that is found poisoned while the thread unwinds: the process aborts", ["SP-2.7", "OF-1.6", "CA-1.2", "CA-3.4", "WA-2.6", "CA-4.12", "SH-2.6", "BL-3.4", "SP-3.2"], "its process ended by itself", [];
    NeedsThreadLocal, "tokio 4973: a thread-local of the runtime's is gone already", ["SP-2.8", "SP-2.10", "WA-2.7", "WA-2.8", "WA-2.9", "SH-2.6", "SH-3.9", "SH-2.4"], "its process ended by itself", [];
    TaskDiesWithThread, "a queue in a thread-local of the spawner is lost with it", ["SP-1.5", "SP-2.9", "SP-2.8", "SP-2.10"], "JoinError::Shutdown", [];
    WakesUnderLock, "joiners are woken, and their wakers dropped, under the task's lock", ["SP-2.11", "JO-1.9", "JO-1.10"], "it hung for", [];
    ProducersRace, "a queue for one producer at a time: of two that meet, one loses its task", ["SP-2.13", "SP-1.7", "BL-4.5", "FA-1.6", "FA-1.11"], "did not happen in time: all threads end", [];
    LargeRefused, "a task cell of a fixed size", ["SP-4.1", "OF-2.1", "BL-1.7"], "JoinError::Shutdown", [];
    ZeroSizedLost, "what has no size is taken for nothing", ["SP-4.2"], "JoinError::Shutdown", [];
    OutputForgotten, "the output that nobody takes is leaked", ["SP-4.3", "JO-5.3", "CX-1.14", "JO-3.11"], "left == right", [];
    BudgetRunsOut, "a budget of polls that is never refilled", ["SP-4.7", "WA-1.9"], "it hung for", [];
    SlabOverflows, "slots of the task table that are used again too early", ["SP-4.8", "FA-1.5", "JO-1.12"], "left == right", [];
    TableFull, "slots of the task table that never come free", ["FA-1.12", "BL-4.5"], "JoinError::Shutdown", [];
    HandleBoundToExecutor, "handles that work on their own executor only", ["JO-1.1", "JO-1.3", "OF-2.5"], "polled on another executor", [];
    JoinPendsOnce, "a join that registers first and looks later", ["JO-1.4", "JO-1.8", "SP-3.1"], "assertion failed: matches!(ready, Poll::Ready(Ok(m)) if m == n)", [];
    PolledAgainPends, "async-task 73: a handle polled after it was ready hangs", ["JO-1.7"], "it must panic", [];
    JoinLosesRace, "registering and completing race for the joiner's waker", ["JO-1.11"], "a future was not ready in time", [];
    BoxedDetachCancels, "an erased handle that detaches by being dropped", ["CA-1.4"], "did not happen in time: a task is polled", [];
    PanicSeenEarly, "a panic that is told before the future is destroyed", ["JO-2.2"], "the join came before the destructor's end", [];
    ShutdownSeenEarly, "tasks that are reported shut down first and destroyed later", ["JO-2.5"], "left == right", [];
    HookToldTwice, "the panic is raised anew with its payload, and told twice", ["JO-3.2", "JO-3.3", "JO-3.8", "JO-3.12", "CA-4.3", "CA-4.4", "CA-4.2"], "left == right", [];
    LatePanicLost, "Tokio: a destructor's panic after completion is swallowed", ["JO-3.8"], "the join gave an output", [];
    PanicReachesWaker, "async-executor 78: the panic comes out of whoever runs the task", ["JO-3.13"], "woken", [];
    CancelCoversPanic, "the cancellation covers up the panic", ["JO-4.3", "OF-3.9"], "left == right", [];
    DetachCancels, "a detach that drops the task with the handle", ["CA-1.3", "CA-1.4", "CA-1.6"], "in time", [];
    AbortHandleCancels, "an abort handle that cancels when it is dropped", ["CA-1.6"], "did not happen in time: a task is polled", [];
    CancelWaitsForWake, "tokio 3157: cancelled, the future lives on until somebody wakes it", ["CA-2.2", "CA-2.10", "CA-3.4", "CA-3.6", "CA-3.7", "CA-1.5", "CA-3.5"], "did not happen in time: a future is destroyed", [];
    CancelledForgotten, "the future of a cancelled task is leaked", ["CA-2.1", "CA-2.9", "FA-1.13"], "a future is destroyed", [];
    AbortTwicePanics, "the second cancellation finds a state that the first did not", ["CA-3.3", "CA-3.12", "CA-1.5", "CA-3.11"], "its process ended by itself", [];
    AbortDestroysInline, "the thread that cancels runs the destructor", ["CA-3.14"], "a gate was not opened in time", [];
    DestroyUnderTaskLock, "the future is destroyed under the lock that wakes take", ["CA-4.8", "WA-2.12", "CA-4.10"], "it hung for", [];
    DestroyUnderRuntimeLock, "the future is destroyed under the executor's lock", ["CA-4.9", "CA-4.7", "CA-4.11", "SP-2.6", "SH-3.5", "CA-4.8"], "it hung for", [];
    StaleWakerIgnored, "the waker of an earlier poll is no good any more", ["WA-1.5"], "did not happen in time: a task is polled", [];
    OneWakerForAll, "an executor that polls everything when anything happens", ["WA-1.4", "WA-1.11"], "must not happen: a task is polled that nobody woke", [];
    WakersCollide, "of two threads that wake at once, each leaves it to the other", ["WA-1.7", "WA-1.6"], "", [];
    WakeAfterEndPanics, "async-task: waking a task that has ended", ["WA-2.2", "WA-2.3", "WA-2.11"], "woken after the end", [];
    FutureKeptByWaker, "tokio 7825, and more: the future is kept for as long as there are wakers", ["WA-2.10"], "left == right", [];
    HandleDoesNotKeep, "a handle that does not keep its task", ["WA-3.3"], "must not happen: a task is destroyed while its handle is there", [];
    RootLosesWake, "`block_on` loses a wake that comes during the poll", ["BL-1.6", "BL-5.1", "BL-1.2", "BL-1.7", "BL-4.4", "LO-1.2", "LO-1.13", "LO-1.17", "TI-4.2", "CX-2.1"], "it hung for", ["SP-4.4", "SP-4.6", "CX-1.1"];
    RootStarvesTasks, "tasks have their turn when the root of `block_on` is parked, and not before", ["FA-1.7"], "it hung for", [];
    BuildRefusedInside, "Tokio: a runtime cannot be built inside of another", ["BL-1.8"], "cannot start a runtime from within a runtime", [];
    OnlyBuilderBlocks, "`block_on` works on the thread that built the runtime", ["BL-3.2", "BL-4.1", "BL-4.3", "CX-2.3", "TI-4.5"], "", [];
    OneRuntimePerThread, "async-executor 55: a thread belongs to the runtime it used first", ["BL-3.6", "CX-1.10"], "this thread has another runtime", [];
    CallerDriven, "a runtime that is driven by `block_on` alone stops between calls", ["BL-4.2", "SP-1.1", "TI-4.3"], "a gate was not opened in time", [];
    BlockOnPoisoned, "a shared driver does not survive a panic of its user", ["BL-1.4", "OF-4.8", "BL-4.3"], "the driver is poisoned", [];
    SpuriousUnparkPanics, "a park token from elsewhere is not expected", ["BL-5.2"], "woken for nothing", [];
    RootWakerPanicsLater, "the waker of a `block_on` that has returned panics", ["BL-5.4", "BL-5.3"], "woken after block_on has returned", [];
    OneFlagPerThread, "a cached waker ties all `block_on`s of a thread together", ["BL-5.3"], "one poll for each of its own wakes", [];
    InPlaceUnsupported, "libsql 2032: `block_in_place` does not work, though declared", ["BL-6.1", "BL-6.3", "BL-6.6"], "a gate was not opened in time", [];
    InPlaceOnlyInTasks, "`block_in_place` works in tasks alone", ["BL-6.4", "CX-1.7"], "left == right", [];
    InPlaceForeignRuns, "`block_in_place` stalls another runtime's executor", ["BL-6.5"], "called `Result::unwrap_err()` on an `Ok` value: 1", [];
    InPlaceRunsThenErrs, "`block_in_place` runs the closure, and then says that it did not", ["BL-6.7"], "assertion failed: error.is_unsupported() && !ran.get()", [];
    ClosurePanicKillsSlot, "futures' `ThreadPool`: a closure's panic takes its thread along", ["OF-2.3", "OF-2.2"], "it hung for", [];
    ClosureShutdownHangs, "tokio: a queued closure at shutdown is never told of", ["OF-2.6", "OF-2.7", "JO-5.6", "SH-1.8", "SH-1.15", "SH-1.1", "SH-3.4", "SH-5.1", "SH-5.2"], "a future was not ready in time", [];
    RunningClosureResolves, "the join says cancelled while the closure still runs", ["OF-3.3"], "must not happen: the join resolves while it runs", [];
    AbandonedFreesSlot, "anyio: an abandoned closure counts as gone while it runs on", ["OF-3.4", "OF-5.2"], "must not happen: the next one starts", [];
    ResultDroppedElsewhere, "a result that nobody takes is dropped on another thread", ["OF-3.5", "CX-1.6"], "left == right", [];
    CapturePanicEscapes, "a capture's destructor panics out of the cancellation", ["OF-3.8"], "the panic is contained", [];
    OutputDropHoldsPool, "a thread that drops a result counts as idle, and takes work with it", ["OF-3.10"], "a gate was not opened in time", [];
    CancelledKeepsSlot, "anyio 947: the place of a cancelled waiter does not pass on", ["OF-3.12", "OF-3.2"], "a gate was not opened in time", [];
    ReturnsLast, "a closure that comes back goes behind those that wait", ["OF-4.9"], "a gate was not opened in time", [];
    SlotNotTakenBack, "a closure that comes back takes no slot", ["OF-5.3"], "it hung for", [];
    LimitOneShort, "a limit that is never reached", ["OF-5.1", "OF-1.4", "OF-5.2", "OF-5.4"], "a gate was not opened in time", [];
    HiddenQueueLimit, "a bound on the queue that nobody asked for", ["OF-5.9"], "no bound: TryOffloadError::Full", [];
    StrandedOnExpiry, "tokio 8056: a closure is stranded while idle threads end", ["OF-6.1", "OF-6.2", "FA-1.11"], "it hung for", [];
    IdleThreadsNeverEnd, "`blocking`: idle threads did not end on one revision", ["OF-6.4", "OF-6.5", "SP-2.10", "WA-2.8", "SH-2.4"], "did not happen in time: idle threads end", [];
    TimerCountsFromPoll, "a timer counts from its first poll", ["TI-1.5"], "assertion failed: poll_once(&mut Box::pin(sleep), &waker).is_ready()", [];
    TimerNeedsRuntime, "Tokio: a timer made where no runtime is entered panics", ["TI-2.1"], "there is no reactor running", ["CX-1.1", "TI-3.1", "TI-3.5"];
    TimerBoundToExecutor, "a timer is polled where it was made, or not at all", ["TI-2.2"], "polled outside of the runtime it was made in", [];
    FirstTimerWakerWins, "a timer that moves between executors wakes the first one for ever", ["TI-2.3"], "did not happen in time: the last waker is woken", [];
    TimerDiesWithRuntime, "a timer that outlives its runtime never fires", ["TI-2.7"], "a future was not ready in time", [];
    TimerWakerUncontained, "Tokio: a timer's waker that panics takes the runtime with it", ["TI-2.8"], "JoinError::Shutdown", [];
    ResetOverflows, "Tokio: a timer's deadline is rounded up", ["TI-5.10"], "overflow when adding duration to instant", [];
    ResetIgnored, "a timer that is moved keeps its old deadline", ["TI-5.3", "TI-5.4", "TI-5.7", "TI-5.1", "TI-5.8", "TI-5.9"], "ready at the old time", [];
    ResetForgetsWaker, "a timer that is moved waits for the next poll", ["TI-5.2", "TI-5.5", "TI-5.6"], "did not happen in time: the waker is called", [];
    TimersInPool, "timers that take a thread of the pool", ["TI-4.4", "OF-1.3"], "a gate was not opened in time", [];
    TimerWakerUnmarked, "the timer's thread does not count as running async code", ["CX-1.11", "BL-2.8"], "left == right", [];
    ClockGoesBack, "a clock that is not monotonic", ["TI-1.7", "TI-3.13"], "assertion failed: now <= rt.now() && now <= Instant::now() + LONG", [];
    ClockStands, "a clock that is read once", ["TI-3.8", "TI-3.9"], "assertion failed: before + period <= next && next <= after + period", [];
    MarkLeft, "`block_on` leaves the thread marked", ["CX-1.1", "CX-1.4", "CX-1.10", "CX-1.13"], "left == right", [];
    CurrentUnknown, "a runtime that cannot be found from inside", ["CX-1.9"], "no current runtime", [];
    ValuesLeak, "trio 3472: a pooled thread leaks an earlier context", ["CX-3.4"], "assertion failed: rt.block_on(closure).unwrap()", [];
    LifoSlot, "tokio 4941: the task woken last waits in its busy waker's slot", ["FA-1.4"], "a gate was not opened in time", [];
    SlotNotEmptied, "the task woken last waits in a slot that only the next wake empties", ["FA-1.15"], "a gate was not opened in time", [];
    TwoAtATime, "declared to run its tasks on one thread, it has more of them", ["FA-1.14"], "tasks are polled at the same time", [];
    EnteringNeedsThreadLocal, "Tokio: to enter a runtime after its thread-local is gone panics", ["BL-3.9"], "cannot access a Thread Local Storage value during or after destruction", [];
    FullSourceHangs, "a thread was asked of a foreign pool, all of whose threads wait for it", ["OF-4.11"], "a gate was not opened in time", [];
    TimerThreadStays, "the thread that serves what outlives runtimes never ends", ["SH-1.21"], "did not happen in time: the threads that served the timer end", [];
    StatusEmpty, "the pool has nothing to do, whatever it does", ["SH-4.2"], "did not happen in time: the first is parked", [];
    ShutdownUnseen, "nobody can ask whether the runtime is there", ["SH-4.1"], "assertion failed: rt.is_shutdown()", [];
    PoolNeverCloses, "the pool accepts closures after the shutdown", ["SH-1.1", "OF-2.7", "SH-1.7", "SH-1.4"], "assertion failed: is_shutdown(drive(rt.offload(closure())))", [];
    SecondShutdownPanics, "the second shutdown finds nothing to join", ["SH-1.9", "SH-2.8", "SH-3.8", "SH-1.13"], "shut down already", [];
    SecondShutdownEarly, "of two shutdowns at once, the second finds no thread to join", ["SH-1.22"], "must not happen: a shutdown returns before the threads have ended", [];
    ShutdownWaitsForWakers, "the timer thread is joined whatever it does", ["SH-1.26"], "a shutdown waits for a timer's waker", [];
    ThreadsNotJoined, "std: a thread has ended before its thread-locals are destroyed", ["SH-1.24", "SH-1.22"], "must not happen: a shutdown returns before the threads have ended", [];
    PoolThreadsNotJoined, "the pool's threads are told to end, and not joined", ["SH-1.23", "SH-1.25", "SH-1.22"], "must not happen: a shutdown returns before the threads have ended", [];
    NotOwnedShutsDown, "a runtime that is only borrowed is ended all the same", ["SH-1.11"], "it is not owned", [];
    ShutdownOverflows, "tokio 4495: a huge timeout overflows", ["SH-1.14", "SH-1.13"], "overflow when adding duration to instant", [];
    FinishesQueueAtShutdown, "what is in the queue is polled on", ["SH-1.18"], "ShutdownReport", [];
    ShutdownWaitsForPolls, "suspended futures are destroyed when the last poll is over", ["SH-1.19"], "a gate was not opened in time", [];
    ReapedOnlyByShutdown, "suspended futures are destroyed by the waiting alone", ["SH-1.20"], "a future was not ready in time", [];
    DropWaitsForPool, "dropping the last handle joins the pool's threads", ["SH-2.4", "SH-2.1"], "a future was not ready in time", [];
    DropCollides, "of two handles dropped at once, both are the last", ["SH-2.7"], "dropping does not panic", [];
    RuntimeTableFull, "what each runtime leaves behind adds up", ["SH-2.10"], "no room for another runtime", [];
    WaitBlocksExecutor, "a wait that asks nobody whether the thread may block", ["WT-1.2", "WT-1.3", "WT-1.13"], "", [];
    WaitKeepsSlot, "a wait that knows nothing of the pool whose closure waits", ["WT-1.4", "WT-1.5"], "did not happen in time: a thread ends", [];
    HelpsUnmarked, "a thread that helps does not say what it runs", ["WT-1.6"], "left: Sync", [];
    HelpsWithValues, "a closure sees the values of whoever waits for it", ["WT-1.7"], "left: Some(7)", [];
    HelpsWithoutSlot, "a thread that helps just runs the closure", ["WT-1.9", "WT-1.8", "WT-1.10", "WT-1.11", "WT-1.15"], "left == right", [];
    HelpPanicEscapes, "a panic comes out of the thread that helps", ["WT-1.12", "WT-1.1"], "", [];
    HelpKeepsSlot, "a thread that helps does not give its slot back", ["WT-1.16"], "in time", [];
    HelpNeedsThreadLocal, "a thread that helps says so in a thread-local, which may be gone", ["WT-1.17"], "cannot access a Thread Local Storage value during or after destruction", [];
    LocalSetOfItsOwn, "a `block_on` within a local set of its own, which takes local tasks for the caller's and loses them", ["LO-2.4"], "assertion failed: local::current().is_none()", [];
    WaitsUnhooked, "obstore 451: the GIL is held during the wait", ["BL-7.1", "BL-7.3"], "", [];
    HooksAlways, "hooks that are called whether or not there is anything to wait for", ["BL-7.2", "BL-7.1"], "hooks are called for nothing", [];
    HooksUnbalanced, "a panic leaves the lock behind", ["BL-7.3"], "the panic has left the lock behind", [];
    HandleWaitsUnhooked, "vortex 4931: the GIL is held while a handle is waited for", ["BL-7.4"], "", [];
    SlotUnhooked, "the GIL is held while a closure waits for its slot", ["BL-7.5"], "did not happen in time: all closures have had the lock", [];
    ForkedJoinHangs, "hf_xet 429: in a forked child a join waits for a worker that is not there", ["FK-1.1"], "in a forked child", [];
    ForkedSpawnQueues, "LibAFL 1524: in a forked child tasks are put into a queue that nobody empties", ["FK-1.2", "FK-1.5"], "the future is dropped at once", [];
    ForkedTimersStand, "in a forked child timers stand still", ["FK-1.3"], "in a forked child", [];
    ForkedDropDestroys, "a forked child that tidies up destroys what is the parent's", ["FK-1.4"], "a future of the parent's", [];
    ForkedBuildDead, "a runtime that is built in a forked child believes that its threads are there", ["FK-1.5"], "in a forked child", [];
    ForkedShutdownWaits, "in a forked child a shutdown waits for threads that are not there", ["FK-1.6"], "in a forked child", [];
    ForkedPipeShared, "tokio 5535 and others: the child writes to the parent's descriptors", ["FK-1.7"], "", [];
    LeavesChildren, "JoinSet with detach_all, agnostic scopes: the nursery returns with its body", ["NU-1.1", "NU-1.2", "NU-1.3"], "children that are still there", [];
    ToldBeforeDestructors, "tokio 7825: told of a child's end while its destructor is to run", ["NU-1.2"], "a destructor is still to run", [];
    ErrorReturnsAtOnce, "try_join: the first error returns, and the others run on", ["NU-1.3", "NU-2.2"], "must not happen: it returns before its closure has", [];
    EagerBody, "a nursery that begins when it is made", ["NU-1.4"], "must not happen: something has begun", [];
    ResultsKept, "hickory 1818, sim-ln 221: the results of children are kept until the end", ["NU-1.5"], "did not happen in time: values that nobody wants are dropped", [];
    LostChildHangs, "a child that the runtime has destroyed is waited for for ever", ["NU-1.6"], "in time", [];
    FailureCancelsNobody, "JoinSet, FuturesUnordered: after a failure the others run on", ["NU-2.1", "NU-2.2", "NU-2.3", "NU-2.4", "NU-4.1"], "in time", [];
    SecondErrorLost, "try_join: of the failures all but the first are lost", ["NU-2.2", "NU-2.4", "NU-2.5", "NU-2.7"], "left == right", [];
    CancelledIsFailure, "tokio's JoinError: each cancelled sibling is one more failure", ["NU-2.3", "NU-2.9", "NU-6.1"], "left == right", [];
    BodyIsNoMember, "a failure of the body cancels nobody", ["NU-2.4", "NU-4.3"], "in time", [];
    BodyRunsOn, "the body is not cancelled by a failure of a child", ["NU-2.1", "NU-6.1"], "in time", [];
    SuperviseCancels, "a supervisor that goes with the first that fails", ["NU-2.5"], "", [];
    LosersRunOn, "a race whose losers run on", ["NU-2.6"], "in time", [];
    NobodyFailed, "the first success of nobody is a failure without a cause", ["NU-2.7"], "left == right", [];
    OrderOfEnd, "JoinSet::join_all: values in the order in which they came", ["NU-2.8"], "left == right", [];
    OwnCancelIsError, "a nursery that cancels itself has failed", ["NU-2.9", "NU-1.2"], "there is no value", [];
    OutsideLooksFailed, "cancelled from outside looks like failed", ["NU-2.10", "CX-3.10"], "left == right", [];
    ClosesWithBody, "a group that is closed when its body is over", ["NU-3.1"], "", [];
    ChildAfterClose, "TaskTracker: who comes after the end is taken, and not waited for", ["NU-3.2"], "a child was taken that is to be refused", [];
    ChildWhileCancelling, "what is torn down goes on growing", ["NU-3.3"], "a child was taken that is to be refused", [];
    LooksThenCounts, "looks whether it is over, and counts the child then", ["NU-3.4"], "a child was taken and not waited for", [];
    StartWaitsForEnd, "the caller hears of the child that is ready when that has ended", ["NU-3.5"], "in time", [];
    StartFailsTwice, "anyio 706: what fails before it is ready fails for the nursery as well", ["NU-3.6"], "", [];
    CallerCancelsAll, "anyio 685, 710: a caller that gives up cancels the whole group", ["NU-3.7"], "", [];
    PanicCancelsLate, "JoinSet: a panic is seen when somebody asks, and the siblings run on", ["NU-4.1"], "did not happen in time: the sibling is cancelled", [];
    NurseryPayloadLost, "std::thread::scope: a child panicked, and with what is not known", ["NU-4.2", "NU-4.1", "NU-4.3"], "what was thrown", [];
    BodyPanicEscapes, "the panic of the body unwinds past the children", ["NU-4.3", "NU-1.3"], "the body", [];
    CancelledDestructorSwallowed, "Tokio: the panic of a cancelled child's destructor is swallowed", ["NU-4.4"], "the nursery gave a value", [];
    LimitFreedEarly, "a permit is given back when the child is first suspended", ["NU-5.1"], " of 3", [];
    PlaceForNobody, "of the places one is never given", ["NU-5.2"], "in time", [];
    TrySpawnQueues, "the limit stands before a queue without an end", ["NU-5.3"], "a child was taken that is to be refused", [];
    WaiterPlaceLost, "anyio 947: the place that a cancelled waiter was granted is lost", ["NU-5.4"], "in time", [];
    LastComeFirst, "a line that is served from its end", ["NU-5.5"], "left == right", [];
    RaisedLimitSleeps, "a higher limit is seen when the next child ends", ["NU-5.6"], "in time", [];
    FailureKeepsPlace, "the place of a child that fails is lost with it", ["NU-5.7"], "in time", [];
    TimeoutLooksCancelled, "a deadline looks like any other cancellation", ["NU-6.1", "NU-6.2", "NU-6.5"], "left == right", [];
    DeadlineWithoutDestructors, "tokio's timeout around a JoinSet: it returns before the children are destroyed", ["NU-6.2"], "must not happen: it returns before its closure has", [];
    LateIsTimeout, "after its deadline a nursery has timed out, whatever it has", ["NU-6.3"], "there is no value", [];
    NoGrace, "who is asked to end is dropped at once", ["NU-6.4"], "left == right", [];
    GraceForEver, "one that does not listen is waited for for ever", ["NU-6.5"], "in time", [];
    ShieldIgnored, "a cancellation cuts through shielded sections", ["NU-6.6", "NU-6.8"], "the section was cut short, or asked to end", [];
    ShieldPardons, "who was once in a shield is never dropped", ["NU-6.7"], "in time", [];
    ShieldShallow, "trio 2544, anyio 837: a shield that nothing within it knows of", ["NU-6.8", "NU-6.6"], "", [];
    SyncOneAfterTheOther, "children that run one after the other", ["NU-7.1"], "in time", [];
    SyncPanicEscapes, "std::thread::scope: a panic goes on in the caller, without its payload", ["NU-7.2"], "", [];
    SyncAllowedInAsync, "a sync nursery in async code stops its executor", ["NU-7.3"], "left == right", [];
    SyncFailsSlow, "std::thread::scope: the others are not asked to end", ["NU-7.4"], "in time", [];
    SyncLimitIgnored, "a thread for each child", ["NU-7.5"], " of 2", [];
    SyncKeepsSlot, "the join keeps the only slot of the pool", ["NU-7.6"], "in time", [];
    SyncDeadlineIgnored, "scoped threads that nobody asks to end", ["NU-7.7"], "in time", [];
    DropDestroysNobody, "JoinHandle: what a dropped nursery has spawned runs on", ["NU-8.1", "NU-8.2", "NU-8.3", "NU-8.4", "NU-8.5", "NU-8.6"], "the token is not set", [];
    DropBlocks, "async-scoped: a destructor that waits for the children", ["NU-8.2", "NU-8.3"], "did not happen in time: drop returns", [];
    ClosedTooEarly, "tokio 6802: closed when asked to close, and not when it is", ["NU-8.3"], "must not happen: it tells too early", [];
    ShieldSurvivesDrop, "a shielded section outlives whoever waited for it", ["NU-8.4"], "in time", [];
    LineOutlivesDrop, "each child that is destroyed makes room for the next", ["NU-8.5"], "left == right", [];
    ClosedOnlyByDrop, "a handle that tells of cancellations alone", ["NU-8.7"], "in time", [];
    ValuesStayBehind, "a request's id that its helpers do not know", ["CX-3.8"], "a child does not see the value", [];
    TokenStaysBehind, "a token that must be passed through everything", ["CX-3.9", "NU-2.1", "NU-6.4"], "", [];
    InnerNurseryAlone, "a scope that does not know of the one around it", ["CX-3.10"], "in time", [];
    BlocksExecutor, "a notebook's kernel: sync code runs on the loop", ["EX-1.1", "EX-1.2"], "a closure, in thread", [];
    DrivenInPlace, "async code is taken to never block", ["EX-1.3"], "did not happen in time: a task runs beside work that blocks", [];
    ShortEverywhere, "what is declared short is trusted, in whichever model", ["EX-1.4"], "left == right", [];
    OverrunUnseen, "what is declared short is trusted, however long it takes", ["EX-1.4"], "did not happen in time: a closure that is not short is reported", [];
    LineOfEachKind, "a queue for sync and one for async code", ["EX-1.5"], "left == right", [];
    TurnEndsAtAwait, "a lock that an await gives back", ["EX-1.6"], "must not happen: one begins beside another", [];
    ReadersAlone, "a mutex in place of a lock for readers", ["EX-1.7"], "in time", [];
    ReadersOvertake, "readers that starve writers", ["EX-1.7"], "must not happen: a reader overtakes a writer", [];
    LineKeepsThreads, "threads that wait for a lock", ["EX-1.8"], "in time", [];
    GivenUpKeepsPlace, "a place that is granted to nobody", ["EX-1.9"], "in time", [];
    CancelledIsGone, "asked to end is taken for ended", ["EX-1.10"], "destructors before the turn", [];
    PanicPoisons, "std's Mutex: poisoned by a panic", ["EX-1.11"], "", [];
    InterruptsNobody, "KeyboardInterrupt in a thread", ["EX-1.12"], "in time", [];
}
