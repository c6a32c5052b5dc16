//! The tables of a document, which show what engines declare and pass: [`check`].

use std::{env, fs, path::Path};

use fourway_jobs_engine::Capability;

use crate::{case::cases, entry::Entry, scene::Scene};

/// Set (to anything) if the tables must be written.
const UPDATE: &str = "FOURWAY_CONFORMANCE_UPDATE";

const PASSES: &str = "✓";
const NOT_FOR_IT: &str = "–";
const NOT_HERE: &str = "○";
const KNOWN_TO_FAIL: &str = "!";

/// Compares the columns of these engines with what is found here, or writes them.
///
/// The run of the cases makes sure that each one that applies passes, or fails if that is known. So the
/// marks are known without a run.
pub(crate) fn check(entries: &[Entry], path: &Path) -> Result<(), String> {
    let shown = path.display();
    let before = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut text = before.clone();
    for entry in entries {
        for (first, rows) in columns(entry) {
            text = with_column(&text, first, entry.name(), &rows)
                .ok_or_else(|| format!("{shown} has no table that begins with `| {first} |`"))?;
        }
    }
    if text == before {
        return Ok(());
    }
    if env::var_os(UPDATE).is_some() {
        return fs::write(path, text).map_err(|error| format!("{shown}: {error}"));
    }
    let differ: Vec<_> = text.lines().filter(|line| !before.contains(line)).collect();
    Err(format!(
        "{shown} does not have what is found here. With the variable {UPDATE} this test writes it:\n{}",
        differ.join("\n")
    ))
}

type Rows = Vec<(String, &'static str)>;

/// The heads of the two tables, and the engine's marks in them.
fn columns(entry: &Entry) -> [(&'static str, Rows); 2] {
    let has = Scene::new(entry).engine.capabilities();
    let declared = Capability::ALL.map(|one| {
        let mark = if has.has(one) { PASSES } else { NOT_FOR_IT };
        (one.name().to_owned(), mark)
    });
    let passed = cases().into_iter().map(|case| {
        let mark = if case.unsupported(has, entry).is_some() {
            NOT_FOR_IT
        } else if case.not_here(entry).is_some() {
            NOT_HERE
        } else if entry.known.iter().any(|known| known.case == case.id) {
            KNOWN_TO_FAIL
        } else {
            PASSES
        };
        (format!("{} {}", case.id, case.title), mark)
    });
    [
        ("capability", declared.to_vec()),
        ("case", passed.collect()),
    ]
}

/// The text with the rows of the table whose head begins so, in this order, and with the engine's column.
/// `None` if there is no such table.
fn with_column(text: &str, first: &str, name: &str, rows: &Rows) -> Option<String> {
    let lines: Vec<_> = text.lines().collect();
    let head = format!("| {first} |");
    let begin = lines.iter().position(|line| line.starts_with(&head))?;
    let is_row = |line: &&&str| line.starts_with('|');
    let end = begin + lines[begin..].iter().take_while(is_row).count();
    let mut names = cells(lines[begin]);
    let known: Vec<_> = lines[begin..end].iter().map(|line| cells(line)).collect();
    let at = names.iter().position(|one| *one == name);
    let at = at.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });

    let line = |cells: &[&str]| format!("| {} |", cells.join(" | "));
    let mut written: Vec<_> = lines[..begin]
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    written.push(line(&names));
    written.push(format!("| --- |{}", " :-: |".repeat(names.len() - 1)));
    for (row, mark) in rows {
        let mut cells = vec![row.as_str()];
        if let Some(there) = known.iter().find(|cells| cells[0] == row) {
            cells.clone_from(there);
        }
        // Of an engine that was not here yet.
        cells.resize(names.len(), "");
        if !(*mark == NOT_HERE && cells[at] == PASSES) {
            cells[at] = mark;
        }
        written.push(line(&cells));
    }
    written.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    Some(written.join("\n") + "\n")
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &'static str)]) -> Rows {
        let rows = rows.iter();
        rows.map(|(row, mark)| ((*row).to_owned(), *mark)).collect()
    }

    #[test]
    fn a_column_is_replaced_and_rows_come_and_go() {
        let text = "Words.\n\n| case | a | b |\n| --- | :-: | :-: |\n| one | ✓ | ✓ |\n\
            | gone | ✓ | ✓ |\n| three | – | ✓ |\n\nMore words.\n";
        let found = rows(&[("one", NOT_FOR_IT), ("two", PASSES), ("three", NOT_HERE)]);
        let written = with_column(text, "case", "b", &found).unwrap();
        // Another machine had the third one.
        assert_eq!(
            written,
            "Words.\n\n| case | a | b |\n| --- | :-: | :-: |\n| one | ✓ | – |\n\
            | two |  | ✓ |\n| three | – | ✓ |\n\nMore words.\n"
        );
        assert_eq!(with_column(&written, "case", "b", &found), Some(written));
        assert_eq!(with_column(text, "capability", "b", &found), None);
    }

    #[test]
    fn an_engine_without_a_column_gets_one() {
        let text = "| case | a |\n| --- | :-: |\n| one | ✓ |\n";
        let written = with_column(text, "case", "new", &rows(&[("one", NOT_HERE)]));
        assert_eq!(
            written.as_deref(),
            Some("| case | a | new |\n| --- | :-: | :-: |\n| one | ✓ | ○ |\n")
        );
    }
}
