//! The span of an attempt, with the feature `tracing`: [`Traits`].

use std::{borrow::Cow, sync::Arc};

use tracing::{Span, debug_span, level_filters::LevelFilter};

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

    /// The span of the attempt. If it is filtered out, the parent, so that no event loses its
    /// request.
    pub(crate) fn span(self) -> Option<Arc<Span>> {
        let span = debug_span!(
            target: "fourway",
            parent: self.parent.as_deref().and_then(Span::id),
            "job",
            job.id = %self.id,
            job.name = self.name.as_deref(),
            job.class = &*self.class,
            job.attempt = self.attempt,
        );
        if span.is_disabled() {
            return self.parent;
        }
        Some(Arc::new(span))
    }
}
