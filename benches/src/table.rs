//! The figures in the terminal.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{format, measure::Series, promise, report::Report};

/// All figures.
pub(crate) fn figures(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "operation",
        "contender",
        "median",
        "quartiles",
        "to the best peer",
    ]);
    for series in &report.series {
        add(&mut table, series);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn add(table: &mut Table, series: &Series) {
    let best = series.best_peer();
    for figure in &series.figures {
        table.add_row([
            series.title(),
            figure.contender.clone(),
            format::figure(figure.median, series.unit),
            format!(
                "{} – {}",
                format::figure(figure.lower, series.unit),
                format::figure(figure.upper, series.unit)
            ),
            best.map_or_else(String::new, |best| {
                format::ratio(promise::ratio(figure, best, 0.0))
            }),
        ]);
    }
}

/// All promises.
pub(crate) fn promises(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "section",
        "operation",
        "contender",
        "against",
        "promised",
        "measured",
        "",
    ]);
    for series in &report.series {
        for outcome in &series.promises {
            let show = |value| match outcome.against {
                Some(_) => format::ratio(value),
                None => format::figure(value, series.unit),
            };
            table.add_row([
                series.section.clone(),
                series.title(),
                outcome.contender.clone(),
                outcome.against.clone().unwrap_or_default(),
                show(outcome.promised),
                show(outcome.measured),
                String::from(if outcome.kept { "kept" } else { "MISSED" }),
            ]);
        }
    }
    for number in [4, 5] {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
