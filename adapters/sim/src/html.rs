//! A trace as a picture: lanes of tasks, closures and threads, in a page without scripts.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::trace::{Action, Event, Trace, UnitId, UnitKind};

/// So many of the last events are drawn.
const DRAWN: usize = 400;
const STEP: usize = 14;
const LANE: usize = 26;
const LEFT: usize = 260;
const TOP: usize = 34;

/// The whole page: the report, the picture, and the events in words.
pub(crate) fn page(report: &str, trace: &Trace) -> String {
    let events = trace.events();
    let events = &events[events.len().saturating_sub(DRAWN)..];
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>fourway-sim</title>\n\
         <style>\n\
         body { font: 14px sans-serif; margin: 1.5em; }\n\
         pre { background: #f4f4f4; padding: 1em; white-space: pre-wrap; }\n\
         .picture { overflow-x: auto; }\n\
         svg text { font: 11px sans-serif; }\n\
         .fault { color: #b00; }\n\
         </style>\n",
    );
    let _ = write!(
        page,
        "<h1>A failed run</h1>\n<pre>{}</pre>\n",
        escape(report)
    );
    page.push_str(
        "<h2>What happened</h2>\n<p>A lane for each task, closure and thread; from left to right, \
         one event after the other (not to the scale of time). A bar: it runs. Lines: who starts \
         and who wakes whom. Red: a fault. Hover for words.</p>\n<div class=\"picture\">\n",
    );
    page.push_str(&picture(trace, events));
    page.push_str("</div>\n<h2>In words</h2>\n<pre>");
    for event in events {
        page.push_str(&escape(&trace.describe(event)));
        page.push('\n');
    }
    page.push_str("</pre>\n</html>\n");
    page
}

fn picture(trace: &Trace, events: &[Event]) -> String {
    let mut lanes: BTreeMap<Option<UnitId>, usize> = BTreeMap::new();
    for event in events {
        lanes.insert(event.unit, 0);
        if let Action::Started(other) | Action::Woke(other) | Action::Cancelled(other) =
            event.action
        {
            lanes.insert(Some(other), 0);
        }
    }
    for (number, lane) in lanes.values_mut().enumerate() {
        *lane = TOP + number * LANE;
    }
    let (width, height) = (
        LEFT + events.len() * STEP + 40,
        TOP + lanes.len() * LANE + 10,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"timeline\">\n"
    );
    for (unit, y) in &lanes {
        let name = unit.map_or_else(|| String::from("clock"), |unit| trace.name_of(unit));
        let short: String = name
            .chars()
            .rev()
            .take(44)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        let short = if short.len() < name.len() {
            format!("…{short}")
        } else {
            name.clone()
        };
        let middle = y + LANE / 2;
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{width}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#ddd\"/>\
             <text x=\"4\" y=\"{}\">{}<title>{}</title></text>",
            middle + 4,
            escape(&short),
            escape(&name)
        );
    }
    // Since where each one runs.
    let mut running: BTreeMap<UnitId, usize> = BTreeMap::new();
    let mut time = None;
    for (number, event) in events.iter().enumerate() {
        let x = LEFT + number * STEP + STEP / 2;
        let y = lanes[&event.unit] + LANE / 2;
        if time != Some(event.at) && number % 8 == 0 {
            time = Some(event.at);
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"14\" fill=\"#666\">{:?}</text>",
                event.at
            );
        }
        let bar = |svg: &mut String, unit: UnitId, from: usize| {
            let from = LEFT + from * STEP + STEP / 2;
            let top = lanes[&Some(unit)] + 7;
            let _ = writeln!(
                svg,
                "<rect x=\"{from}\" y=\"{top}\" width=\"{}\" height=\"12\" fill=\"{}\"/>",
                (x - from).max(4),
                color(trace, unit)
            );
        };
        match (event.action, event.unit) {
            (Action::Ran, Some(unit)) => {
                running.insert(unit, number);
            }
            (
                Action::Waits | Action::Yielded | Action::Ended | Action::Destroyed | Action::Lost,
                Some(unit),
            ) => {
                if let Some(from) = running.remove(&unit) {
                    bar(&mut svg, unit, from);
                }
            }
            _ => {}
        }
        if let Action::Started(other) | Action::Woke(other) | Action::Cancelled(other) =
            event.action
        {
            let to = lanes[&Some(other)] + LANE / 2;
            let dash = if matches!(event.action, Action::Woke(_)) {
                " stroke-dasharray=\"3 2\""
            } else {
                ""
            };
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{y}\" y2=\"{to}\" stroke=\"#888\"{dash}/>\
                 <circle cx=\"{x}\" cy=\"{to}\" r=\"2.5\" fill=\"#888\"/>"
            );
        }
        let (fill, radius) = match event.action {
            Action::Fault(_) | Action::Lost | Action::Refused => ("#c00", 5),
            Action::Ended | Action::Destroyed => ("#000", 3),
            _ => ("#444", 2),
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{fill}\"><title>{}</title></circle>",
            escape(trace.describe(event).trim())
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn color(trace: &Trace, unit: UnitId) -> &'static str {
    match trace.get(unit).map(|unit| unit.kind) {
        Some(UnitKind::Task) => "#9cc8f0",
        Some(UnitKind::Closure) => "#f0c48c",
        _ => "#b4dca8",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
