//! Claims of other projects, beside our measurements.

use crate::{format, measure::Series, promise, report::Report};

pub(crate) struct Claim {
    pub(crate) claimed: &'static str,
    /// `None` if it was not measured.
    pub(crate) measured: Option<String>,
}

pub(crate) fn all(report: &Report) -> Vec<Claim> {
    let series = |operation: &str, metric: &str| report.series(operation, metric);
    let value = |series: Option<&Series>, contender: &str| {
        let series = series?;
        let figure = series.figure(contender)?;
        Some(format::figure(figure.median, series.unit))
    };
    let pair = |operation: &str| {
        let (resident, heap) = (series(operation, "resident"), series(operation, "heap"));
        Some(format!(
            "{} resident, {} of heap",
            value(resident, "fourway")?,
            value(heap, "fourway")?
        ))
    };
    let ratio = |operation: &str, ours: &str, peer: &str| {
        let series = series(operation, "time")?;
        Some(promise::ratio(
            series.figure(ours)?,
            series.figure(peer)?,
            0.0,
        ))
    };
    let smart_async = |operation: &str| {
        let series = series(operation, "time")?;
        let peer = series.figures.iter().find(|figure| !figure.ours)?;
        Some(format!(
            "{} ({}); fourway {}",
            format::figure(peer.median, series.unit),
            peer.contender,
            value(Some(series), "fourway")?
        ))
    };
    let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
    vec![
        Claim {
            claimed: "skill library: 4 KB a task",
            measured: pair("an idle task, of 1,000,000"),
        },
        Claim {
            claimed: "skill library: 64 KB a runtime",
            measured: pair("a runtime"),
        },
        Claim {
            claimed: "skill library: 50 KB of a binary",
            measured: value(series("a program", "size"), "fourway"),
        },
        Claim {
            claimed: "skill library: one call costs 3–5 % more than a plain one",
            measured: ratio("parse one file", ".wait(), fourway", "plain functions")
                .map(|ratio| format!("{} for one file, with `.wait()`", percent(ratio))),
        },
        Claim {
            claimed: "skill library: loading concurrently takes 40–60 % less time",
            measured: ratio("parse all files", "gather, fourway", "plain functions")
                .map(|ratio| format!("{} for all files, from the system's cache", percent(ratio))),
        },
        Claim {
            claimed: "SmartAsync: sync → async 102 µs",
            measured: smart_async("sync → async"),
        },
        Claim {
            claimed: "SmartAsync: async → async 1.3 µs",
            measured: smart_async("async → async"),
        },
        Claim {
            claimed: "SmartAsync: async → sync 50–100 µs",
            measured: smart_async("async → sync"),
        },
    ]
}
