//! Plans of nurseries in nurseries, and running them. The simulation's tests run them, too.

use std::{
    future::pending,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn,
    cancel::{self, Cancelled},
    yield_now,
};
use fourway_nursery::{
    Failure, Nursery, NurseryError, NurseryHandle, SyncNursery, shield, shield_blocking,
};
use fourway_testing::{AGES, Counter, panic_quietly, poll_once, run};

// ---------------------------------------------------------------------------
// Plans

pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A nursery's actions, and its content.
#[derive(Debug)]
pub(crate) struct Plan {
    supervise: bool,
    limit: Option<usize>,
    grace: bool,
    deadline: bool,
    waits_for_starts: bool,
    /// Dropped after so many polls; only async ones.
    dropped_after: Option<u32>,
    children: Vec<Child>,
    body_yields: u32,
    body: End,
}

#[derive(Debug)]
struct Child {
    kind: Kind,
    yields: u32,
    shielded: bool,
    spawns_sibling: bool,
    end: End,
}

#[derive(Debug)]
enum Kind {
    Task,
    Closure,
    Call,
    /// In a task.
    Nested(Arc<Plan>),
    /// In a closure that blocks on it.
    Blocking(Arc<Plan>),
    /// In a closure.
    Sync(Arc<Plan>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Ok,
    Fail(u32),
    Panic(u32),
    /// A child: not before it is cancelled. A body: cancels its nursery.
    Cancel,
}

impl Plan {
    pub(crate) fn make(random: &mut Random, depth: u32) -> Self {
        let calm = random.one_in(2);
        let children: Vec<Child> = (0..random.below(6))
            .map(|_| Child::make(random, depth, calm))
            .collect();
        let for_ever = children.iter().any(|child| child.end == End::Cancel);
        let mut plan = Self {
            supervise: calm || random.one_in(3),
            limit: random.one_in(3).then(|| 1 + random.below(3) as usize),
            grace: random.one_in(3),
            deadline: !calm && random.one_in(8),
            waits_for_starts: !for_ever && random.one_in(3),
            dropped_after: (!calm && random.one_in(5)).then(|| random.below(5) as u32),
            children,
            body_yields: random.below(4) as u32,
            body: if calm { End::Ok } else { End::make(random) },
        };
        if for_ever && plan.body == End::Ok {
            plan.body = End::Cancel;
        }
        plan
    }

    /// The failures that this comes to, if they do not depend on the order of things.
    fn expected(&self) -> Option<Vec<String>> {
        let calm = self.supervise
            && !self.deadline
            && self.dropped_after.is_none()
            && self.body == End::Ok;
        if !calm {
            return None;
        }
        let mut failures = Vec::new();
        for child in &self.children {
            let nested = match &child.kind {
                Kind::Task | Kind::Closure | Kind::Call => None,
                Kind::Nested(plan) | Kind::Blocking(plan) | Kind::Sync(plan) => Some(plan),
            };
            if let Some(nested) = nested {
                if !nested.expected()?.is_empty() {
                    failures.push("nested".to_owned());
                    continue;
                }
            }
            match child.end {
                End::Ok => {}
                End::Fail(n) => failures.push(format!("error {n}")),
                End::Panic(_) => failures.push("panic".to_owned()),
                End::Cancel => return None,
            }
        }
        failures.sort();
        Some(failures)
    }
}

impl Child {
    fn make(random: &mut Random, depth: u32, calm: bool) -> Self {
        let nested = |random: &mut Random| Arc::new(Plan::make(random, depth + 1));
        let kind = match random.below(if depth < 3 { 9 } else { 5 }) {
            0..=1 => Kind::Task,
            2..=3 => Kind::Closure,
            4 => Kind::Call,
            5..=6 => Kind::Nested(nested(random)),
            7 => Kind::Blocking(nested(random)),
            _ => Kind::Sync(nested(random)),
        };
        let mut end = End::make(random);
        if calm && end == End::Cancel {
            end = End::Ok;
        }
        Self {
            kind,
            yields: random.below(4) as u32,
            shielded: random.one_in(4),
            spawns_sibling: random.one_in(4),
            end,
        }
    }
}

impl End {
    fn make(random: &mut Random) -> Self {
        match random.below(12) {
            0..=6 => Self::Ok,
            7..=8 => Self::Fail(random.below(3) as u32),
            9 => Self::Panic(random.below(3) as u32),
            _ => Self::Cancel,
        }
    }

