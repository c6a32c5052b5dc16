//! The context that travels into a child: [`Carried`].

use std::{mem, sync::Arc};

use fourway_core::{
    Runtime,
    implement::{enclose, enclose_with},
    values::Values,
};

use crate::shared::Shared;

/// The context that travels into children.
#[derive(Clone)]
pub(crate) enum Travel {
    /// The values that are current where the child is spawned, the nursery's token, the span.
    All,
    /// The same, with these values.
    With(Values),
    /// Nothing visible: only the nursery that the child belongs to.
    Nothing(Values),
}

impl Travel {
    pub(crate) fn nothing<R: Runtime, E: Send + 'static>(shared: &Arc<Shared<R, E>>) -> Self {
        Self::Nothing(enclose(Values::default(), &shared.me()))
    }

    /// The context that travels from here and now.
    pub(crate) fn pack<R, E>(&self, shared: &Arc<Shared<R, E>>) -> Carried
    where
        R: Runtime,
        E: Send + 'static,
    {
        match self {
            Self::All => {
                let values = Values::current();
                // Most children have those of the body.
                Carried::new(if shared.are_of_body(&values) {
                    values
                } else {
                    within(values, shared)
                })
            }
            Self::With(values) => Carried::new(values.clone()),
            Self::Nothing(values) => Carried::nothing(values.clone()),
        }
    }
}

/// `values`, with the nursery as the enclosing scope, and with its token.
#[inline(never)]
fn within<R, E>(values: Values, shared: &Arc<Shared<R, E>>) -> Values
where
    R: Runtime,
    E: Send + 'static,
{
    enclose_with(values, &shared.me(), shared.token())
}

/// The context of a child.
pub(crate) struct Carried {
    values: Values,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Carried {
    /// These values, and the span that is current here.
    pub(crate) fn new(values: Values) -> Self {
        Self {
            values,
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    /// Only these values, which have none of the user's values, and no span.
    pub(crate) fn nothing(values: Values) -> Self {
        Self {
            values,
            #[cfg(feature = "tracing")]
            span: tracing::Span::none(),
        }
    }

    /// Takes all of it out.
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::nothing(Values::default()))
    }

    /// Calls `f` with all of it current.
    pub(crate) fn within<T>(&mut self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        self.values.scope_mut(f)
    }

    /// [`within`](Self::within) for the last time: the context is gone afterwards.
    pub(crate) fn scope<T>(self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.entered();
        self.values.scope(f)
    }
}
