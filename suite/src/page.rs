//! The page of a report, for suites that write their own: [`page()`].
//!
//! Everything can be read without scripts: the details are `<details>`, and radio buttons with CSS
//! choose the shown parts. A script adds a search and a choice of subjects. Light and dark follow
//! the reader's system; on a narrow screen the matrix scrolls in its own box.
//!
//! The page is well-formed XML too, so that a strict parser can test it.
//!
//! In its body the class of a part is that of its [status](Status::name). What belongs to one
//! subject has the attribute `data-subject`, its number. A case, and a row of the matrix, has the class `case`
//! and the attributes `data-bad` and `data-failed`, the numbers of the subjects with other statuses than
//! a pass and with failures.

use std::fmt::Write as _;

use crate::status::Status;

/// The whole page. `body` is HTML, the title is text.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// Which parts are shown: by their status, by words, by subject.
pub fn filters<'a>(out: &mut String, subjects: impl Iterator<Item = &'a str>) {
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
    for (at, subject) in subjects.enumerate() {
        let _ = writeln!(out, "<option value=\"{at}\">{}</option>", escape(subject));
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

/// The beginning of a matrix: a column of that name, and one for each subject. Its rows follow, and
/// [`matrix_end`].
pub fn matrix_begin<'a>(
    out: &mut String,
    label: &str,
    first: &str,
    subjects: impl Iterator<Item = &'a str>,
) {
    let (label, first) = (escape(label), escape(first));
    let _ = write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\
         <table>\n<thead><tr><th scope=\"col\">{first}</th>"
    );
    for (at, subject) in subjects.enumerate() {
        let name = escape(subject);
        let _ = write!(out, "<th scope=\"col\" data-subject=\"{at}\">{name}</th>");
    }
    let _ = writeln!(out, "</tr></thead>\n<tbody>");
}

/// The end of a matrix.
pub fn matrix_end(out: &mut String) {
    let _ = writeln!(out, "</tbody>\n</table></div>");
}

/// The attributes by which a case, or a row of the matrix, is shown or not. `found` are the statuses of its
/// cases, each with its subject's number, in the order of subjects.
#[must_use]
pub fn attributes(found: impl Iterator<Item = (usize, Status)>) -> String {
    let (mut bad, mut failed) = (Vec::new(), Vec::new());
    for (at, status) in found {
        if status != Status::Pass {
            bad.push(at.to_string());
        }
        if status.is_failure() {
            failed.push(at.to_string());
        }
    }
    // A row has several cases of one subject.
    bad.dedup();
    failed.dedup();
    let class = match (bad.is_empty(), failed.is_empty()) {
        (true, _) => "good",
        (false, true) => "bad",
        (false, false) => "bad failed",
    };
    let (bad, failed) = (bad.join(" "), failed.join(" "));
    format!("class=\"case {class}\" data-bad=\"{bad}\" data-failed=\"{failed}\"")
}

/// Escapes text, for an element or an attribute of HTML or XML.
#[must_use]
pub fn escape(text: &str) -> String {
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
#[must_use]
pub fn marked(text: &str) -> String {
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
