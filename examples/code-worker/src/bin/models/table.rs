//! The measurements, as rows with a figure for each model.

use std::{fmt::Write, time::Duration};

pub(crate) const MODELS: [&str; 3] = ["thread", "route", "async"];

pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// The name of its plot.
    pub(crate) file: &'static str,
    /// Its description.
    pub(crate) about: String,
    /// The head of the first column.
    pub(crate) what: &'static str,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// `None` if the model refuses it.
    pub(crate) figures: [Option<Figure>; 3],
}

#[derive(Clone)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// The largest value seen.
    pub(crate) most: Option<f64>,
    /// The text after it.
    pub(crate) note: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// A time in seconds.
    Time,
}

impl Figure {
    pub(crate) fn time(time: Duration) -> Self {
        Self::new(time.as_secs_f64())
    }

    pub(crate) fn new(value: f64) -> Self {
        Self {
            value,
            most: None,
            note: String::new(),
        }
    }

    pub(crate) fn text(&self, unit: Unit) -> String {
        let mut text = unit.text(self.value);
        if let Some(most) = self.most {
            text += &format!(", at most {}", unit.text(most));
        }
        text + &self.note
    }
}

impl Unit {
    /// Three digits.
    pub(crate) fn text(self, value: f64) -> String {
        let (value, unit) = match self {
            Self::Time if value < 1e-6 => (value * 1e9, "ns"),
            Self::Time if value < 1e-3 => (value * 1e6, "µs"),
            Self::Time if value < 1.0 => (value * 1e3, "ms"),
            Self::Time => (value, "s"),
        };
        match value {
            ..10.0 => format!("{value:.2} {unit}"),
            ..100.0 => format!("{value:.1} {unit}"),
            _ => format!("{value:.0} {unit}"),
        }
    }
}

impl Table {
    /// As Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.about);
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "| {} | {} |", self.what, MODELS.join(" | "));
        let _ = writeln!(text, "|---|--:|--:|--:|");
        for row in &self.rows {
            let figures = row.figures.each_ref().map(|figure| match figure {
                Some(figure) => figure.text(row.unit),
                None => "refused".to_owned(),
            });
            let _ = writeln!(text, "| {} | {} |", row.name, figures.join(" | "));
        }
        text
    }
}
