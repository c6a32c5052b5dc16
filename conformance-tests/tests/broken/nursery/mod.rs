//! Small nurseries with a place for each bug: [`SMALL`].
//!
//! Without a bug they keep the rules NU; that is checked too. Like the small runtime, they are
//! written to be read and broken: one lock, one list of wakers for every change, everything
//! boxed.

mod child;
mod host;
mod shared;
mod start;
mod sync;

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, atomic::Ordering},
    task::Poll,
};

use fourway_conformance::nursery::{
    Body, BoxFuture, NotReady, Nurseries, Nursery, Place, Refusal, Refused, Settings, StartBody,
    SyncBody, Trouble, Value, Work,
};
use fourway_core::{
    AnyRuntime,
    cancel::{CancellationToken, Reason},
    values::Values,
};

use crate::bugs::{self, Bug};

use self::{
    child::{Report, SHIELDS, Unstarted},
    host::Host,
    shared::Shared,
};

pub(crate) static SMALL: Small = Small;

#[derive(Debug)]
pub(crate) struct Small;

impl Nurseries for Small {
    fn run(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: Body,
    ) -> BoxFuture<Result<Value, Trouble>> {
        let host = Host::new(runtime.clone(), settings, body);
        Box::pin(host)
    }

    fn first_success(
        &self,
        runtime: &AnyRuntime,
        mut settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Value, Trouble>> {
        // A failure is not the end.
        settings.supervise = true;
        let none = children.is_empty();
        let first = Arc::new(Mutex::new(None));
        let slot = first.clone();
        let host = Host::with(runtime.clone(), settings, move |shared| {
            for child in children {
                let _ = shared.spawn(child, Report::First(slot.clone()), true);
            }
        });
        Box::pin(async move {
            let result = host.await;
            if let Some(value) = shared::lock(&first).take() {
                return Ok(value);
            }
            Err(match result {
                Err(trouble) => trouble,
                Ok(_) => Trouble {
                    kind: host::without_value(none),
                    failures: Vec::new(),
                    cancelled: 0,
                },
            })
        })
    }

    fn collect(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        children: Vec<Work>,
    ) -> BoxFuture<Result<Vec<Value>, Trouble>> {
        let values = Arc::new(Mutex::new(Vec::new()));
        let slots = values.clone();
        let host = Host::with(runtime.clone(), settings, move |shared| {
            let in_order = shared.bug != Bug::OrderOfEnd;
            if in_order {
                shared::lock(&slots).resize_with(children.len(), || None);
            }
            for (at, child) in children.into_iter().enumerate() {
                let at = in_order.then_some(at);
                let _ = shared.spawn(child, Report::Collect(slots.clone(), at), true);
            }
        });
        Box::pin(async move {
            host.await?;
            let values = std::mem::take(&mut *shared::lock(&values));
            Ok(values.into_iter().flatten().collect())
        })
    }

    fn shield(&self, section: BoxFuture<()>) -> BoxFuture<()> {
        let bug = bugs::bug();
        if bug == Bug::ShieldIgnored {
            return section;
        }
        Box::pin(async move {
            let counted = SHIELDS.with_borrow(Clone::clone);
            counted.fetch_add(1, Ordering::SeqCst);
            let _inside = Inside(counted, bug);
            if bug == Bug::ShieldShallow {
                return section.await;
            }
            // No work in it is asked to end.
            let values = CancellationToken::new().attach(Values::current());
            values.scope_future(section).await;
        })
    }

    fn run_sync<'env>(
        &self,
        runtime: &AnyRuntime,
        settings: Settings,
        body: SyncBody<'env>,
    ) -> Result<u32, Trouble> {
        sync::run(runtime, settings, body)
    }
}

/// A shield, until its section is destroyed.
struct Inside(child::Shields, Bug);

impl Drop for Inside {
    fn drop(&mut self) {
        if self.1 != Bug::ShieldPardons {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The nursery as bodies and children see it.
struct Handle(Arc<Shared>);

impl Nursery for Handle {
    fn spawn(&self, work: Work) -> Result<BoxFuture<()>, Refused> {
        let number = self.0.spawn(work, Report::None, true)?;
        let shared = self.0.clone();
        Ok(Box::pin(poll_fn(move |cx| {
            shared.poll(cx, |state| {
                let waits = number.is_some_and(|number| state.is_in_line(number));
                (!waits).then_some(())
            })
        })))
    }

    fn try_spawn(&self, work: Work) -> Result<(), Refused> {
        let queues = self.0.bug == Bug::TrySpawnQueues;
        self.0.spawn(work, Report::None, queues).map(drop)
    }

    fn reserve(&self) -> BoxFuture<Option<Place>> {
        Box::pin(Reserve {
            shared: self.0.clone(),
            number: None,
            done: false,
        })
    }

    fn start(&self, body: StartBody) -> BoxFuture<Result<u32, NotReady>> {
        start::start(self.0.clone(), body)
    }

    fn cancel(&self) {
        self.0.cancel(&Reason::NotNeeded);
    }

    fn set_limit(&self, limit: usize) {
        self.0.set_limit(limit);
    }

    fn token(&self) -> CancellationToken {
        self.0.soft.clone()
    }

    fn is_closed(&self) -> bool {
        let told_early = self.0.bug == Bug::ClosedTooEarly && self.0.soft.is_cancelled();
        told_early || shared::lock(&self.0.state).live == 0
    }

    fn closed(&self) -> BoxFuture<()> {
        let shared = self.0.clone();
        Box::pin(poll_fn(move |cx| {
            let bug = shared.bug;
            if bug == Bug::ClosedTooEarly && shared.soft.is_cancelled() {
                return Poll::Ready(());
            }
            let dropped = shared.kill.is_cancelled();
            shared.poll(cx, |state| {
                let told = bug != Bug::ClosedOnlyByDrop || dropped;
                (state.live == 0 && told).then_some(())
            })
        }))
    }
}

/// Waits for a place, from its first poll on.
struct Reserve {
    shared: Arc<Shared>,
    number: Option<u64>,
    done: bool,
}

impl Future for Reserve {
    type Output = Option<Place>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Place>> {
        let number = match self.number {
            Some(number) => number,
            None => {
                let Some(number) = self.shared.line_up() else {
                    self.done = true;
                    return Poll::Ready(None);
                };
                self.number = Some(number);
                number
            }
        };
        let polled = self.shared.poll(cx, |state| {
            if state.take_grant(number) {
                return Some(true);
            }
            (!state.is_in_line(number)).then_some(false)
        });
        let Poll::Ready(granted) = polled else {
            return Poll::Pending;
        };
        self.done = true;
        if !granted {
            return Poll::Ready(None);
        }
        let place = Taken(Some(self.shared.clone()));
        let take = move |work| place.start(work);
        Poll::Ready(Some(Box::new(take) as Place))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let (Some(number), false) = (self.number, self.done) {
            self.shared.leave_line(number);
        }
    }
}

/// A place that no child has.
struct Taken(Option<Arc<Shared>>);

impl Taken {
    fn start(mut self, work: Work) -> Result<(), Refused> {
        let Some(shared) = &self.0 else {
            unreachable!("taken below and by `drop` alone")
        };
        {
            let mut state = shared::lock(&shared.state);
            if let Some(why) = shared.refusal(&state) {
                drop(state);
                return Err(Refused { why, work });
            }
            state.live += 1;
        }
        let shared = self.0.take().expect("looked at above");
        Unstarted::new(work, Report::None, &shared).start();
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.give_place_back();
        }
    }
}

fn refused(why: Refusal, work: Work) -> Refused {
    Refused { why, work }
}
