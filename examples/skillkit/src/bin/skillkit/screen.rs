//! Text for the screen: at most 80 columns wide, and without terminal control sequences.

use std::io::{self, Write};

/// The width of an 80-column terminal.
pub(crate) const COLUMNS: usize = 80;

/// Writes a paragraph, indented, and broken between words.
pub(crate) fn paragraph(out: &mut impl Write, indent: usize, text: &str) -> io::Result<()> {
    let mut column = 0;
    for word in text.split(' ') {
        let word = printable(word);
        let width = word.chars().count();
        if column > 0 && column + 1 + width > COLUMNS {
            writeln!(out)?;
            column = 0;
        }
        if column == 0 {
            write!(out, "{:indent$}{word}", "")?;
            column = indent + width;
        } else {
            write!(out, " {word}")?;
            column += 1 + width;
        }
    }
    writeln!(out)
}

/// Removes control characters: a file's text and its name may move the cursor, or worse.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// As in `1 skill`, `2 skills`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(indent: usize, text: &str) -> String {
        let mut out = Vec::new();
        paragraph(&mut out, indent, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_broken_between_words_alone() {
        let text = written(2, &"word ".repeat(40));
        assert!(text.lines().count() > 2, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert!(line.starts_with("  word"), "{line}");
        }
        let long = "x".repeat(200);
        assert_eq!(
            written(0, &format!("a {long} b")),
            format!("a\n{long}\nb\n")
        );
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_obeys() {
        assert_eq!(written(0, "\u{1b}[2J\ra"), "\\u{1b}[2J\\ra\n");
    }
}
