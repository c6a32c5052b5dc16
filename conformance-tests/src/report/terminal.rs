//! The matrix of rules and subjects for a terminal.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use super::{Report, Status, SubjectReport};
use crate::rules;

impl Report {
    /// The matrix, and the errors below it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled);
        let subjects = self.subjects.iter().map(|subject| subject.name.as_str());
        table.set_header(std::iter::once("rule").chain(subjects));
        for (rule, _) in self.rules() {
            let cells = self.subjects.iter().map(|subject| {
                Cell::new(cell(subject, &rule)).set_alignment(CellAlignment::Center)
            });
            table.add_row(std::iter::once(Cell::new(rules::named(&rule))).chain(cells));
        }
        let grades = self
            .subjects
            .iter()
            .map(|subject| Cell::new(subject.grade().name()).set_alignment(CellAlignment::Center));
        table.add_row(std::iter::once(Cell::new("level")).chain(grades));
        let mut text = format!("{table}\n");
        for subject in &self.subjects {
            text += &format!("{}: {}\n", subject.name, summary(subject));
        }
        for subject in &self.subjects {
            for case in &subject.cases {
                if matches!(case.status, Status::Pass | Status::Unsupported) {
                    continue;
                }
                text += &format!(
                    "\n{} {}::{} {}\n    why it matters: {}\n",
                    case.status.name(),
                    subject.name,
                    case.id,
                    case.title,
                    case.why,
                );
                for line in case.message.iter().flat_map(|message| message.lines()) {
                    text += &format!("    {line}\n");
                }
                for line in [case.link.clone(), super::again(subject, case)] {
                    text += &line.map_or_else(String::new, |line| format!("    {line}\n"));
                }
            }
        }
        // A message contains the output of a process, and must not control the terminal.
        text.replace(
            |one: char| one.is_control() && one != '\n' && one != '\t',
            "\u{fffd}",
        )
    }
}

/// `12 pass, 1 fail`, the most frequent first.
pub(crate) fn summary(subject: &SubjectReport) -> String {
    let parts: Vec<String> = subject
        .counts()
        .into_iter()
        .map(|(status, count)| format!("{count} {}", status.name()))
        .collect();
    if parts.is_empty() {
        String::from("no cases")
    } else {
        parts.join(", ")
    }
}

/// `✓ 5`, or the results other than a pass among the cases of one rule.
fn cell(subject: &SubjectReport, rule: &str) -> String {
    let mut counts: Vec<(char, usize)> = Vec::new();
    for case in subject.cases.iter().filter(|case| case.rule() == rule) {
        let symbol = case.status.symbol();
        match counts.iter_mut().find(|(known, _)| *known == symbol) {
            Some((_, count)) => *count += 1,
            None => counts.push((symbol, 1)),
        }
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(symbol, count)| format!("{symbol} {count}"))
        .collect();
    parts.join("  ")
}
