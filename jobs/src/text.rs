//! Texts that jobs give and the manager keeps: [`Text`].
//!
//! A snapshot copies them under the store's lock, and a job that has ended keeps them. So a job that
//! tells of megabytes would slow every other caller and fill the memory: each text is cut.

use std::fmt::{self, Write};

/// How many bytes of a text of a job are kept: of a progress [message](crate::JobContext::message),
/// of a [counter](crate::JobContext::count)'s name, and of the text of an error or a panic. Of a
/// longer text its beginning is kept, with `…` behind it.
pub const TEXT_KEPT: usize = 8 * 1024;

/// What a longer text ends with.
const CUT: &str = "…";

/// A text that is being written. What is beyond its end takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Text {
    text: String,
    is_cut: bool,
}

impl Text {
    /// Prints it. Runs the user's `Display`.
    pub(crate) fn of(value: &dyn fmt::Display) -> Result<String, fmt::Error> {
        let mut text = Self::default();
        write!(text, "{value}")?;
        Ok(text.text)
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.is_cut {
            // No error: a `Display` may take one for a reason to panic.
            return Ok(());
        }
        if self.text.len() + part.len() <= TEXT_KEPT {
            self.text.push_str(part);
            return Ok(());
        }
        self.is_cut = true;
        // Room for the mark, by taking back what was written if need be.
        let end = TEXT_KEPT - CUT.len();
        match end.checked_sub(self.text.len()) {
            Some(left) => self.text.push_str(&part[..boundary(part, left)]),
            None => self.text.truncate(boundary(&self.text, end)),
        }
        self.text.push_str(CUT);
        Ok(())
    }
}

/// The text itself, if it is short enough.
pub(crate) fn shortened(text: String) -> String {
    match text.len() {
        ..=TEXT_KEPT => text,
        _ => cut(&text),
    }
}

/// A copy of as much of the text as is kept.
pub(crate) fn cut(text: &str) -> String {
    let mut short = Text::default();
    short.write_str(text).expect("it gives no error");
    short.text
}

/// The last place at or before `at` where no character is cut in two.
fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(all(test, not(fourway_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        for length in [TEXT_KEPT - 1, TEXT_KEPT] {
            let text = "x".repeat(length);
            assert_eq!(shortened(text.clone()), text);
        }
        // Of two bytes and of four, so that the end falls into a character at one of the offsets.
        for character in ["é", "🦀"] {
            for offset in 0..4 {
                let text = "x".repeat(offset) + &character.repeat(TEXT_KEPT);
                let short = shortened(text.clone());
                assert!(short.len() <= TEXT_KEPT && short.len() > TEXT_KEPT - 8);
                let kept = short.strip_suffix(CUT).unwrap();
                assert!(text.starts_with(kept));
            }
        }
    }

    #[test]
    fn a_text_that_is_written_in_parts_is_cut_as_a_whole_one() {
        for part in [1, 7, TEXT_KEPT - 1, TEXT_KEPT] {
            let mut text = Text::default();
            for _ in 0..3 * TEXT_KEPT / part {
                text.write_str(&"x".repeat(part)).unwrap();
            }
            assert_eq!(text.text, cut(&"x".repeat(3 * TEXT_KEPT)));
            assert_eq!(text.text.len(), TEXT_KEPT);
        }
    }
}
