//! Where the operand of an `await` ends.

use super::{
    Reader,
    context::{Before, Round},
};

impl Reader<'_> {
    /// Does the operand of an `await` end before this token? In doubt if the whole may be assigned
    /// to.
    pub(super) fn ends_operand(&self, first: u8) -> Option<bool> {
        let (second, third) = (self.peek(1), self.peek(2));
        if self.late {
            return self.ends_late_operand(first);
        }
        match (first, second) {
            (b'(' | b'[' | b'`', _) => Some(false),
            (b'?', b'.') if !third.is_ascii_digit() => Some(false),
            (b'.', _) if second != b'.' && !second.is_ascii_digit() => Some(false),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$', _) if self.before == Before::Dot => {
                Some(false)
            }
            (b';' | b',' | b')' | b']' | b'}' | b':', _) => Some(true),
            // A statement of its own.
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'0'..=b'9' | b'"' | b'\'', _) => {
                // (Of the head of a `for`.)
                let goes_on = matches!(self.name(self.at), b"of" | b"in");
                (self.line_ended && !goes_on).then_some(true)
            }
            (b'&', b'&') | (b'|', b'|') | (b'?', b'?') => (third != b'=').then_some(true),
            (b'=' | b'!', b'=') => Some(true),
            (b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'?', _) => {
                (second != b'=' && second != first).then_some(true)
            }
            _ => None,
        }
    }

    /// The same for an operand that begins a statement in a script. Behind it, a comma or `||` may
    /// be allowed only there: `let x = await\ny, z` and `x ?? await\ny || z`.
    fn ends_late_operand(&self, first: u8) -> Option<bool> {
        let second = self.peek(1);
        match first {
            // The first token of it.
            _ if self.before == Before::Keyword => Some(false),
            b'(' | b'[' | b'`' => Some(false),
            b'.' if second != b'.' && !second.is_ascii_digit() => Some(false),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' if self.before == Before::Dot => Some(false),
            b';' | b'}' => Some(true),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'0'..=b'9' | b'"' | b'\'' => {
                let goes_on = matches!(self.name(self.at), b"of" | b"in" | b"instanceof");
                (self.line_ended && !goes_on).then_some(true)
            }
            _ => None,
        }
    }

    /// Does a statement begin with this token, for certain, which is the first one of its line? It
    /// does between statements if the token cannot go on behind the operand before it.
    pub(super) fn begins_statement(&self, first: u8) -> bool {
        let may_begin = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => {
                !matches!(self.name(self.at), b"of" | b"in" | b"instanceof")
            }
            b'0'..=b'9' | b'"' | b'\'' | b'{' => true,
            _ => false,
        };
        // (Behind the name of a class, or what it extends, the class goes on in the next line.)
        may_begin && self.classes == 0 && self.is_behind_operand() && self.is_among_statements()
    }

    /// Does the operand of an `await` and a sign end before this token, for certain? (Between its
    /// other tokens there is no sign but those before it, `**`, dots, and `++` and `--`.)
    pub(super) fn ends_sum(&self, first: u8) -> bool {
        let second = self.peek(1);
        let is_behind_operand = self.is_behind_operand();
        match first {
            b';' | b',' | b':' => true,
            b'*' => is_behind_operand && second != b'*',
            b'+' | b'-' => is_behind_operand && second != first,
            b'?' => is_behind_operand && second != b'.',
            b'/' | b'%' | b'&' | b'|' | b'^' | b'<' | b'>' | b'=' => is_behind_operand,
            // A statement of its own, and not the `extends` of a class.
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'0'..=b'9' | b'"' | b'\'' => {
                is_behind_operand && self.line_ended && self.classes == 0
            }
            _ => false,
        }
    }

    fn is_behind_operand(&self) -> bool {
        matches!(
            self.before,
            Before::Operand
                | Before::Name
                | Before::ClassName
                | Before::Close(Round::Plain)
                | Before::CloseBrace
        )
    }
}
