//! What travels into a child: [`Carried`].

use std::sync::Weak;

use fourway_core::{
    cancel::CancellationToken,
    implement::{Enclosing, enclose},
    values::Values,
};

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
    pub(crate) fn pack(&self, token: &CancellationToken, scope: &Weak<dyn Enclosing>) -> Carried {
        match self {
            // In this order, so that a child which spawns a sibling finds both in its values.
            Self::All => Carried::new(token.attach(enclose(Values::current(), scope))),
            Self::With(values) => Carried::new(values.clone()),
            Self::Nothing(values) => Carried {
                values: values.clone(),
                #[cfg(feature = "tracing")]
                span: tracing::Span::none(),
            },
        }
    }
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
