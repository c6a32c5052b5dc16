//! Words, and what an `await` is, by what stands before it and after it.

use super::{
    Found, Reader,
    context::{Before, after, begins_expression},
    tokens::{comment, line_comment},
};
use crate::detect::WORD;

impl Reader<'_> {
    pub(super) fn word(&mut self, line_ended: bool) -> Option<Found> {
        let word = self.name(self.at);
        let length = word.len();
        let is_await = word == WORD.as_bytes();
        let is_function = word == b"function";
        let before = match word {
            _ if self.before == Before::Dot => Before::Name,
            // A label, after which a slash on the next line begins a regular expression.
            _ if self.before == Before::Jump && !line_ended => Before::Keyword,
            // Of `for await (`.
            _ if is_await && self.before == Before::For => Before::For,
            _ => match (self.before, after(word)) {
                (Before::Class | Before::Extends, Before::Name) => Before::ClassName,
                (_, after) => after,
            },
        };
        let was = std::mem::replace(&mut self.before, before);
        self.at += length;
        // A name with another letter or an escape in it.
        if matches!(self.peek(0), b'\\' | 0x80..) {
            return None;
        }
        if was == Before::Dot {
            return Some(match is_await {
                true => Found::Property,
                false => Found::Nothing,
            });
        }
        self.classes += usize::from(before == Before::Class);
        // A function may have a name before its parentheses.
        self.function = is_function || (self.function && !is_await);
        self.body &= !matches!(&self.code[self.at - length..self.at], b"of" | b"in");
        if !is_await || self.is_in_function() {
            return Some(Found::Nothing);
        }
        if self.body || self.levels.iter().any(|level| level.body) {
            return Some(Found::Nested);
        }
        if self.arrows > 0 || !self.levels_are_clear() {
            return Some(Found::Word);
        }
        let Some(next) = self.ahead() else {
            return Some(Found::Word);
        };
        Some(if self.has_operand(next, was) {
            Found::Operator
        } else if begins_expression(was) {
            match self.code.get(next.at) {
                // Something that can be an operand, or follow a name.
                Some(b'(' | b'[' | b'`') => {
                    self.operand = true;
                    self.note_either();
                    Found::Either
                }
                Some(b'+' | b'-') if self.is_sign(next.at) => {
                    self.sum = true;
                    self.note_either();
                    Found::Signed
                }
                _ if next.line_ended && self.is_operand(next.at) => {
                    self.operand = true;
                    self.late = true;
                    self.note_either();
                    Found::Either
                }
                _ => Found::Word,
            }
        } else {
            Found::Word
        })
    }

    /// Where the next token begins. `None` if a comment does not end.
    fn ahead(&self) -> Option<Ahead> {
        let mut ahead = Ahead {
            at: self.at,
            line_ended: false,
        };
        loop {
            let rest = &self.code[ahead.at..];
            ahead.at += match rest {
                [b' ' | b'\t', ..] => 1,
                [b'\n' | b'\r', ..] => {
                    ahead.line_ended = true;
                    1
                }
                [b'/', b'/', ..] => line_comment(rest),
                [b'/', b'*', ..] => {
                    let (length, ends_line) = comment(rest)?;
                    ahead.line_ended |= ends_line;
                    length
                }
                _ => return Some(ahead),
            }
        }
    }

    fn note_either(&mut self) {
        for level in &mut self.levels {
            level.either = true;
        }
    }

    /// At this place is a plus or a minus: is that a separate token?
    fn is_sign(&self, at: usize) -> bool {
        let next = self.code.get(at + 1).copied().unwrap_or(0);
        next != self.code[at] && next != b'='
    }

    /// Does something follow that cannot follow a name?
    fn has_operand(&self, next: Ahead, before: Before) -> bool {
        let byte = |ahead: usize| self.code.get(next.at + ahead).copied().unwrap_or(0);
        if before == Before::For && byte(0) == b'(' {
            return true;
        }
        // There, a script begins a new statement.
        if next.line_ended && self.is_among_statements() {
            return false;
        }
        match byte(0) {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => {
                let word = self.name(next.at);
                // Some words do follow a name.
                self.is_ascii(next.at, word)
                    && !matches!(
                        word,
                        b"in" | b"of" | b"instanceof" | b"extends" | b"as" | b"from"
                    )
            }
            b'{' => !matches!(before, Before::Class | Before::Extends),
            b'!' => byte(1) != b'=',
            b'0'..=b'9' | b'"' | b'\'' | b'~' => true,
            _ => false,
        }
    }

    /// At this place is a name, a number or a text, and no statement but an expression begins.
    fn is_operand(&self, at: usize) -> bool {
        match self.code.get(at) {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => {
                let word = self.name(at);
                self.is_ascii(at, word) && after(word) == Before::Name
            }
            Some(b'0'..=b'9' | b'"' | b'\'') => true,
            _ => false,
        }
    }

    /// Is this the whole name, without another letter or an escape in it?
    fn is_ascii(&self, at: usize, word: &[u8]) -> bool {
        !matches!(self.code.get(at + word.len()), Some(b'\\' | 0x80..))
    }
}

/// The place of the next token.
#[derive(Clone, Copy)]
struct Ahead {
    at: usize,
    /// A line ends before it.
    line_ended: bool,
}
