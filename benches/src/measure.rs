//! Measuring: all contenders in turn within each round.

use std::{io, time::Instant};

use serde::{Deserialize, Serialize};

use crate::{
    operation::{Operation, Setting, Unit},
    promise::Outcome,
    statistics::{median, quantile},
};

/// All figures of one metric of one operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) section: String,
    pub(crate) operation: String,
    pub(crate) metric: String,
    pub(crate) note: String,
    pub(crate) unit: Unit,
    pub(crate) rounds: u32,
    pub(crate) figures: Vec<Figure>,
    pub(crate) promises: Vec<Outcome>,
}

/// The figures of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) contender: String,
    pub(crate) ours: bool,
    pub(crate) median: f64,
    /// The quartiles over the rounds.
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    /// A value a round.
    pub(crate) samples: Vec<f64>,
}

impl Series {
    pub(crate) fn figure(&self, contender: &str) -> Option<&Figure> {
        self.figures
            .iter()
            .find(|figure| figure.contender == contender)
    }

    /// The peer with the lowest median.
    pub(crate) fn best_peer(&self) -> Option<&Figure> {
        let peers = self.figures.iter().filter(|figure| !figure.ours);
        peers.min_by(|a, b| a.median.total_cmp(&b.median))
    }

    /// Operation and metric.
    pub(crate) fn title(&self) -> String {
        if self.metric == crate::operation::TIME.name {
            self.operation.clone()
        } else {
            format!("{}: {}", self.operation, self.metric)
        }
    }
}

/// Does an operation in rounds, so that a slowdown of the machine affects all
/// contenders alike.
///
/// # Errors
///
/// If a contender cannot be started, or could not do what it should.
pub(crate) fn measure(
    operation: Operation,
    setting: &Setting,
    rounds: u32,
) -> io::Result<Vec<Series>> {
    let rounds = rounds.min(operation.rounds);
    let times = if setting.quick {
        (operation.times / 10).max(1)
    } else {
        operation.times
    };
    let mut contenders = (operation.start)(setting)?;
    let mut samples: Vec<Vec<Vec<f64>>> = vec![Vec::new(); contenders.len()];
    if operation.warm_up {
        for contender in &mut contenders {
            (contender.run)(times)?;
        }
    }
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let begun = Instant::now();
            while begun.elapsed() < operation.lead {
                (contender.run)(times.div_ceil(10))?;
            }
            let sample = (contender.run)(times)?;
            assert_eq!(sample.len(), operation.metrics.len(), "a value a metric");
            samples.push(sample);
        }
    }
    let series = operation
        .metrics
        .iter()
        .enumerate()
        .map(|(number, metric)| {
            let figures = contenders.iter().zip(&samples).map(|(contender, samples)| {
                let samples: Vec<f64> = samples.iter().map(|sample| sample[number]).collect();
                Figure {
                    contender: contender.name.clone(),
                    ours: contender.ours,
                    median: median(samples.iter().copied()),
                    lower: quantile(samples.iter().copied(), 0.25),
                    upper: quantile(samples.iter().copied(), 0.75),
                    samples,
                }
            });
            let mut series = Series {
                section: operation.section.to_owned(),
                operation: operation.name.to_owned(),
                metric: metric.name.to_owned(),
                note: operation.note.to_owned(),
                unit: metric.unit,
                rounds,
                figures: figures.collect(),
                promises: Vec::new(),
            };
            let promises = operation.promises.iter();
            series.promises = promises
                .filter(|promise| promise.is_of(metric.name, number))
                .filter_map(|promise| promise.outcome(&series))
                .collect();
            series
        });
    Ok(series.collect())
}
