//! What travels into a child: [`Carried`].

use std::sync::Weak;

use fourway_core::{
    Runtime,
    implement::{Enclosing, enclose},
    values::Values,
};

use crate::shared::Shared;

/// What is to travel into children.
#[derive(Clone)]
pub(crate) enum Travel {
    /// The values that are current where the child is spawned, the nursery's token, the span.
    All,
    /// The same, with these values.
    With(Values),
    /// Nothing but what nobody sees: to which nursery the child belongs.
    Nothing(Values),
}

impl Travel {
    pub(crate) fn nothing(scope: &Weak<dyn Enclosing>) -> Self {
        Self::Nothing(enclose(Values::default(), scope))
    }

    /// What travels from here and now.
    pub(crate) fn pack<R: Runtime, E>(&self, shared: &Shared<R, E>) -> Carried {
        match self {
            Self::All => Carried::new(within(Values::current(), shared)),
            Self::With(values) => Carried::new(values.clone()),
            Self::Nothing(values) => Carried {
                values: values.clone(),
                #[cfg(feature = "tracing")]
                span: tracing::Span::none(),
            },
        }
    }
}

/// `values`, with the nursery as what encloses, and with its token.
fn within<R: Runtime, E>(values: Values, shared: &Shared<R, E>) -> Values {
    // The body's own, as for most children: there is nothing to look for.
    if values.is_same(&shared.values) {
        return values;
    }
    // In this order, so that a child which spawns a sibling finds both in its values.
    shared.soft.attach(enclose(values, &shared.me))
}

/// What is current in a child.
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

    /// Calls `f` with all of it current.
    pub(crate) fn within<T>(&mut self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        self.values.scope_mut(f)
    }

    /// The same for the last time: it is gone afterwards.
    pub(crate) fn scope<T>(self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.entered();
        self.values.scope(f)
    }
}
