//! Colours for output and for typed code.

use anstyle::{AnsiColor, Style};
use code_worker::KEYWORDS;

pub(crate) const VALUE: Style = AnsiColor::Yellow.on_default();
pub(crate) const ERROR: Style = AnsiColor::Red.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();

const KEYWORD: Style = AnsiColor::Magenta.on_default();
const TEXT: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Cyan.on_default();
const COMMENT: Style = Style::new().dimmed();

/// The same text, with colours. It need not be correct code, and often is not yet.
///
/// It looks only at tokens: a division and the beginning of a regular expression look the same, and
/// neither has a colour.
pub(crate) fn paint(code: &str) -> String {
    let mut painted = String::with_capacity(code.len() * 2);
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let (length, style) = token(rest, first);
        let (token, after) = rest.split_at(length);
        match style {
            Some(style) => {
                painted.push_str(&style.render().to_string());
                painted.push_str(token);
                painted.push_str(&style.render_reset().to_string());
            }
            None => painted.push_str(token),
        }
        rest = after;
    }
    painted
}

/// How long the token is at the beginning of `rest`, in bytes, and how it looks.
fn token(rest: &str, first: char) -> (usize, Option<Style>) {
    let while_ = |part: fn(char) -> bool| rest.find(|c| !part(c)).unwrap_or(rest.len());
    if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), Some(COMMENT))
    } else if let Some(after) = rest.strip_prefix("/*") {
        let end = after.find("*/").map_or(rest.len(), |end| end + 4);
        (end, Some(COMMENT))
    } else if matches!(first, '"' | '\'' | '`') {
        (text(rest, first), Some(TEXT))
    } else if first.is_ascii_digit() {
        (
            while_(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')),
            Some(NUMBER),
        )
    } else if is_name(first) {
        let length = while_(is_name);
        let style = KEYWORDS.contains(&&rest[..length]).then_some(KEYWORD);
        (length, style)
    } else {
        (first.len_utf8(), None)
    }
}

fn text(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::paint;

    /// Without its colours, the text is the typed one, for any input.
    #[test]
    fn nothing_is_lost() {
        for code in [
            "",
            "let x = await f('a\\'b', `c`) // d",
            "/* open",
            "'open",
            "1_000n + 0xFF / größe",
            "'\\",
            "😀 \"☃\"",
            "/",
        ] {
            let stripped = anstream::adapter::strip_str(&paint(code)).to_string();
            assert_eq!(stripped, code);
        }
        assert_ne!(paint("await 1"), "await 1");
    }
}
