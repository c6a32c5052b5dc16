//! The operations to measure, and the contenders that do them.

use std::{io, path::PathBuf, time::Duration};

use crate::promise::Promise;

/// The unit of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

/// One thing that is measured while an operation is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
}

/// The mean time that one takes, for operations that have no other metric.
pub(crate) const TIME: Metric = Metric {
    name: "time",
    unit: Unit::Nanoseconds,
};

pub(crate) const fn nanoseconds(name: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::Nanoseconds,
    }
}

pub(crate) const fn bytes(name: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::Bytes,
    }
}

/// The settings for all operations.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) quick: bool,
    pub(crate) python: PathBuf,
}

pub(crate) const LEAD: Duration = Duration::from_millis(100);

type Start = Box<dyn FnOnce(&Setting) -> io::Result<Vec<Contender>>>;

/// One operation, done in several ways.
pub(crate) struct Operation {
    /// Operations of a section are plotted and listed together.
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// The details, if the name does not say everything.
    pub(crate) note: &'static str,
    /// The values of a sample, in this order.
    pub(crate) metrics: &'static [Metric],
    /// How often a contender does it in one round.
    pub(crate) times: u32,
    /// Not more rounds than this, because one takes long.
    pub(crate) rounds: u32,
    /// Is there an uncounted first round, in which threads start and caches fill?
    pub(crate) warm_up: bool,
    /// In each round, a contender does it for this time before it is measured ([`LEAD`], or zero).
    /// For operations with a lasting exchange between threads: some systems keep threads that have
    /// woken each other on one processor for tens of milliseconds.
    pub(crate) lead: Duration,
    pub(crate) promises: Vec<Promise>,
    /// Starts the contenders' runtimes. They end with the operation, so that no operation inherits
    /// threads of another.
    pub(crate) start: Start,
}

impl Operation {
    pub(crate) fn new(
        section: &'static str,
        name: &'static str,
        times: u32,
        start: impl FnOnce(&Setting) -> io::Result<Vec<Contender>> + 'static,
    ) -> Self {
        Self {
            section,
            name,
            note: "",
            metrics: &[TIME],
            times,
            rounds: u32::MAX,
            warm_up: true,
            lead: Duration::ZERO,
            promises: Vec::new(),
            start: Box::new(start),
        }
    }

    pub(crate) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    pub(crate) fn metrics(mut self, metrics: &'static [Metric]) -> Self {
        self.metrics = metrics;
        self
    }

    pub(crate) fn at_most_rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    pub(crate) fn without_warm_up(mut self) -> Self {
        self.warm_up = false;
        self
    }

    pub(crate) fn lead(mut self) -> Self {
        self.lead = LEAD;
        self
    }

    pub(crate) fn promise(mut self, promise: Promise) -> Self {
        self.promises.push(promise);
        self
    }
}

/// Does the operation this many times, and gives one value for each metric.
type Run = Box<dyn FnMut(u32) -> io::Result<Vec<f64>>>;

/// One way to do an operation.
pub(crate) struct Contender {
    pub(crate) name: String,
    /// Is it fourway (or a peer)?
    pub(crate) ours: bool,
    pub(crate) run: Run,
}

impl Contender {
    pub(crate) fn new(
        name: impl Into<String>,
        ours: bool,
        run: impl FnMut(u32) -> io::Result<Vec<f64>> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            ours,
            run: Box::new(run),
        }
    }
}
