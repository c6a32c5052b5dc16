//! One self-contained page: the matrix, and each case below it.
//!
//! Everything can be read without scripts: the details are `<details>`, the
//! filters are radio buttons that CSS looks at. Light and dark follow the
//! reader's system; on a narrow screen the matrix scrolls in its own box.

use std::fmt::Write;

use super::{Grade, Report, Status, terminal::summary};

impl Report {
    /// The HTML page. `rule_text` gives the words of a rule, for the details.
    #[must_use]
    pub fn to_html(&self, rule_text: impl Fn(&str) -> Option<String>) -> String {
        let mut page = String::new();
        let out = &mut page;
        // Writing into a string does not fail.
        let _ = writeln!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>fourway conformance</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>fourway conformance</h1>\n<p class=\"meta\">suite {}, on {} {}, {} threads, seed {}</p>",
            escape(&self.suite_version),
            escape(&self.host.os),
            escape(&self.host.arch),
            self.host.parallelism,
            self.seed,
        );
        self.subject_cards(out);
        self.filters(out);
        self.matrix(out);
        self.details(out, rule_text);
        let _ = writeln!(out, "</main>\n</body>\n</html>");
        page
    }

    fn subject_cards(&self, out: &mut String) {
        let _ = writeln!(out, "<ul class=\"cards\">");
        for subject in &self.subjects {
            let (grade, class) = match subject.grade() {
                Grade::Extended => ("core + extended", "pass"),
                Grade::Core => ("core", "pass"),
                Grade::None => ("not conformant", "fail"),
            };
            let version = subject.version.as_deref().unwrap_or_default();
            let _ = writeln!(
                out,
                "<li><strong>{}</strong> {} <span class=\"tag {class}\">{grade}</span><br><small>{}</small></li>",
                escape(&subject.name),
                escape(version),
                escape(&summary(subject)),
            );
        }
        let _ = writeln!(out, "</ul>");
    }

    fn filters(&self, out: &mut String) {
        let _ = writeln!(out, "<fieldset class=\"filters\"><legend>show</legend>");
        for (id, text) in [("all", "all cases"), ("bad", "only what is not a pass")] {
            let checked = if id == "all" { " checked" } else { "" };
            let _ = writeln!(
                out,
                "<label><input type=\"radio\" name=\"show\" id=\"show-{id}\"{checked}> {text}</label>"
            );
        }
        let _ = writeln!(out, "</fieldset>");
    }

    fn matrix(&self, out: &mut String) {
        let _ = write!(
            out,
            "<div class=\"scroll\"><table>\n<thead><tr><th>rule</th>"
        );
        for subject in &self.subjects {
            let _ = write!(out, "<th>{}</th>", escape(&subject.name));
        }
        let _ = writeln!(out, "</tr></thead>\n<tbody>");
        for (rule, cases) in self.rules() {
            let all_pass = self
                .subjects
                .iter()
                .flat_map(|subject| &subject.cases)
                .filter(|case| case.rule() == rule)
                .all(|case| case.status == Status::Pass);
            let class = if all_pass { "good" } else { "bad" };
            let rule = escape(&rule);
            let _ = write!(
                out,
                "<tr class=\"{class}\"><th><a href=\"#{rule}\">{rule}</a></th>"
            );
            for subject in &self.subjects {
                let _ = write!(out, "<td>");
                for known in &cases {
                    let case = subject.cases.iter().find(|case| case.id == known.id);
                    let (status, symbol) = case.map_or(("none", ' '), |case| {
                        (case.status.name(), case.status.symbol())
                    });
                    let _ = write!(
                        out,
                        "<a class=\"dot {status}\" href=\"#{id}\" title=\"{id}: {status}\">{symbol}</a>",
                        id = escape(&known.id),
                    );
                }
                let _ = write!(out, "</td>");
            }
            let _ = writeln!(out, "</tr>");
        }
        let _ = writeln!(out, "</tbody>\n</table></div>");
    }

    fn details(&self, out: &mut String, rule_text: impl Fn(&str) -> Option<String>) {
        for (rule, cases) in self.rules() {
            let _ = writeln!(out, "<section id=\"{0}\"><h2>{0}</h2>", escape(&rule));
            if let Some(text) = rule_text(&rule) {
                let _ = writeln!(out, "<blockquote>{}</blockquote>", escape(&text));
            }
            for case in cases {
                let results: Vec<_> = self
                    .subjects
                    .iter()
                    .filter_map(|subject| {
                        let mut cases = subject.cases.iter();
                        Some((subject, cases.find(|found| found.id == case.id)?))
                    })
                    .collect();
                let bad = results
                    .iter()
                    .any(|(_, result)| result.status != Status::Pass);
                let failed = results.iter().any(|(_, result)| result.status.is_failure());
                let _ = writeln!(
                    out,
                    "<details id=\"{id}\" class=\"{}\"{}><summary><code>{id}</code> {}</summary>\n\
                     <p>Why it matters: {}</p>\n<ul>",
                    if bad { "bad" } else { "good" },
                    if failed { " open" } else { "" },
                    escape(&case.title),
                    escape(&case.why),
                    id = escape(&case.id),
                );
                for (subject, result) in results {
                    let _ = write!(
                        out,
                        "<li><span class=\"tag {status}\">{status}</span> {}",
                        escape(&subject.name),
                        status = result.status.name(),
                    );
                    if let Some(message) = &result.message {
                        let _ = write!(out, "<pre>{}</pre>", escape(message));
                    }
                    if result.status.is_failure() {
                        let _ = write!(
                            out,
                            "<p>Again: <code>cargo test --test conformance -- --exact {}::{}</code></p>",
                            escape(&subject.name),
                            escape(&case.id),
                        );
                    }
                    let _ = writeln!(out, "</li>");
                }
                let _ = writeln!(out, "</ul></details>");
            }
            let _ = writeln!(out, "</section>");
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in HTML, and without a meaning here.
            '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d5; --pass: #1b7a34; --fail: #b3261e; --warn: #8a5a00; --mute: #666; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --line: #3a3d42; --pass: #6fcf87; --fail: #ff8a80; --warn: #ffcc66; --mute: #a0a0a0; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 70rem; margin: 0 auto; padding: 1rem; }
.meta, small { color: var(--mute); }
.cards { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .5rem; }
.cards li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
.filters { border: 1px solid var(--line); border-radius: .5rem; margin-bottom: 1rem; }
.filters label { margin-right: 1rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
thead th, tbody th { background: var(--paper); }
tbody th { position: sticky; left: 0; }
a { color: inherit; }
.dot { display: inline-block; width: 1.4rem; text-align: center; text-decoration: none; font-weight: bold; }
.pass { color: var(--pass); } .fail, .timeout, .crashed, .unexpected-pass { color: var(--fail); }
.known-fail, .inconclusive { color: var(--warn); } .unsupported, .none { color: var(--mute); }
.tag { border: 1px solid currentColor; border-radius: .25rem; padding: 0 .35rem; font-size: .85em; }
details { border-top: 1px solid var(--line); padding: .35rem 0; }
summary { cursor: pointer; }
blockquote { margin: 0 0 .5rem; padding-left: .75rem; border-left: 3px solid var(--line); color: var(--mute); }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: .25rem; padding: .5rem; }
code { overflow-wrap: anywhere; }
main:has(#show-bad:checked) .good { display: none; }
";
