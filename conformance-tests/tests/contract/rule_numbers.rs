//! Rules' numbers in comments and documents, and whether their names stand beside them.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use fourway_conformance::rules;

/// What is about numbers: the contract, and records of cases by their numbers.
const LEFT_OUT: &[&str] = &[
    "target",
    "CONTRACT.md",
    "docs/conformance",
    "docs/BROKEN-RUNTIMES.md",
    "docs/MUTATIONS.md",
    "core/src/contract.rs",
    "conformance-tests/tests",
];

/// The rules of the contract with their names, those about engines, sockets and the like included.
pub(crate) fn names() -> Vec<(&'static str, &'static str)> {
    let title = |line: &'static str| {
        let line = line.strip_prefix("- ").unwrap_or(line);
        let (title, _) = line.strip_prefix("**")?.split_once(".**")?;
        let (number, name) = title.split_once(' ')?;
        is_number(number).then_some((number, name))
    };
    rules::CONTRACT.lines().filter_map(title).collect()
}

/// Where a number stands alone in the project's texts, and how many numbers there are.
pub(crate) fn alone(project: &Path) -> (Vec<String>, usize) {
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut folders = vec![project.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(project).expect("it is inside");
            let name = name.to_string_lossy().replace('\\', "/");
            let last = name.rsplit('/').next().expect("a name");
            if last.starts_with('.') || LEFT_OUT.iter().any(|out| *out == name || *out == last) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let prose = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => comments,
                Some("md") => document,
                _ => continue,
            };
            let text = String::from_utf8_lossy(&fs::read(&path).expect("a text")).into_owned();
            for (line, paragraph) in prose(&text) {
                let (numbers, bare) = in_text(&paragraph);
                seen += numbers;
                let bare = bare.iter();
                found.extend(bare.map(|number| format!("{name}:{line}: {number}")));
            }
        }
    }
    found.sort();
    (found, seen)
}

/// How many rules' numbers a paragraph has, and which of them stand alone.
pub(crate) fn in_text(text: &str) -> (usize, Vec<String>) {
    static NAMES: OnceLock<BTreeMap<&str, &str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| names().into_iter().collect());
    let (mut count, mut bare) = (0, Vec::new());
    for (at, _) in text.match_indices('-') {
        let Some(start) = at.checked_sub(2).filter(|at| text.is_char_boundary(*at)) else {
            continue;
        };
        let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit);
        let end = at + 1 + digits.count();
        let (before, number, after) = (&text[..start], &text[start..end], &text[end..]);
        let Some(name) = names.get(number) else {
            continue;
        };
        let part_of_more = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
            || (after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_digit()));
        if part_of_more {
            continue;
        }
        count += 1;
        if !is_named(before, after, name) {
            bare.push(number.to_owned());
        }
    }
    (count, bare)
}

fn is_named(before: &str, after: &str, name: &str) -> bool {
    let code = before.matches('`').count() % 2 == 1;
    let target = before.ends_with('#') || before.ends_with("][") || before.ends_with("id=\"");
    let definition = before.ends_with('[') && after.starts_with("]: ");
    let rest = after.strip_prefix("**").unwrap_or(after);
    let follows = rest.strip_prefix([',', ':']).unwrap_or(rest);
    let follows = follows.strip_prefix(' ');
    let follows = follows.is_some_and(|rest| rest.starts_with(name));
    let range = |rest: &str| rest.split(' ').next().is_some_and(is_number_like);
    let begins = after.strip_prefix(" to ").is_some_and(range);
    let ends = before.strip_suffix(" to ");
    let ends = ends.is_some_and(|start| start.rsplit([' ', '(']).next().is_some_and(is_number));
    code || target || definition || follows || begins || ends
}

fn is_number(word: &str) -> bool {
    let Some((group, number)) = word.split_once('-') else {
        return false;
    };
    let letters = group.len() == 2 && group.bytes().all(|letter| letter.is_ascii_uppercase());
    letters && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// As [`is_number`], with what ends a sentence behind it.
fn is_number_like(word: &str) -> bool {
    is_number(word.trim_end_matches(|c: char| !c.is_ascii_digit()))
}

/// The paragraphs of comments, with the lines that they begin at. Code in comments is left out.
fn comments(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().map(|line| {
        let at = line.find("//")?;
        let comment = line[at..].trim_start_matches(['/', '!']);
        // What stands behind code is a comment of its own.
        Some((comment, !line[..at].trim().is_empty()))
    });
    paragraphs(lines)
}

fn document(text: &str) -> Vec<(usize, String)> {
    paragraphs(text.lines().map(|line| Some((line, false))))
}

fn paragraphs<'a>(lines: impl Iterator<Item = Option<(&'a str, bool)>>) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let (mut open, mut fenced) = (false, false);
    for (index, line) in lines.enumerate() {
        let Some((line, own)) = line else {
            (open, fenced) = (false, false);
            continue;
        };
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if fenced || line.is_empty() || line.starts_with("```") {
            open = false;
            continue;
        }
        let starts = own || line.starts_with(['*', '|', '#']) || line.starts_with("- ");
        match all.last_mut() {
            Some((_, paragraph)) if open && !starts => {
                paragraph.push(' ');
                paragraph.push_str(line);
            }
            _ => all.push((index + 1, line.to_owned())),
        }
        open = true;
    }
    all
}
