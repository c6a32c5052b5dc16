//! A future whose output stays where the future was: [`Whole`].
//!
//! A spawned future is moved into a box, without its type. When it is ready, its output takes
//! its place there, and the box itself is the output of the task that the runtime knows. So
//! the task and its handle are the runtime's own: nothing of the contract has to be kept a
//! second time, and the output needs no box besides.

use std::{
    any::Any,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

/// A future, or its output.
pub(crate) type Whole = Pin<Box<dyn Body>>;

pub(super) fn whole<F>(future: F) -> Whole
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    Box::pin(State::Future { future })
}

/// [`State`] without its type.
pub(crate) trait Body: Send {
    /// Runs the future. When it is ready, it has been destroyed.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Moves the output, if it is there, to `to`, which is an `Option` of it.
    fn give(self: Pin<&mut Self>, to: &mut dyn Any);
}

pin_project! {
    #[project = Projected]
    #[project_replace = Replaced]
    enum State<F: Future> {
        Future { #[pin] future: F },
        Output { output: F::Output },
        Given,
    }
}

impl<F> Body for State<F>
where
    F: Future<Output: Send + 'static> + Send,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Projected::Future { future } = self.as_mut().project() else {
            // Not polled by a runtime that keeps the contract of futures.
            return Poll::Ready(());
        };
        future.poll(cx).map(|output| {
            // The future is destroyed here, in its task. If its destructor panics, the
            // runtime has the panic as that of the task, and the output goes with the box.
            self.project_replace(State::Output { output });
        })
    }

    fn give(self: Pin<&mut Self>, to: &mut dyn Any) {
        if let Replaced::Output { output } = self.project_replace(State::Given) {
            if let Some(to) = to.downcast_mut::<Option<F::Output>>() {
                *to = Some(output);
            }
        }
    }
}

/// What the runtime runs.
pub(super) struct Spawned {
    whole: Option<Whole>,
}

impl Spawned {
    pub(super) fn new(whole: Whole) -> Self {
        Self { whole: Some(whole) }
    }
}

impl Future for Spawned {
    type Output = Whole;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Whole> {
        let whole = self.whole.as_mut().expect("polled before it was ready");
        match whole.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(mem::take(&mut self.whole).expect("as above")),
            Poll::Pending => Poll::Pending,
        }
    }
}
