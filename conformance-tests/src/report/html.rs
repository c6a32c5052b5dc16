//! One self-contained page, as [`page`] makes it: the matrix, and each case below it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use fourway_suite::page::{self, escape, marked};

use super::{CaseReport, Grade, Report, Status, SubjectReport, again, terminal::summary};
use crate::{Capability, rules};

impl Report {
    /// The HTML page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut body = String::new();
        let out = &mut body;
        self.verdict(out);
        self.subject_cards(out);
        page::filters(out, self.subjects.iter().map(|subject| &*subject.name));
        self.matrix(out);
        self.details(out);
        page::page("fourway conformance", &body)
    }

    // Writing into a string does not fail.
    fn verdict(&self, out: &mut String) {
        let _ = match self.failure() {
            Some(reason) => writeln!(out, "<p class=\"verdict fail\">✗ {}</p>", escape(&reason)),
            None => writeln!(out, "<p class=\"verdict pass\">✓ {}</p>", self.success()),
        };
    }

    /// The meaning of a green run, in words.
    fn success(&self) -> String {
        let count = |wanted: Status| {
            let cases = self.subjects.iter().flat_map(|subject| &subject.cases);
            cases.filter(|case| case.status == wanted).count()
        };
        let mut text = format!(
            "no case failed unexpectedly: {} passed",
            count(Status::Pass)
        );
        for (status, words) in [
            (
                Status::KnownFail,
                "failed, which their subject had declared",
            ),
            (
                Status::Unsupported,
                "were not run, for they need what their subject declares that it lacks",
            ),
            (Status::Inconclusive, "could not find out"),
        ] {
            match count(status) {
                0 => {}
                n => text += &format!("; {n} {words}"),
            }
        }
        text
    }

    fn subject_cards(&self, out: &mut String) {
        let _ = writeln!(out, "<ul class=\"cards\">");
        for (at, subject) in self.subjects.iter().enumerate() {
            let class = match subject.grade() {
                Grade::Extended | Grade::Core => "pass",
                Grade::Partial => "none",
                Grade::None => "fail",
            };
            let lacking: Vec<&str> = Capability::ALL
                .iter()
                .filter(|one| !subject.capabilities.contains(one))
                .map(|one| one.name())
                .collect();
            let (run, host) = (&subject.run, &subject.run.host);
            let _ = write!(
                out,
                "<li data-subject=\"{at}\"><strong>{}</strong> {} \
                 <span class=\"tag {class}\">{}</span><p>{}</p>",
                escape(&subject.name),
                escape(subject.version.as_deref().unwrap_or_default()),
                subject.grade().name(),
                escape(&summary(subject)),
            );
            if !lacking.is_empty() {
                let _ = write!(out, "<p>without {}</p>", lacking.join(", "));
            }
            let _ = writeln!(
                out,
                "<p class=\"meta\">suite {}; {} {}, {} threads{}; seed {}</p></li>",
                escape(&run.suite_version),
                escape(&host.os),
                escape(&host.arch),
                host.parallelism,
                if host.debug { ", debug" } else { "" },
                run.seed,
            );
        }
        let _ = writeln!(out, "</ul>");
    }

    fn matrix(&self, out: &mut String) {
        let subjects = self.subjects.iter().map(|subject| &*subject.name);
        page::matrix_begin(out, "rules and subjects", "rule", subjects);
        for (rule, cases) in self.rules() {
            let attributes = self.attributes(cases.iter().map(|case| case.id.as_str()));
            let (rule, name) = (escape(&rule), escape(&rules::named(&rule)));
            let _ = write!(
                out,
                "<tr {attributes}><th scope=\"row\"><a href=\"#{rule}\">{name}</a></th>"
            );
            for (at, subject) in self.subjects.iter().enumerate() {
                let _ = write!(out, "<td data-subject=\"{at}\">");
                cell(out, subject, &cases, &rule);
                let _ = write!(out, "</td>");
            }
            let _ = writeln!(out, "</tr>");
        }
        page::matrix_end(out);
    }

    /// The attributes of these cases together.
    fn attributes<'a>(&self, ids: impl Iterator<Item = &'a str> + Clone) -> String {
        let subjects = self.subjects.iter().enumerate();
        page::attributes(subjects.flat_map(|(at, subject)| {
            let found = ids.clone().filter_map(|id| subject.case(id));
            found.map(move |case| (at, case.status))
        }))
    }

    fn details(&self, out: &mut String) {
        for (rule, cases) in self.rules() {
            let attributes = self.attributes(cases.iter().map(|case| case.id.as_str()));
            let _ = writeln!(
                out,
                "<section {attributes}><h2 id=\"{}\">{}</h2>",
                escape(&rule),
                escape(&rules::named(&rule))
            );
            if let Some(rule) = rules::rule(&rule) {
                let _ = writeln!(out, "<blockquote>{}</blockquote>", marked(&rule.text));
            }
            for case in cases {
                self.case_details(out, case);
            }
            let _ = writeln!(out, "</section>");
        }
    }

    fn case_details(&self, out: &mut String, case: &CaseReport) {
        let results: Vec<(usize, &SubjectReport, &CaseReport)> = self
            .subjects
            .iter()
            .enumerate()
            .filter_map(|(at, subject)| Some((at, subject, subject.case(&case.id)?)))
            .collect();
        let statuses: BTreeSet<Status> =
            results.iter().map(|(_, _, result)| result.status).collect();
        let failed = statuses.iter().any(|status| status.is_failure());
        let id = escape(&case.id);
        let _ = write!(
            out,
            "<details {}{}><summary>",
            self.attributes(std::iter::once(case.id.as_str())),
            if failed { " open=\"\"" } else { "" },
        );
        for status in statuses {
            let name = status.name();
            let _ = write!(
                out,
                "<b class=\"{name}\" title=\"{name}\">{}</b> ",
                status.symbol()
            );
        }
        let _ = writeln!(
            out,
            "<code>{id}</code> {} <small>{}</small></summary>\n<div id=\"{id}\">\
             <p>Why it matters: {}</p>\n<ul>",
            escape(&case.title),
            case.level,
            marked(&case.why),
        );
        for (at, subject, result) in results {
            let _ = write!(
                out,
                "<li data-subject=\"{at}\"><span class=\"tag {status}\">{status}</span> {}",
                escape(&subject.name),
                status = result.status.name(),
            );
            if let Some(rounds) = result.rounds {
                let _ = write!(
                    out,
                    " <small>{rounds} rounds, seed {}</small>",
                    subject.run.seed
                );
            }
            match (&result.message, result.status) {
                (Some(message), Status::Unsupported) => {
                    let _ = write!(out, " <small>{}</small>", marked(message));
                }
                (Some(message), _) => {
                    let _ = write!(out, "<pre>{}</pre>", escape(message));
                }
                (None, _) => {}
            }
            if let Some(url) = &result.link {
                let url = escape(url);
                // Anything else might be a script.
                if ["https://", "http://"]
                    .iter()
                    .any(|web| url.starts_with(web))
                {
                    let _ = write!(out, "<p>See <a href=\"{url}\">{url}</a></p>");
                } else {
                    let _ = write!(out, "<p>See {url}</p>");
                }
            }
            let interesting = !matches!(result.status, Status::Pass | Status::Unsupported);
            if let Some(command) = again(subject, result).filter(|_| interesting) {
                let _ = write!(out, "<p>Again: <code>{}</code></p>", escape(&command));
            }
            let _ = writeln!(out, "</li>");
        }
        let _ = writeln!(out, "</ul></div></details>");
    }
}

/// Passed and unsupported cases as numbers; the other cases one by one.
fn cell(out: &mut String, subject: &SubjectReport, cases: &[&CaseReport], rule: &str) {
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    let results = || cases.iter().filter_map(|case| subject.case(&case.id));
    for result in results() {
        *counts.entry(result.status).or_default() += 1;
    }
    for status in [Status::Pass, Status::Unsupported] {
        if let Some(count) = counts.get(&status) {
            let _ = write!(
                out,
                "<a class=\"{name}\" href=\"#{rule}\" title=\"{count} {name}\">{} {count}</a> ",
                status.symbol(),
                name = status.name(),
            );
        }
    }
    for result in results() {
        if matches!(result.status, Status::Pass | Status::Unsupported) {
            continue;
        }
        let (_, ordinal) = result.id.split_once('.').unwrap_or(("", &result.id));
        let _ = write!(
            out,
            "<a class=\"{name}\" href=\"#{id}\" title=\"{id}: {name}\">{} .{}</a> ",
            result.status.symbol(),
            escape(ordinal),
            id = escape(&result.id),
            name = result.status.name(),
        );
    }
}
