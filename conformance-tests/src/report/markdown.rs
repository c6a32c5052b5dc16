//! The matrix in Markdown, for a project's documentation or a summary of CI.

use std::{collections::BTreeMap, fmt::Write};

use super::{Report, Status, SubjectReport};
use crate::{Capability, rules};

impl Report {
    /// The levels, the matrix of rules and subjects, and all results other than a pass, as
    /// Markdown. Contains no times and nothing about the machine.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        // Writing into a string does not fail.
        self.levels(out);
        self.rules_table(out);
        self.absent(out);
        self.remarks(out);
        text
    }

    fn levels(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "## Levels\n\n| subject | level | suite | pass | known failures | failures | unsupported |\n\
             |---|---|---|--:|--:|--:|--:|"
        );
        for subject in &self.subjects {
            let counts = subject.counts();
            let count = |wanted: fn(Status) -> bool| -> usize {
                let mine = counts.iter().filter(|(status, _)| wanted(**status));
                mine.map(|(_, count)| count).sum()
            };
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                plain(&subject.name),
                subject.grade().name(),
                plain(&subject.run.suite_version),
                count(|status| status == Status::Pass),
                count(|status| status == Status::KnownFail),
                count(|status| status.is_failure() || status == Status::Inconclusive),
                count(|status| status == Status::Unsupported),
            );
        }
    }

    fn rules_table(&self, out: &mut String) {
        let _ = write!(out, "\n## Rules\n\n");
        for status in Status::ALL {
            let _ = write!(out, "{} {}; ", status.symbol(), status.name());
        }
        let _ = write!(out, "with the number of cases.\n\n| rule |");
        for subject in &self.subjects {
            let _ = write!(out, " {} |", plain(&subject.name));
        }
        let _ = writeln!(out, "\n|---|{}", ":-:|".repeat(self.subjects.len()));
        for (rule, cases) in self.rules() {
            let _ = write!(out, "| {} |", plain(&rules::named(&rule)));
            for subject in &self.subjects {
                let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
                for result in cases.iter().filter_map(|case| subject.case(&case.id)) {
                    *counts.entry(result.status).or_default() += 1;
                }
                let parts: Vec<String> = counts
                    .into_iter()
                    .map(|(status, count)| format!("{} {count}", status.symbol()))
                    .collect();
                let _ = write!(out, " {} |", parts.join(" "));
            }
            out.push('\n');
        }
    }

    fn absent(&self, out: &mut String) {
        let lacking = |capability: Capability| -> Vec<String> {
            self.subjects
                .iter()
                .filter(|subject| !subject.capabilities.contains(&capability))
                .map(|subject| plain(&subject.name))
                .collect()
        };
        let all: Vec<(Capability, Vec<String>)> = Capability::ALL
            .into_iter()
            .map(|capability| (capability, lacking(capability)))
            .filter(|(_, subjects)| !subjects.is_empty())
            .collect();
        if all.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "\n## Declared absent\n\n| capability | instead | by |\n|---|---|---|"
        );
        for (capability, subjects) in all {
            let _ = writeln!(
                out,
                "| `{capability}` | {} | {} |",
                capability.without(),
                subjects.join(", ")
            );
        }
    }

    fn remarks(&self, out: &mut String) {
        let noted = |subject: &SubjectReport| {
            let mut cases = subject.cases.iter();
            cases.any(|case| !matches!(case.status, Status::Pass | Status::Unsupported))
        };
        for subject in self.subjects.iter().filter(|subject| noted(subject)) {
            let _ = writeln!(
                out,
                "\n## Not passed by {}\n\n| case | what must be so | status | why |\n|---|---|---|---|",
                plain(&subject.name)
            );
            for case in &subject.cases {
                if matches!(case.status, Status::Pass | Status::Unsupported) {
                    continue;
                }
                // The reason; the result of this run follows it.
                let message = case.message.as_deref().unwrap_or_default();
                let link = case.link.as_deref().unwrap_or_default();
                let link = if link.starts_with("https://") || link.starts_with("http://") {
                    format!(" (<{}>)", link.replace(['<', '>', '|', ' ', '\n'], ""))
                } else {
                    String::new()
                };
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {}{link} |",
                    plain(&case.id),
                    plain(&case.title),
                    case.status.name(),
                    plain(message.lines().next().unwrap_or_default()),
                );
            }
        }
    }
}

/// Text that has no meaning in Markdown, and stays in its cell. Code between
/// backquotes is left as it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut code = false;
    for one in text.chars() {
        match one {
            '`' if code || text.matches('`').count() % 2 == 0 => {
                code = !code;
                out.push('`');
            }
            '|' => out.push_str("\\|"),
            '\\' | '*' | '_' | '[' | ']' | '<' | '>' | '`' | '&' | '#' if !code => {
                out.push('\\');
                out.push(one);
            }
            one if one.is_control() => out.push(' '),
            one => out.push(one),
        }
    }
    out
}
