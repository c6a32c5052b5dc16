/// Where work runs.
///
/// The work and its output are the same in each model.
///
/// | | [`Thread`](Self::Thread) | [`Route`](Self::Route) | [`Async`](Self::Async) |
/// |---|---|---|---|
/// | a closure that may block | pool | pool | pool |
/// | a closure declared [`short`](crate::short) | pool | pool | in place, watched |
/// | a future, or what gives one | pool, by `block_on` | executor | executor |
/// | a call with an async body | pool, by `block_on` | executor | executor |
/// | a call with a body that may block | pool | pool | pool |
///
/// *Thread* is for hosts whose async code may in fact block (a script, a plug-in): it cannot delay
/// the executor, at the cost of one thread for each waiting piece of work. *Route* is the default.
/// *Async* saves the hand-over to the pool for short closures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// Everything runs on a thread that may block; async work is driven there.
    Thread,
    /// Blocking work runs on the pool, async work on the executor.
    #[default]
    Route,
    /// As `Route`, but closures declared short run in place on the executor.
    Async,
}

impl Model {
    /// All models.
    pub const ALL: [Self; 3] = [Self::Thread, Self::Route, Self::Async];

    /// The name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Route => "route",
            Self::Async => "async",
        }
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        let found = Self::ALL.into_iter().find(|model| model.name() == name);
        found.ok_or_else(|| UnknownModel(name.to_owned()))
    }
}

/// There is no [`Model`] of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel(String);

impl std::fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "there is no model `{}`; the models are `thread`, `route` and `async`",
            self.0
        )
    }
}

impl std::error::Error for UnknownModel {}
