//! The bugs, each with what it is modelled on, and the cases that must catch it.
//!
//! `CAUGHT_BY` is not a wish: `main.rs` fails if one of these cases passes on the
//! broken runtime, or fails without one of the words.

use std::sync::OnceLock;

use fourway_conformance::Entry;

/// The one of this process.
static BUG: OnceLock<Bug> = OnceLock::new();

pub(crate) fn bug() -> Bug {
    *BUG.get().expect("chosen before the case begins")
}

/// What is known of a bug.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    /// What it is modelled on.
    pub(crate) model: &'static str,
    /// Cases that must catch it.
    pub(crate) caught_by: &'static [&'static str],
    /// What the first of them says, as far as it is always the same.
    pub(crate) words: &'static str,
    /// Of the unrelated cases, those that are not so unrelated after all.
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
            name: stringify!($bug),
            model: $model,
            caught_by: &[$($case),*],
            words: $words,
            also: &[$($also),*],
        }),*];

        /// A subject for each.
        pub(crate) fn variants(of: &Entry) -> Vec<Entry> {
            vec![$(of.variant(stringify!($bug), || {
                BUG.get_or_init(|| Bug::$bug);
            })),*]
        }
    };
}

bugs! {
    None, "no bug: the runtime without any must pass", [], "", [];
    PollsInlineAtSpawn, "an eager executor: `spawn` polls on the caller's thread", ["SP-2.1", "SP-2.2"], "a future was polled inline", [];
    LazySpawn, "futures' remote handles: nothing runs until the handle is polled", ["SP-1.1", "SP-1.2"], "a gate was not opened in time", [];
    SpawnAfterShutdownPanics, "futures' `ThreadPool` and others: spawning too late panics", ["SP-3.2", "SP-3.1"], "the runtime is shut down", [];
    SpawnAfterShutdownHangs, "a join that nobody will ever resolve", ["SP-3.1", "SP-3.3"], "did not happen in time: a refused task is finished", [];
    SpawnAfterShutdownLeaks, "the future is forgotten and not dropped", ["SP-3.1", "SP-3.5"], "left: (0, 0)", [];
    FirstJoinerWins, "a handle moved between executors wakes the first one for ever", ["JO-1.2"], "did not happen in time: the last joiner is woken", [];
    JoinBeforeDestroy, "tokio 7825: the join resolves while the future's destructor runs", ["JO-2.1", "JO-2.3"], "the join came before the destructor's end", [];
    JoinerWakerLeaks, "tokio 6986: the joiner's waker is kept after completion", ["JO-1.6"], "did not happen in time: the waker is released by a join, though the ha", [];
    PayloadLost, "async_executors on Tokio: the panic's payload is lost", ["JO-3.1", "JO-3.9"], "left: Some(\"the task panicked\")", [];
    PanicLooksCancelled, "a panic reported as a cancellation", ["JO-4.1", "JO-3.1"], "left: [true, false, false]", [];
    PanicKillsWorker, "futures' `ThreadPool`: a worker dies with the task's panic", ["JO-3.4", "JO-3.6"], "it hung for", [];
    PanicRethrownAtJoin, "async-task: the awaiter panics in place of the task", ["JO-3.1", "JO-3.4"], "a literal", [];
    HookRunsTwice, "a panic raised anew, so that it is reported twice", ["JO-3.7", "JO-3.1"], "the task panicked: late", [];
    CancelledLooksShutDown, "cancelled and shut down are one and the same", ["JO-4.1", "JO-4.2"], "left: [false, false, true]", [];
    ShutdownLooksCancelled, "Tokio: a task destroyed at shutdown counts as cancelled", ["JO-4.2", "JO-5.1"], "left: [true, false, false]", [];
    JoinHangsAfterShutdown, "async-executor 163: a pending join hangs when the executor goes", ["JO-5.1", "JO-5.2"], "a message that must come did not: timed out waiting on channel", [];
    DetachOnDrop, "Tokio, agnostic: dropping a handle detaches", ["CA-1.1", "CA-1.2"], "a future is destroyed", [];
    CancelLostWhenDropped, "tokio 3964: abort, then drop, and the task runs on", ["CA-1.1", "CA-1.7"], "did not happen in time: a future is destroyed", [];
    CancelDoesNotWait, "agnostic, risingwave 7663: aborted is not stopped", ["CA-3.1", "CA-3.8"], "must not happen: cancel is ready before the destructor has ended", [];
    CancelLosesOutput, "cancelling a finished task throws its output away", ["CA-3.2"], "JoinError::Cancelled", [];
    AbortIgnoredWhileRunning, "a cancellation during a poll is forgotten", ["CA-2.4", "CA-2.5", "CA-2.8"], "it hung for", [];
    PolledAfterCancel, "a task cancelled before its first poll is polled once more", ["CA-2.1"], "polled after it was cancelled", [];
    AbortHandleDiesOnDetach, "an abort handle that is no good once the task is detached", ["CA-3.5"], "did not happen in time: it knows of the end", [];
    DestructorPanicAborts, "async-task: a destructor that panics aborts the process", ["CA-4.1", "CA-4.3"], "its process ended by itself", [];
    DestructorPanicLost, "a destructor's panic is swallowed", ["CA-4.1"], "error.is_panic()", [];
    OutputDropPanicEscapes, "tokio 4412: an output whose destructor panics on handle drop", ["JO-3.10"], "fourway-marker", [];
    DestroyUnderLock, "destructors run under the task's lock", ["CA-4.10", "CA-3.10"], "it hung for", [];
    LostWakeDuringPoll, "a wake during a poll is lost", ["WA-1.3"], "a gate was not opened in time", ["SP-4.4", "SP-4.6", "CX-1.1"];
    NoCoalescing, "each wake is a poll", ["WA-1.2"], "must not happen: more polls than wakes", [];
    WakePollsInline, "waking polls on the waker's thread", ["WA-2.1"], "a future was polled inline", [];
    SpuriousPolls, "tasks are polled without having been woken", ["WA-1.4", "WA-1.1"], "must not happen: a task is polled that nobody woke", [];
    WakeAfterGonePanics, "a waker that outlives its runtime panics", ["WA-2.4", "WA-2.5"], "its process ended by itself", [];
    LostTaskKept, "a task that nobody can wake is kept for ever", ["WA-3.1"], "did not happen in time: tasks that nobody can wake are destroyed", [];
    NestedRuns, "smol: `block_on` inside a task runs, and blocks the executor", ["BL-2.1", "BL-2.2"], "left: [Ran, Ran]", [];
    NestedHangs, "agnostic on smol: `block_on` inside a task hangs", ["BL-2.1", "BL-2.2"], "it hung for", [];
    NestedPanics, "Tokio: `block_on` inside a task panics, also where an error was asked for", ["BL-2.1"], "from within a runtime", [];
    NestedPolls, "the future is polled before the refusal", ["BL-2.1", "BL-2.2", "BL-2.3", "BL-2.4"], "left == right", [];
    ContextCached, "SmartAsync: the first answer is kept for ever", ["BL-2.1", "BL-2.2"], "", [];
    RefusesInClosure, "`block_on` refused where blocking is allowed", ["BL-3.1", "CX-2.2"], "left: Refused", [];
    EatenToken, "pollster: trusts the park token, which the future may eat", ["BL-5.1"], "it hung for", [];
    OneBlockerAtATime, "a global lock around `block_on`", ["BL-4.1"], "did not happen in time: all threads end", [];
    NoMarkInBlockOn, "the root future of `block_on` does not count as async code", ["BL-2.2", "CX-1.4"], "left: [Ran, Ran]", [];
    BlockOnPanicSwallowed, "a panic in `block_on` never reaches the caller", ["BL-1.3"], "it hung for", [];
    NoMarkInTask, "tasks do not count as async code", ["BL-2.1", "CX-1.2"], "left: [Ran, Ran]", [];
    NoMarkInDrop, "a future's destructor does not count as async code", ["BL-2.4", "CX-1.6"], "left: Ran", [];
    MarkLeftAfterPanic, "tokio 5177: a panic leaves the thread marked", ["CX-1.8", "BL-1.4"], "left == right", [];
    BlockInPlaceStalls, "the other tasks wait while a task blocks in place", ["BL-6.2"], "did not happen in time: all are inside at a time", [];
    BlockInPlaceUnmarked, "`block_on` inside `block_in_place` is refused", ["BL-3.7", "CX-1.7"], "left: Refused", [];
    NestedOffloadStarves, "anyio, trio, asyncio, Tokio: nested offload with a limit of 1 hangs", ["OF-4.1", "OF-4.7"], "it hung for", [];
    RunsDroppedClosures, "Tokio: closures run although their handles are gone", ["OF-3.1"], "right: 1000", [];
    OffloadCancelIgnored, "a closure that has not started cannot be cancelled", ["OF-3.2"], "", [];
    OffloadPayloadLost, "the payload of a closure's panic is lost", ["OF-2.2"], "left: None", [];
    ThreadPerClosure, "tokio's and blocking's pools: a burst starts a thread each; no limit", ["OF-7.1", "OF-5.1"], "threads", ["OF-5.9"];
    OffloadOnWorker, "closures run on the threads that poll tasks", ["OF-1.1"], "share_any", ["OF-5.9"];
    OffloadInline, "closures run on the caller's thread", ["OF-1.5"], "assertion failed: !closure.is_finished()", ["OF-5.9"];
    NewestClosureFirst, "waiting closures run in the wrong order", ["OF-5.5"], "left == right", [];
    UnmarkedClosure, "a closure's thread does not say what it is", ["CX-1.3"], "left: Sync", [];
    LimitIgnored, "the limit on closures is not kept", ["OF-5.4"], "must not happen: it starts without a slot", [];
    QueueNeverFull, "`try_offload` never says that the queue is full", ["OF-5.6"], "full", [];
    TimerEarly, "timers fire a little early", ["TI-1.1"], " for 1", [];
    DueTimerPends, "a timer that is due is not ready at its first poll", ["TI-1.2"], "assertion failed: poll_once(&mut Box::pin(sleep), &waker).is_ready()", [];
    HugeDurationPanics, "tokio 4495: a huge duration overflows", ["TI-1.4"], "overflow when adding duration to instant", [];
    TimersCoarse, "tokio 3190: a shorter timer waits for a longer one", ["TI-4.1"], "it hung for", [];
    SleepWakerLeaks, "a dropped timer keeps its waker", ["TI-2.4"], "the waker is released", [];
    BusyIdle, "idle workers spin", ["FA-1.8", "FA-1.9"], "its threads are never idle", [];
    DropInAsyncPanics, "Tokio: dropping the last handle in async code panics", ["SH-2.2", "SH-2.3"], "cannot drop a runtime in a context where blocking is not allowed", [];
    DropWaits, "dropping the last handle joins the workers", ["SH-2.1"], "", [];
    NeverEnds, "blocking: threads that never end", ["SH-2.9"], "did not happen in time: the threads end", [];
    ShutdownLeavesFutures, "futures are not destroyed at shutdown", ["SH-1.2"], "left: (1, 0)", [];
    ShutdownInAsync, "`shutdown` waits on a thread that runs async code", ["SH-1.10"], "assertion failed: rt.block_on(async { refused(&rt) })", [];
    QueuedClosuresRunAtShutdown, "closures in the queue run after all", ["SH-1.8"], "closures_running: 1", [];
    ReportAlwaysClean, "the report says that everything has ended, whatever runs", ["SH-1.5", "SH-1.6"], "assertion failed: !report.is_clean()", [];
}
