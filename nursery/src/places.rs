//! Waiting for a place of a nursery's limit: [`Spawned`], [`Reserve`], [`Place`].

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use fourway_core::{Call, Runtime};

use crate::{
    SpawnError,
    called::Called,
    carried::Travel,
    child::{Closure, NoSink, Task, Work},
    error::Refusal,
    label::Label,
    shared::{Number, Shared},
};

/// A child that was spawned. Awaiting this waits until it has been started, that is, has a
/// place of the nursery's limit, or was cancelled before; in a nursery without a limit that is
/// at once.
///
/// # Cancel safety
///
/// Dropping it has no effect: the child belongs to the nursery, and stays in line.
pub struct Spawned<R: Runtime, E> {
    // Its number in line; `None` once it has been started.
    waits: Option<(Arc<Shared<R, E>>, Number)>,
}

impl<R: Runtime, E> Spawned<R, E> {
    pub(crate) fn new(shared: &Arc<Shared<R, E>>, number: Option<Number>) -> Self {
        Self {
            waits: number.map(|number| (shared.clone(), number)),
        }
    }
}

impl<R: Runtime, E: Send + 'static> Future for Spawned<R, E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((shared, number)) = &self.waits {
            ready!(shared.poll_started(*number, cx));
            self.waits = None;
        }
        Poll::Ready(())
    }
}

impl<R: Runtime, E> fmt::Debug for Spawned<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned")
            .field("in_line", &self.waits.is_some())
            .finish_non_exhaustive()
    }
}

/// Waits for a place. Made by [`Nursery::reserve`](crate::Nursery::reserve).
///
/// It stands in line from its first poll on.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// # Cancel safety
///
/// If it is dropped, it leaves the line, and a place that it was granted goes to the next ([limits,
/// and places in line](fourway_core::contract#NU-5)).
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Reserve<R: Runtime, E: Send + 'static> {
    shared: Arc<Shared<R, E>>,
    travel: Travel,
    label: Label,
    state: Reserving,
}

enum Reserving {
    New,
    InLine(Number),
    Done,
}

impl<R: Runtime, E: Send + 'static> Reserve<R, E> {
    pub(crate) fn new(shared: Arc<Shared<R, E>>, travel: Travel, label: Label) -> Self {
        Self {
            shared,
            travel,
            label,
            state: Reserving::New,
        }
    }
}

impl<R: Runtime, E: Send + 'static> Future for Reserve<R, E> {
    type Output = Result<Place<R, E>, SpawnError<()>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let error = |refusal: Refusal| SpawnError { refusal, work: () };
        let number = match self.state {
            Reserving::New => match self.shared.line_up() {
                Ok(number) => {
                    self.state = Reserving::InLine(number);
                    number
                }
                Err(refusal) => {
                    self.state = Reserving::Done;
                    return Poll::Ready(Err(error(refusal)));
                }
            },
            Reserving::InLine(number) => number,
            Reserving::Done => panic!("`Reserve` polled after it was ready"),
        };
        let result = ready!(self.shared.poll_place(number, cx));
        self.state = Reserving::Done;
        Poll::Ready(match result {
            Ok(()) => Ok(Place {
                shared: Some(self.shared.clone()),
                travel: self.travel.clone(),
                label: self.label.clone(),
            }),
            Err(refusal) => Err(error(refusal)),
        })
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Reserve<R, E> {
    fn drop(&mut self) {
        if let Reserving::InLine(number) = self.state {
            self.shared.leave_line(number);
        }
    }
}

impl<R: Runtime, E: Send + 'static> fmt::Debug for Reserve<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

/// A place of a nursery's limit, for one child. Dropped unused, it goes to the next in line.
#[must_use = "the place goes to the next in line if this is dropped"]
pub struct Place<R: Runtime, E: Send + 'static> {
    // `None` once a child has it.
    shared: Option<Arc<Shared<R, E>>>,
    travel: Travel,
    label: Label,
}

impl<R: Runtime, E: Send + 'static> Place<R, E> {
    /// Starts `future` as a child, at once.
    ///
    /// # Errors
    ///
    /// Gives `future` back, unpolled, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn spawn<F, T>(self, future: F) -> Result<(), SpawnError<F>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.start(Task(future))
            .map_err(|refused| refused.map(|work| work.0))
    }

    /// Starts a closure that may block as a child, at once.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn offload<F, T>(self, closure: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        self.start(Closure(closure))
            .map_err(|refused| refused.map(|work| work.0))
    }

    /// Starts a [`Call`] as a child, at once, where its body belongs.
    ///
    /// # Errors
    ///
    /// Gives `call` back, unused, if the nursery is closed or being cancelled.
    #[track_caller]
    pub fn call<C, T>(self, call: C) -> Result<(), SpawnError<C>>
    where
        C: Call + IntoFuture<Output = Result<T, E>>,
        T: Send + 'static,
    {
        self.start(Called(call))
            .map_err(|refused| refused.map(|work| work.0))
    }

    #[track_caller]
    fn start<T, W>(mut self, work: W) -> Result<(), SpawnError<W>>
    where
        W: Work<R, T, E>,
        T: Send + 'static,
    {
        let Some(shared) = self.shared.take() else {
            unreachable!("taken here and by `drop` alone");
        };
        if let Err(refusal) = shared.admit_to_place() {
            self.shared = Some(shared);
            return Err(SpawnError { refusal, work });
        }
        let carried = self.travel.pack(&shared);
        work.start(self.label.caller(), carried, NoSink, &shared);
        Ok(())
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Place<R, E> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.give_place_back();
        }
    }
}

impl<R: Runtime, E: Send + 'static> fmt::Debug for Place<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}
