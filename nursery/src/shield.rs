//! Sections that finish first: [`shield`].

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use fourway_core::{
    cancel::CancellationToken,
    values::{Values, WithValues},
};
use pin_project_lite::pin_project;

use crate::sync::thread_local;

/// Runs `future` to its end even if the nursery that the calling child or body belongs to is
/// cancelled meanwhile; the cancellation takes effect afterwards, at the next await.
///
/// Inside, the current token is a separate one that is never cancelled. So nurseries in a shield,
/// blocking code under it and their children are not cancelled either, at any depth. From the
/// first poll on it holds against failures of siblings, tokens, deadlines, and the end of the
/// grace period. It does not hold against the end of its own future: if the nursery's future is
/// dropped, or its runtime shut down, the future inside is dropped too. A shield defers a
/// cancellation, and cannot survive its own destruction.
///
/// Poll it in the child or body in which it was first polled, which is the one that it shields; if
/// it is forgotten (`mem::forget`), to the end of that child or body. Outside of a nursery it only
/// sets the current token. Sync code has [`shield_blocking`].
///
/// # Cancel safety
///
/// Dropping it drops the future inside.
///
/// # Examples
///
/// ```
/// # use fourway_nursery::{nursery, shield};
/// # async fn commit() {}
/// # async fn example(rt: &fourway_core::AnyRuntime) -> Result<(), fourway_nursery::NurseryError<std::io::Error>> {
/// nursery(rt, async |n| {
///     n.spawn(async {
///         shield(commit()).await; // all of it or nothing
///         Ok(())
///     });
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub fn shield<F: Future>(future: F) -> Shield<F> {
    Shield {
        future: detached().scope_future(future),
        counted: None,
    }
}

/// Calls `f` with a current token that is never cancelled: the [`shield`] of sync code, which is
/// never dropped half-way anyhow.
pub fn shield_blocking<T>(f: impl FnOnce() -> T) -> T {
    detached().scope(f)
}

fn detached() -> Values {
    CancellationToken::new().attach(Values::current())
}

pin_project! {
    /// A future that finishes first. Made by [`shield`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future inside.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct Shield<F> {
        #[pin]
        future: WithValues<F>,
        // From the first poll to the end.
        counted: Option<Counted>,
    }
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.counted.is_none() {
            *this.counted = Counted::here();
        }
        let poll = this.future.poll(cx);
        if poll.is_ready() {
            *this.counted = None;
        }
        poll
    }
}

impl<F> fmt::Debug for Shield<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield")
            .field("holds", &self.counted.is_some())
            .finish_non_exhaustive()
    }
}

/// How many shields a child or a body is in: counted from its first shield on. While it is
/// polled, the count is with the thread.
#[derive(Debug, Default)]
pub(crate) struct Shields(Option<Count>);

type Count = Arc<AtomicUsize>;

/// The shields of the child or body that the thread polls.
struct Here {
    polls: bool,
    shields: Shields,
}

thread_local! {
    static HERE: RefCell<Here> = const {
        RefCell::new(Here { polls: false, shields: Shields(None) })
    };
}

impl Shields {
    #[inline]
    pub(crate) fn any(&self) -> bool {
        // Relaxed: shields change it only in polls of the same future.
        let count = self.0.as_ref();
        count.is_some_and(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Calls `f`, which polls the child that these belong to.
    pub(crate) fn around<T>(&mut self, f: impl FnOnce() -> T) -> T {
        // Fails while the thread's locals are being destroyed.
        let polled = self.exchange(true);
        let _frame = Frame {
            lent: polled.is_some().then_some(self),
            polled: polled.unwrap_or(false),
        };
        f()
    }

    /// Exchanges these with the thread's. Returns whether that polled a child, unless the thread's
    /// locals are being destroyed: then it does nothing.
    fn exchange(&mut self, polls: bool) -> Option<bool> {
        let exchange = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            mem::swap(self, &mut here.shields);
            mem::replace(&mut here.polls, polls)
        });
        exchange.ok()
    }
}

/// Is the child that is being polled in a shield?
pub(crate) fn is_shielded() -> bool {
    HERE.try_with(|here| here.borrow().shields.any())
        .unwrap_or(false)
}

/// Puts back the earlier value, also when unwinding.
struct Frame<'a> {
    lent: Option<&'a mut Shields>,
    /// The thread polled a child before.
    polled: bool,
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if let Some(shields) = &mut self.lent {
            shields.exchange(self.polled);
        }
    }
}

/// One shield, counted until this is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn here() -> Option<Self> {
        let count = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let polls = here.polls;
            polls.then(|| here.shields.0.get_or_insert_default().clone())
        });
        let count = count.ok()??;
        count.fetch_add(1, Ordering::Relaxed);
        Some(Self(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
