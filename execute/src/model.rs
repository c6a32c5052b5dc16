/// Where work runs.
///
/// The work is the same in each, and so is what it gives.
///
/// | | [`Thread`](Self::Thread) | [`Route`](Self::Route) | [`Async`](Self::Async) |
/// |---|---|---|---|
/// | a closure that may block | pool | pool | pool |
/// | a closure declared [`short`](crate::short) | pool | pool | in place, watched |
/// | a future, or what gives one | pool, by `block_on` | executor | executor |
/// | a call with an async body | pool, by `block_on` | executor | executor |
/// | a call with a body that may block | pool | pool | pool |
///
/// *Thread* is for hosts whose async code may block in truth (a script, a plug-in): nothing it
/// does can hold up the executor, at the price of a thread for each piece of work that waits.
/// *Route* is the default. *Async* saves the way to the pool for what is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// Everything runs on a thread that may block; async work is driven there.
    Thread,
    /// What may block runs on the pool, async work on the executor.
    #[default]
    Route,
    /// As `Route`, but what is declared short runs on the executor, in place.
    Async,
}

impl Model {
    /// All of them.
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
