//! One self-contained page: the matrix, and each case below it.
//!
//! Everything can be read without scripts: the details are `<details>`, and radio buttons with CSS
//! choose the shown parts. A script adds a search and a choice of subjects. Light and dark follow
//! the reader's system; on a narrow screen the matrix scrolls in its own box.
//!
//! The page is well-formed XML too, so that a strict parser can test it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{CaseReport, Grade, Report, Status, SubjectReport, again, terminal::summary};
use crate::{Capability, rules};

impl Report {
    /// The HTML page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        let out = &mut page;
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>fourway conformance</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>fourway conformance</h1>"
        );
        self.verdict(out);
        self.subject_cards(out);
        self.filters(out);
        self.matrix(out);
        self.details(out);
        let _ = writeln!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>");
        page
    }

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

    fn filters(&self, out: &mut String) {
        let _ = writeln!(out, "<fieldset class=\"filters\"><legend>show</legend>");
        let ways = [
            ("all", "all cases"),
            ("bad", "what is not a pass"),
            ("failed", "failures"),
        ];
        for (id, text) in ways {
            let checked = if id == "all" { " checked=\"\"" } else { "" };
            let _ = writeln!(
                out,
                "<label><input type=\"radio\" name=\"show\" id=\"show-{id}\"{checked}/> {text}</label>"
            );
        }
        // Shown by the script that serves them.
        let _ = writeln!(
            out,
            "<span id=\"tools\" hidden=\"\"><label>find <input type=\"search\" id=\"find\" \
             placeholder=\"number or words\"/></label>\n<label>subject <select id=\"subject\">\
             <option value=\"\">all</option>"
        );
        for (at, subject) in self.subjects.iter().enumerate() {
            let _ = writeln!(
                out,
                "<option value=\"{at}\">{}</option>",
                escape(&subject.name)
            );
        }
        let _ = writeln!(out, "</select></label></span></fieldset>");
        let _ = write!(out, "<p class=\"meta legend\">");
        for status in Status::ALL {
            let _ = write!(
                out,
                "<span><b class=\"{name}\">{}</b> {name}</span> ",
                status.symbol(),
                name = status.name()
            );
        }
        let _ = writeln!(out, "</p>");
    }

    fn matrix(&self, out: &mut String) {
        let _ = write!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"rules and subjects\">\
             <table>\n<thead><tr><th scope=\"col\">rule</th>"
        );
        for (at, subject) in self.subjects.iter().enumerate() {
            let _ = write!(
                out,
                "<th scope=\"col\" data-subject=\"{at}\">{}</th>",
                escape(&subject.name)
            );
        }
        let _ = writeln!(out, "</tr></thead>\n<tbody>");
        for (rule, cases) in self.rules() {
            let class = self.classes(cases.iter().map(|case| case.id.as_str()));
            let (rule, name) = (escape(&rule), escape(&rules::named(&rule)));
            let _ = write!(
                out,
                "<tr {class}><th scope=\"row\"><a href=\"#{rule}\">{name}</a></th>"
            );
            for (at, subject) in self.subjects.iter().enumerate() {
                let _ = write!(out, "<td data-subject=\"{at}\">");
                cell(out, subject, &cases, &rule);
                let _ = write!(out, "</td>");
            }
            let _ = writeln!(out, "</tr>");
        }
        let _ = writeln!(out, "</tbody>\n</table></div>");
    }

    /// The attributes for filtering cases and rows: the status of any subject as a class, and the
    /// subjects as data.
    fn classes<'a>(&self, ids: impl Iterator<Item = &'a str> + Clone) -> String {
        let of = |wanted: fn(Status) -> bool| {
            let mut found = Vec::new();
            for (at, subject) in self.subjects.iter().enumerate() {
                let mut ids = ids.clone();
                if ids.any(|id| subject.case(id).is_some_and(|case| wanted(case.status))) {
                    found.push(at.to_string());
                }
            }
            found.join(" ")
        };
        let (bad, failed) = (of(|status| status != Status::Pass), of(Status::is_failure));
        let class = match (bad.is_empty(), failed.is_empty()) {
            (true, _) => "good",
            (false, true) => "bad",
            (false, false) => "bad failed",
        };
        format!("class=\"case {class}\" data-bad=\"{bad}\" data-failed=\"{failed}\"")
    }

    fn details(&self, out: &mut String) {
        for (rule, cases) in self.rules() {
            let class = self.classes(cases.iter().map(|case| case.id.as_str()));
            let _ = writeln!(
                out,
                "<section {class}><h2 id=\"{}\">{}</h2>",
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
            self.classes(std::iter::once(case.id.as_str())),
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

/// Escapes text, for an element or an attribute of HTML or XML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(character),
            // Without meaning here, and not allowed in HTML or in XML. The last of them change the
            // direction of the following text.
            '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{fffe}'
            | '\u{ffff}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escapes text, and shows what is between backquotes as code.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        let last = text.matches('`').count() == at;
        if at % 2 == 1 && !last {
            let _ = write!(out, "<code>{}</code>", escape(part));
        } else if at % 2 == 1 {
            // An unclosed backquote.
            let _ = write!(out, "`{}", escape(part));
        } else {
            out += &escape(part);
        }
    }
    out
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d5; --soft: #f5f5f5; --pass: #1b7a34; --fail: #b3261e; --warn: #8a5a00; --mute: #5f5f5f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --line: #3a3d42; --soft: #202327; --pass: #6fcf87; --fail: #ff8a80; --warn: #ffcc66; --mute: #a8a8a8; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 75rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.4rem, 6vw, 2rem); } h2 { margin: 1.5rem 0 .5rem; }
.meta, small { color: var(--mute); font-size: .85rem; }
.verdict { font-weight: bold; }
.cards { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); gap: .5rem; }
.cards li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
.cards p { margin: .25rem 0 0; }
.filters { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 1rem; display: flex; flex-wrap: wrap; gap: .25rem 1rem; min-width: 0; }
#tools { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
#tools[hidden], .hidden { display: none !important; }
input, select { font: inherit; max-width: 100%; }
.legend span { white-space: nowrap; margin-right: .75rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; min-width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tr > th:first-child { position: sticky; left: 0; background: var(--paper); border-right: 1px solid var(--line); }
tbody tr:hover > * { background: var(--soft); }
a { color: inherit; }
td a { text-decoration: none; margin-right: .35rem; } td a:hover { text-decoration: underline; }
.pass { color: var(--pass); } .fail, .timeout, .crashed, .unexpected-pass { color: var(--fail); }
.known-fail, .inconclusive { color: var(--warn); } .unsupported, .none { color: var(--mute); }
.tag { border: 1px solid currentColor; border-radius: .25rem; padding: 0 .35rem; font-size: .85em; white-space: nowrap; }
[id] { scroll-margin-top: 4rem; }
details { border-top: 1px solid var(--line); padding: .35rem 0; }
details ul { padding-left: 1.25rem; } details li { margin: .25rem 0; }
summary { cursor: pointer; }
blockquote { margin: 0 0 .5rem; padding-left: .75rem; border-left: 3px solid var(--line); color: var(--mute); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); background: var(--soft); border-radius: .25rem; padding: .5rem; margin: .35rem 0; font-size: .85rem; }
code { font-size: .9em; }
main:has(#show-bad:checked) .good, main:has(#show-failed:checked) .case:not(.failed) { display: none; }
@media print { .filters { display: none; } }
";

/// Without `<` and `&`, which would end it early for a parser of XML.
const SCRIPT: &str = r#"
(function () {
  "use strict";
  var find = document.getElementById("find"), choice = document.getElementById("subject");
  document.getElementById("tools").hidden = false;
  function all(selector) { return Array.prototype.slice.call(document.querySelectorAll(selector)); }
  function has(list, one) { return one === "" ? list !== "" : list.split(" ").indexOf(one) !== -1; }
  function apply() {
    var subject = choice.value, text = find.value.trim().toLowerCase();
    all("[data-subject]").forEach(function (one) {
      one.classList.toggle("hidden", subject !== "" ? one.dataset.subject !== subject : false);
    });
    all(".case").forEach(function (one) {
      one.classList.toggle("good", !has(one.dataset.bad, subject));
      one.classList.toggle("failed", has(one.dataset.failed, subject));
    });
    all("section").forEach(function (section) {
      var any = false;
      Array.prototype.forEach.call(section.querySelectorAll("details"), function (one) {
        var shown = one.querySelector("summary").textContent.toLowerCase().indexOf(text) !== -1;
        one.classList.toggle("hidden", !shown);
        any = any || shown;
      });
      section.classList.toggle("hidden", !any);
    });
  }
  find.addEventListener("input", apply);
  choice.addEventListener("change", apply);
  apply();
})();
"#;
