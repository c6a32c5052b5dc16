//! Names of children: [`Label`].

use std::borrow::Cow;

use fourway_core::task::Metadata;

/// The name of the children that are spawned from here, if they have one.
#[derive(Clone, Default)]
pub(crate) struct Label(Option<Cow<'static, str>>);

impl Label {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(Some(name.into()))
    }

    /// The metadata of a child that is spawned at the caller's line.
    #[inline]
    #[track_caller]
    pub(crate) fn caller(&self) -> Metadata {
        let metadata = Metadata::caller();
        match &self.0 {
            None => metadata,
            Some(name) => metadata.named(name.clone()),
        }
    }
}
