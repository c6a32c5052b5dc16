//! The span of an attempt, with the feature `tracing`: [`Traits`], [`Entry`].

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fourway_core::implement::discard;
use tracing::{
    Id, Span, debug_span, dispatcher::with_default, level_filters::LevelFilter, span::Entered,
};

use crate::JobId;

/// The span that was current where a job was submitted, if there was one. In an `Arc`, as a clone of
/// a span calls the subscriber, which must not happen under a lock.
pub(crate) type Parent = Option<Arc<Span>>;

/// The span that is current here.
pub(crate) fn parent() -> Parent {
    let span = Span::current();
    (!span.is_none()).then(|| Arc::new(span))
}

/// What the span of an attempt tells.
pub(crate) struct Traits {
    pub(crate) id: JobId,
    pub(crate) attempt: u32,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) class: Arc<str>,
    pub(crate) parent: Parent,
}

impl Traits {
    /// May an attempt have a span? Calls no subscriber.
    pub(crate) fn are_wanted(parent: &Parent) -> bool {
        parent.is_some() || LevelFilter::current() >= LevelFilter::DEBUG
    }

    /// The span of the attempt. If it is filtered out or the subscriber panics, the parent, so that
    /// no event loses its request.
    pub(crate) fn span(self) -> Option<Arc<Span>> {
        match guarded(|| self.make()) {
            Some(span) if !span.is_disabled() => {
                discard(self.parent);
                Some(Arc::new(span))
            }
            _ => self.parent,
        }
    }

    /// The parent's id means something to the parent's subscriber only, and the worker's thread may
    /// have another.
    fn make(&self) -> Span {
        let beneath = self.parent.as_deref().and_then(|parent| {
            parent.with_subscriber(|(id, subscriber)| {
                with_default(subscriber, || self.make_beneath(Some(id)))
            })
        });
        beneath.unwrap_or_else(|| self.make_beneath(None))
    }

    fn make_beneath(&self, parent: Option<&Id>) -> Span {
        debug_span!(
            target: "fourway",
            parent: parent.cloned(),
            "job",
            job.id = %self.id,
            job.name = self.name.as_deref(),
            job.class = &*self.class,
            job.attempt = self.attempt,
        )
    }
}

/// A span is entered until this is dropped. If the subscriber panics, the span is not entered.
pub(crate) struct Entry<'a>(Option<Entered<'a>>);

impl<'a> Entry<'a> {
    pub(crate) fn new(span: &'a Span) -> Self {
        Self(guarded(|| span.enter()))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        guarded(|| self.0 = None);
    }
}

/// Calls the subscriber, which is foreign code. Its panic was shown where it happened, and is not
/// the job's: the job runs on.
fn guarded<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard).ok()
}