    fn come(self) -> Result<(), Error> {
        match self {
            Self::Ok | Self::Cancel => Ok(()),
            Self::Fail(n) => Err(Error::Fail(format!("error {n}"))),
            Self::Panic(_) => panic_quietly("planned"),
        }
    }
}

// ---------------------------------------------------------------------------
// Running them

#[derive(Debug)]
enum Error {
    Fail(String),
    Cancelled,
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// The events in one nursery.
#[derive(Clone, Default)]
struct Watch {
    /// Does more go wrong than the plan says: are there tasks that others cancel, threads that
    /// do not start? Then failures are not what the plan determines.
    disturbed: bool,
    /// Children that are there, futures and closures alike: its own, and those of the nurseries
    /// that are in them.
    alive: Counter,
    around: Option<Arc<Watch>>,
    spawned: Counter,
    succeeded: Counter,
    body_failed: Counter,
    /// Children that panicked, and the body.
    panicked: Counter,
    /// The nurseries in its children that were dropped before they gave their verdict: their
    /// panics are failures of this one.
    unread: Arc<Mutex<Vec<Watch>>>,
}

/// A child that is there.
struct Alive(Watch);

impl Watch {
    /// The watch of a nursery in a child of that one.
    fn inside(around: Option<&Watch>) -> Self {
        Self {
            disturbed: around.is_some_and(|around| around.disturbed),
            around: around.map(|around| Arc::new(around.clone())),
            ..Self::default()
        }
    }

    fn child(&self) -> Alive {
        for watch in self.all() {
            watch.alive.add();
        }
        Alive(self.clone())
    }

    /// The end of one of its children, or of its body.
    fn come(&self, end: End) -> Result<(), Error> {
        if matches!(end, End::Panic(_)) {
            self.panicked.add();
        }
        end.come()
    }

    /// Panics that have come from inside of children.
    fn escaped(&self) -> usize {
        let unread = self.unread.lock().unwrap();
        unread
            .iter()
            .map(|inner| inner.panicked.get() + inner.escaped())
            .sum()
    }

