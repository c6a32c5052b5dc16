//! Promised ratios, and whether they are kept.

use serde::{Deserialize, Serialize};

use crate::{
    format,
    measure::{Figure, Series},
    operation::Unit,
    statistics::median,
};

/// A promise for one of our contenders.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    contender: &'static str,
    /// The operation's metric; the first one if it has no name.
    metric: Option<&'static str>,
    bound: Bound,
    /// Values below this count as this: a tiny value has no meaningful ratio.
    floor: f64,
}

#[derive(Clone, Debug)]
enum Bound {
    /// At most this many times the peer's value.
    Ratio(&'static str, f64),
    /// At most this many times the best peer's value.
    Best(f64),
    /// Less than this.
    Under(f64),
}

/// A promise and its result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) contender: String,
    /// The compared peer; `None` for an absolute bound.
    pub(crate) against: Option<String>,
    /// Is the compared peer the best of all?
    pub(crate) best: bool,
    pub(crate) promised: f64,
    pub(crate) measured: f64,
    pub(crate) kept: bool,
}

impl Promise {
    fn new(contender: &'static str, bound: Bound) -> Self {
        Self {
            contender,
            metric: None,
            bound,
            floor: 0.0,
        }
    }

    /// `contender` takes at most `ratio` times the value of `peer`.
    pub(crate) fn ratio(contender: &'static str, peer: &'static str, ratio: f64) -> Self {
        Self::new(contender, Bound::Ratio(peer, ratio))
    }

    /// `contender` takes at most `ratio` times the value of the best peer.
    pub(crate) fn best(contender: &'static str, ratio: f64) -> Self {
        Self::new(contender, Bound::Best(ratio))
    }

    /// `contender` takes less than `value`.
    pub(crate) fn under(contender: &'static str, value: f64) -> Self {
        Self::new(contender, Bound::Under(value))
    }

    /// Makes the promise for this metric.
    pub(crate) fn of(mut self, metric: &'static str) -> Self {
        self.metric = Some(metric);
        self
    }

    /// Values below `floor` count as `floor`.
    pub(crate) fn floor(mut self, floor: f64) -> Self {
        self.floor = floor;
        self
    }

    /// Is it for the operation's metric with this name and number?
    pub(crate) fn is_of(&self, name: &str, number: usize) -> bool {
        self.metric.map_or(number == 0, |metric| metric == name)
    }

    /// Its result; `None` if a contender was not measured.
    pub(crate) fn outcome(&self, series: &Series) -> Option<Outcome> {
        let ours = series.figure(self.contender)?;
        let against = |peer: &Figure, promised: f64, best: bool| {
            let measured = ratio(ours, peer, self.floor);
            Outcome {
                contender: self.contender.to_owned(),
                against: Some(peer.contender.clone()),
                best,
                promised,
                measured,
                kept: measured <= promised,
            }
        };
        Some(match self.bound {
            Bound::Ratio(peer, promised) => against(series.figure(peer)?, promised, false),
            Bound::Best(promised) => against(series.best_peer()?, promised, true),
            Bound::Under(promised) => Outcome {
                contender: self.contender.to_owned(),
                against: None,
                best: false,
                promised,
                measured: ours.median,
                kept: ours.median < promised,
            },
        })
    }
}

/// The median of the rounds' ratios: within a round, both had the same machine state.
pub(crate) fn ratio(ours: &Figure, peer: &Figure, floor: f64) -> f64 {
    let ratios = ours.samples.iter().zip(&peer.samples);
    median(ratios.map(|(ours, peer)| ours.max(floor) / peer.max(floor)))
}

impl Outcome {
    /// The measured and the promised value.
    pub(crate) fn sentence(&self, unit: Unit) -> String {
        match &self.against {
            Some(peer) => format!(
                "{} of {peer}{}, promised {}",
                format::ratio(self.measured),
                if self.best { ", the best peer" } else { "" },
                format::ratio(self.promised),
            ),
            None => format!(
                "{}, promised less than {}",
                format::figure(self.measured, unit),
                format::figure(self.promised, unit),
            ),
        }
    }
}
