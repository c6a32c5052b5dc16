//! The report as a page.

use std::fmt::Write as _;

use crate::{
    page::{self, escape, marked},
    report::{CaseReport, Report, SubjectReport},
    status::Status,
};

impl Report {
    /// As one page of that title without anything from elsewhere: what came out of each case for each
    /// subject, as a matrix and one by one. `rules` are the names of rules by their numbers, which the
    /// matrix has before the first case of each: `("EN-3", "poison ends")`. It can be read without scripts.
    #[must_use]
    pub fn to_html(&self, title: &str, rules: &[(&str, &str)]) -> String {
        let mut body = String::new();
        let out = &mut body;
        // Writing into a string does not fail.
        let _ = writeln!(out, "<ul class=\"cards\">");
        for (at, subject) in self.subjects.iter().enumerate() {
            let _ = writeln!(
                out,
                "<li data-subject=\"{at}\"><strong>{}</strong><p>{}</p></li>",
                escape(&subject.name),
                subject.summary()
            );
        }
        let _ = writeln!(out, "</ul>");
        page::filters(out, self.subjects.iter().map(|subject| &*subject.name));
        self.matrix(out, rules);
        let _ = writeln!(out, "<section>");
        for case in self.all_cases() {
            self.details(out, case);
        }
        let _ = writeln!(out, "</section>");
        page::page(title, &body)
    }

    fn matrix(&self, out: &mut String, rules: &[(&str, &str)]) {
        let subjects = self.subjects.iter().map(|subject| &*subject.name);
        page::matrix_begin(out, "cases and subjects", "case", subjects);
        let mut rule = "";
        for case in self.all_cases() {
            if rule != case.rule() {
                rule = case.rule();
                self.heading(out, rule, rules);
            }
            let (id, title) = (escape(&case.id), escape(&case.title));
            let _ = write!(
                out,
                "<tr {}><th scope=\"row\"><a href=\"#{id}\">{id}</a> {title}</th>",
                self.attributes(case)
            );
            for (at, subject) in self.subjects.iter().enumerate() {
                let _ = write!(out, "<td data-subject=\"{at}\">");
                if let Some(found) = subject.case(&case.id) {
                    let (name, symbol) = (found.status.name(), found.symbol());
                    let _ = write!(out, "<b class=\"{name}\" title=\"{name}\">{symbol}</b>");
                }
                let _ = write!(out, "</td>");
            }
            let _ = writeln!(out, "</tr>");
        }
        page::matrix_end(out);
    }

    /// A row before the cases of a rule that has a name.
    fn heading(&self, out: &mut String, rule: &str, rules: &[(&str, &str)]) {
        let Some((_, name)) = rules.iter().find(|(number, _)| *number == rule) else {
            return;
        };
        let columns = self.subjects.len() + 1;
        let (rule, name) = (escape(rule), escape(name));
        let _ = writeln!(
            out,
            "<tr><th scope=\"rowgroup\" colspan=\"{columns}\">{rule} {name}</th></tr>"
        );
    }

    fn details(&self, out: &mut String, case: &CaseReport) {
        let results = || {
            let subjects = self.subjects.iter().enumerate();
            subjects.filter_map(|(at, subject)| Some((at, subject, subject.case(&case.id)?)))
        };
        let failed = results().any(|(_, _, result)| result.status.is_failure());
        let id = escape(&case.id);
        let _ = writeln!(
            out,
            "<details {}{}><summary><code>{id}</code> {}</summary>\n<ul id=\"{id}\">",
            self.attributes(case),
            if failed { " open=\"\"" } else { "" },
            escape(&case.title),
        );
        for (at, subject, result) in results() {
            let _ = write!(
                out,
                "<li data-subject=\"{at}\"><span class=\"tag {status}\">{status}</span> {}",
                escape(&subject.name),
                status = result.status.name(),
            );
            match &result.message {
                Some(message) if result.status.is_failure() => {
                    let _ = write!(out, "<pre>{}</pre>", escape(message));
                }
                Some(message) => {
                    let _ = write!(out, " <small>{}</small>", marked(message));
                }
                None => {}
            }
            let _ = writeln!(out, "</li>");
        }
        let _ = writeln!(out, "</ul></details>");
    }

    fn attributes(&self, case: &CaseReport) -> String {
        let subjects = self.subjects.iter().enumerate();
        page::attributes(
            subjects.filter_map(|(at, subject)| Some((at, subject.case(&case.id)?.status))),
        )
    }

    /// The cases of all subjects, each once.
    fn all_cases(&self) -> Vec<&CaseReport> {
        let mut all: Vec<&CaseReport> = Vec::new();
        for case in self.subjects.iter().flat_map(|subject| &subject.cases) {
            if all.iter().all(|known| known.id != case.id) {
                all.push(case);
            }
        }
        all
    }
}

impl SubjectReport {
    fn case(&self, id: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// How many cases have each status.
    fn summary(&self) -> String {
        let of = |status: Status| {
            let count = self.cases.iter().filter(|case| case.status == status);
            Some(count.count()).filter(|&count| count > 0)
        };
        let counts = Status::ALL
            .into_iter()
            .filter_map(|status| Some(format!("{} {}", of(status)?, status.name())));
        counts.collect::<Vec<_>>().join(", ")
    }
}