    fn all(&self) -> impl Iterator<Item = &Watch> {
        std::iter::successors(Some(self), |watch| watch.around.as_deref())
    }
}

/// A nursery whose verdict has not been read yet.
struct Unread(Option<Watch>);

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(watch) = self.0.take() {
            if let Some(around) = watch.around.clone() {
                around.unread.lock().unwrap().push(watch);
            }
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        for watch in self.0.all() {
            watch.alive.sub();
        }
    }
}

/// Runs a plan, and checks all that must hold. `disturbed`: see [`Watch`].
pub(crate) fn run_root(rt: &AnyRuntime, plan: &Arc<Plan>, disturbed: bool) {
    let around = Watch {
        disturbed,
        ..Watch::default()
    };
    // Its failures were checked where they came together.
    let _ended = run(
        rt,
        run_async(rt.clone(), plan.clone(), Some(around.clone())),
    );
    assert_eq!(around.alive.get(), 0, "children are left at the end");
}

/// Runs a plan in a task, and checks its end.
fn run_async(
    rt: AnyRuntime,
    plan: Arc<Plan>,
    around: Option<Watch>,
) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    Box::pin(async move {
        let watch = Watch::inside(around.as_ref());
        let mut unread = Unread(Some(watch.clone()));
        let mut builder =
            Nursery::builder(&rt).cancellation(|error| matches!(error, Error::Cancelled));
        if plan.supervise {
            builder = builder.supervise();
        }
        if let Some(limit) = plan.limit {
            builder = builder.limit(limit);
        }
        if plan.grace {
            builder = builder.grace(Duration::from_millis(1));
        }
        if plan.deadline {
            builder = builder.timeout(Duration::from_micros(300));
        }
        let kept = Arc::new(Mutex::new(None));
        let result = {
            let mut running = pin!(builder.run(async |n| {
                *kept.lock().unwrap() = Some(n.handle());
                for at in 0..plan.children.len() {
                    let work = (plan.clone(), at, watch.clone(), n.handle());
                    watch.spawned.add();
                    let spawned = match plan.children[at].kind {
                        Kind::Task | Kind::Nested(_) => n.spawn(task(rt.clone(), work)),
                        Kind::Closure | Kind::Blocking(_) | Kind::Sync(_) => {
                            n.offload(closure(rt.clone(), work))
                        }
                        Kind::Call => {
                            use fourway_core::Runtime;
                            n.call(rt.call_blocking(closure(rt.clone(), work)))
                        }
                    };
                    if plan.waits_for_starts {
                        spawned.await;
                    }
                }
                for _ in 0..plan.body_yields {
                    yield_now().await;
                }
                match plan.body {
                    End::Cancel => n.cancel(),
                    End::Fail(_) | End::Panic(_) => {
                        watch.body_failed.add();
                    }
                    End::Ok => {}
                }
                watch.come(plan.body)
            }));
            let mut polls = plan.dropped_after;
            loop {
                match &mut polls {
                    None => break Some(running.await),
                    Some(0) => break None,
                    Some(left) => *left -= 1,
                }
                if let Poll::Ready(result) = poll_once(running.as_mut()).await {
                    break Some(result);
                }
                yield_now().await;
            }
        };
        let handle = kept.lock().unwrap().take();
        match result {
            Some(result) => {
                unread.0 = None;
                assert_eq!(watch.alive.get(), 0, "children are left");
                account(&plan, &watch, result)
            }
            None => {
                if let Some(handle) = handle {
                    // Also if the work around this is cancelled: it is the check of a test.
                    shield(handle.closed()).await;
                    assert!(handle.is_closed());
                }
                assert_eq!(
                    watch.alive.get(),
                    0,
                    "children are left of one that was dropped"
                );
                Ok(())
            }
        }
    })
}

type Work = (Arc<Plan>, usize, Watch, NurseryHandle<AnyRuntime, Error>);

fn task(rt: AnyRuntime, work: Work) -> impl Future<Output = Result<(), Error>> + Send + 'static {
    let (plan, at, watch, handle) = work;
    let alive = watch.child();
    async move {
        let _alive = alive;
        let child = &plan.children[at];
        let work = async {
            for _ in 0..child.yields {
                yield_now().await;
            }
            if let Kind::Nested(nested) = &child.kind {
                run_async(rt.clone(), nested.clone(), Some(watch.clone())).await?;
            }
            Ok::<_, Error>(())
        };
        if child.shielded {
            shield(work).await?;
        } else {
            work.await?;
        }
        if child.spawns_sibling {
            sibling(&watch, &handle);
        }
        if child.end == End::Cancel {
            return pending().await;
        }
        watch.come(child.end)?;
        watch.succeeded.add();
        Ok(())
    }
}

fn closure(rt: AnyRuntime, work: Work) -> impl FnOnce() -> Result<(), Error> + Send + 'static {
    let (plan, at, watch, handle) = work;
    let alive = watch.child();
    move || {
        let _alive = alive;
        let child = &plan.children[at];
        let work = || match &child.kind {
            Kind::Blocking(nested) => {
                rt.block_on(run_async(rt.clone(), nested.clone(), Some(watch.clone())))
            }
            Kind::Sync(nested) => run_sync(&rt, nested, &watch),
            _ => Ok(()),
        };
        if child.shielded {
            shield_blocking(work)?;
        } else {
            work()?;
        }
        if child.spawns_sibling {
            sibling(&watch, &handle);
        }
        if child.end == End::Cancel {
            cancel::sleep(AGES)?;
        }
        watch.come(child.end)?;
        watch.succeeded.add();
        Ok(())
    }
}

