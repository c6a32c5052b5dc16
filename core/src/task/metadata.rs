//! The data of a task that layers and handles see: [`Metadata`].

use alloc::{borrow::Cow, sync::Arc};
use core::{
    fmt,
    num::NonZeroU64,
    panic::Location,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Where a task or an offloaded closure was started, its name, and its number.
///
/// Every way to start work makes one: [`Spawner::spawn`](crate::Spawner::spawn) and its like
/// at their caller's line, without a name or a number. Layers see it, in
/// [`spawn_with`](crate::Spawner::spawn_with) and its like; a handle keeps it, and puts it into
/// the [`JoinError`](crate::JoinError) if the work fails.
///
/// It takes two words. A name or a number costs an allocation and an increment of a process-wide
/// counter; metadata without them costs neither.
///
/// # Examples
///
/// ```
/// use fourway_core::{BlockOn, Runtime, Spawner, task::Metadata};
///
/// fn example(rt: impl Runtime) {
///     let task = rt.spawn_with(Metadata::caller().named("indexer"), async {
///         panic!("no disk");
///     });
///     let error = rt.block_on(task).unwrap_err();
///     assert_eq!(error.name(), Some("indexer"));
///     // the task `indexer` (#1, src/main.rs:4:35) panicked: no disk
///     println!("{error}");
/// }
/// ```
#[derive(Clone)]
pub struct Metadata {
    location: &'static Location<'static>,
    details: Option<Arc<Details>>,
}

struct Details {
    id: Id,
    name: Option<Cow<'static, str>>,
}

impl Metadata {
    /// Of work that is started at the caller's line.
    #[inline]
    #[must_use]
    #[track_caller]
    pub fn caller() -> Self {
        Self {
            location: Location::caller(),
            details: None,
        }
    }

    /// Gives the work a name, and a number if it has none.
    #[must_use]
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            details: Some(Arc::new(Details {
                id: self.id().unwrap_or_else(Id::next),
                name: Some(name.into()),
            })),
            ..self
        }
    }

    /// Gives the work a number if it has none: for layers that keep a list.
    #[must_use]
    pub fn numbered(self) -> Self {
        match self.details {
            Some(_) => self,
            None => Self {
                details: Some(Arc::new(Details {
                    id: Id::next(),
                    name: None,
                })),
                ..self
            },
        }
    }

    /// The line at which the work was started.
    #[inline]
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The number, if one was asked for.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        Some(self.details.as_ref()?.id)
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.details.as_ref()?.name.as_deref()
    }
}

/// As the subject of a sentence about a task: `` the task `indexer` (#1, src/main.rs:4:35) ``.
impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ")?;
        if let Some(name) = self.name() {
            write!(f, "`{name}` ")?;
        }
        f.write_str("(")?;
        if let Some(id) = self.id() {
            write!(f, "{id}, ")?;
        }
        write!(f, "{})", self.location)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("location", &format_args!("{}", self.location))
            .finish()
    }
}

/// The number of a task: no two of a process have the same one.
///
/// Given in the order in which numbers are asked for, from 1; so it says nothing about tasks
/// that have none. It is not Tokio's `task::Id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(NonZeroU64);

impl Id {
    fn next() -> Self {
        // As wide as the target has it. Relaxed: only that each number is given once matters.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Zero after as many tasks as a word can count: that one shares a number.
        Self(NonZeroU64::new(number as u64).unwrap_or(NonZeroU64::MAX))
    }

    /// As an integer, for logs and metrics.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}
