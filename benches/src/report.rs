//! The results of one run, stored as JSON and shown.

use std::{fs::File, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{machine::Machine, measure::Series};

/// Promises are made for this many rounds or more.
pub(crate) const ROUNDS: u32 = 15;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The command that reproduces the figures.
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    /// The versions of the compiler and of all compared crates, by name.
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) series: Vec<Series>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Operations that could not be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) what: String,
    pub(crate) why: String,
}

impl Report {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_reader(io::BufReader::new(File::open(
            path,
        )?))?)
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let file = io::BufWriter::new(File::create(path)?);
        Ok(serde_json::to_writer_pretty(file, self)?)
    }

    /// Is the run too small to judge promises?
    pub(crate) fn is_a_look(&self) -> bool {
        self.quick || self.rounds < ROUNDS
    }

    /// In the order in which they were measured.
    pub(crate) fn sections(&self) -> Vec<(&str, Vec<&Series>)> {
        let mut sections: Vec<(&str, Vec<&Series>)> = Vec::new();
        for series in &self.series {
            match sections
                .iter_mut()
                .find(|(name, _)| *name == series.section)
            {
                Some((_, all)) => all.push(series),
                None => sections.push((&series.section, vec![series])),
            }
        }
        sections
    }

    pub(crate) fn series(&self, operation: &str, metric: &str) -> Option<&Series> {
        let mut all = self.series.iter();
        all.find(|series| series.operation == operation && series.metric == metric)
    }

    /// Each missed promise, in a line.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for series in &self.series {
            for outcome in series.promises.iter().filter(|outcome| !outcome.kept) {
                lines.push(format!(
                    "{}, {}: {}",
                    series.title(),
                    outcome.contender,
                    outcome.sentence(series.unit)
                ));
            }
        }
        lines
    }
}