/// Spawns into the nursery that the caller is a child of, if it takes any.
fn sibling(watch: &Watch, handle: &NurseryHandle<AnyRuntime, Error>) {
    let (alive, succeeded) = (watch.child(), watch.succeeded.clone());
    let spawned = handle.spawn(async move {
        let _alive = alive;
        yield_now().await;
        succeeded.add();
        Ok(())
    });
    match spawned {
        Ok(_) => {
            watch.spawned.add();
        }
        Err(refused) => {
            assert!(refused.is_cancelled(), "its child runs, so it is open");
        }
    }
}

/// Runs on threads those parts of a plan that sync nurseries have.
fn run_sync(rt: &AnyRuntime, plan: &Arc<Plan>, around: &Watch) -> Result<(), Error> {
    let watch = Watch::inside(Some(around));
    let mut builder =
        SyncNursery::builder(rt).cancellation(|error| matches!(error, Error::Cancelled));
    if plan.supervise {
        builder = builder.supervise();
    }
    // More threads at once are of no use here.
    builder = builder.limit(plan.limit.unwrap_or(4));
    if plan.deadline {
        builder = builder.timeout(Duration::from_micros(300));
    }
    let result = builder.run(|n| {
        for child in &plan.children {
            watch.spawned.add();
            let (alive, watch) = (watch.child(), &watch);
            n.spawn(move || {
                let _alive = alive;
                match &child.kind {
                    Kind::Sync(nested) => run_sync(rt, nested, watch)?,
                    Kind::Nested(nested) | Kind::Blocking(nested) => {
                        rt.block_on(run_async(rt.clone(), nested.clone(), Some(watch.clone())))?;
                    }
                    Kind::Task | Kind::Closure | Kind::Call => {}
                }
                if child.end == End::Cancel {
                    cancel::sleep(AGES)?;
                }
                watch.come(child.end)?;
                watch.succeeded.add();
                Ok(())
            });
        }
        match plan.body {
            End::Cancel => n.cancel(),
            End::Fail(_) | End::Panic(_) => {
                watch.body_failed.add();
            }
            End::Ok => {}
        }
        watch.come(plan.body)
    });
    assert_eq!(watch.alive.get(), 0, "children are left of a sync nursery");
    account(plan, &watch, result)
}

/// Checks a nursery's report on its children, and makes it the result of the one around it.
fn account(
    plan: &Plan,
    watch: &Watch,
    result: Result<(), NurseryError<Error>>,
) -> Result<(), Error> {
    let (spawned, succeeded) = (watch.spawned.get(), watch.succeeded.get());
    let mut failures = Vec::new();
    let outcome = match result {
        Ok(()) => {
            assert!(succeeded <= spawned);
            assert_eq!(watch.escaped(), 0, "panics are lost");
            Ok(())
        }
        Err(error) => {
            let others = watch.body_failed.get() + watch.escaped();
            let of_children = error.failures().len() - others;
            let known = succeeded + of_children + error.cancelled();
            // A closure whose task other code has cancelled counts as both.
            assert!(
                known == spawned || watch.disturbed && known > spawned,
                "children are not accounted for: {known} of {spawned}: {error:?}"
            );
            failures.extend(error.failures().iter().map(|failure| match failure {
                Failure::Error(Error::Fail(name)) => name.clone(),
                Failure::Error(Error::Cancelled) => "cancelled".to_owned(),
                Failure::Join(_) => "panic".to_owned(),
            }));
            failures.sort();
            if error.failures().is_empty() {
                Err(Error::Cancelled)
            } else {
                Err(Error::Fail("nested".to_owned()))
            }
        }
    };
    if let Some(expected) = plan.expected().filter(|_| !watch.disturbed) {
        // If the work around it was not cancelled, which shows in what it has counted.
        if succeeded + failures.len() == spawned {
            assert_eq!(
                failures, expected,
                "the outcome is not the one that is determined"
            );
        }
    }
    outcome
}
