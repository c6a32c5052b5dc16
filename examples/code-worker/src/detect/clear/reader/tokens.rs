//! Tokens whose content does not count: comments, texts, templates, regular expressions, numbers.

use super::{
    Reader,
    brackets::Bracket,
    context::{Before, Round},
};

impl Reader<'_> {
    /// Skips a comment, if there is one.
    pub(super) fn comment(&mut self) -> Option<bool> {
        match self.peek(1) {
            b'/' => self.at += line_comment(&self.code[self.at..]),
            b'*' => {
                let (length, ends_line) = comment(&self.code[self.at..])?;
                self.line_ended |= ends_line;
                self.at += length;
            }
            _ => return Some(false),
        }
        Some(true)
    }

    /// A regular expression or a sign.
    pub(super) fn slash(&mut self) -> Option<()> {
        self.function = false;
        match self.before {
            Before::Operand | Before::Name | Before::Close(Round::Plain) => {
                self.at += 1;
                self.before = Before::Sign;
                Some(())
            }
            Before::Start | Before::Semicolon | Before::Colon | Before::Sign | Before::Arrow => {
                self.pattern()
            }
            _ => None,
        }
    }

    fn pattern(&mut self) -> Option<()> {
        let mut in_class = false;
        loop {
            self.at += 1;
            match self.peek(0) {
                0 | b'\n' | b'\r' => return None,
                b'\\' => self.at += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'/' if !in_class => break,
                _ => {}
            }
        }
        self.at += 1;
        while self.peek(0).is_ascii_alphabetic() {
            self.at += 1;
        }
        self.before = Before::Operand;
        Some(())
    }

    pub(super) fn text(&mut self, quote: u8) -> Option<()> {
        loop {
            self.at += 1;
            match self.peek(0) {
                0 | b'\n' | b'\r' => return None,
                b'\\' => self.at += 1,
                byte if byte == quote => break,
                _ => {}
            }
        }
        self.at += 1;
        self.function = false;
        self.before = Before::Operand;
        Some(())
    }

    /// The rest of a template, up to its end or the next piece of code in it.
    pub(super) fn template(&mut self) -> Option<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (0, _) => return None,
                (b'\\', _) => self.at += 2,
                (b'`', _) => {
                    self.at += 1;
                    self.function = false;
                    self.before = Before::Operand;
                    return Some(());
                }
                (b'$', b'{') => {
                    self.at += 2;
                    self.push(Bracket::Template);
                    self.before = Before::Sign;
                    return Some(());
                }
                _ => self.at += 1,
            }
        }
    }

    pub(super) fn number(&mut self) {
        self.at += 1;
        while self.peek(0).is_ascii_alphanumeric() || matches!(self.peek(0), b'_' | b'.') {
            self.at += 1;
        }
        self.function = false;
        self.before = Before::Operand;
    }

    pub(super) fn name(&self, from: usize) -> &[u8] {
        let rest = &self.code[from..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let end = rest.iter().position(|byte| !is_part(byte));
        &rest[..end.unwrap_or(rest.len())]
    }
}

/// The length of a comment up to the end of its line.
pub(super) fn line_comment(code: &[u8]) -> usize {
    let end = code.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.unwrap_or(code.len())
}

/// The length of a comment in `/*` and `*/`, and does it end a line? `None` if it has no end.
pub(super) fn comment(code: &[u8]) -> Option<(usize, bool)> {
    let inner = &code[2..];
    let end = inner.windows(2).position(|pair| pair == b"*/")?;
    let ends_line = inner[..end].contains(&b'\n') || inner[..end].contains(&b'\r');
    Some((end + 4, ends_line))
}
