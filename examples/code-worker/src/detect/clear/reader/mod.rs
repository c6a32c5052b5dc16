//! Reads code token by token, as far as that is clear: [`Reader`].

mod brackets;
mod context;
mod ends;
mod tokens;
mod words;

use brackets::{Bracket, Level};
use context::{Before, Round};

pub(super) enum Found {
    /// A token that tells nothing.
    Nothing,
    /// An `await` that is an operator at top level, if the code compiles.
    Operator,
    /// An `await` that is an operator in async code, and a function in a script.
    Either,
    /// An `await` before a sign: an operator in async code, and an operand of the sum in a script.
    Signed,
    /// An `await` after a dot. The engine's parser, when it looks ahead in async code, takes a
    /// slash after it as the beginning of a regular expression: such code may be correct only in a
    /// script.
    Property,
    /// An `await` in the body of an arrow. In async code, the engine's parser takes the first word
    /// there as the operator: again, such code may be correct only in a script.
    Nested,
    /// An `await` of unknown meaning.
    Word,
}

pub(super) struct Reader<'a> {
    code: &'a [u8],
    at: usize,
    before: Before,
    levels: Vec<Level>,
    // How many arrows at this level have a body without braces, which may go on.
    arrows: usize,
    // The current token is certainly in such a body.
    body: bool,
    // After `function`, until the parentheses.
    function: bool,
    // How many classes wait for their braces: more than one in `class extends class {} {}`.
    classes: usize,
    // How many `?` at this level wait for their colon. Any other colon between statements is behind
    // a label or a `case`.
    conditionals: usize,
    // Between the token before and this one.
    line_ended: bool,
    // At this level, the current token belongs to the operand of an `await`: `(x)[y].z`.
    operand: bool,
    // That operand stands on the line after its `await`: in a script it begins a statement.
    late: bool,
    // At this level, the current token may belong to the operand of an `await` and a sign.
    sum: bool,
    // `either` of the level that was just closed.
    closed_either: bool,
    // Such an operand is raised to a power.
    power: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(code: &'a str) -> Self {
        Self {
            code: code.as_bytes(),
            at: 0,
            before: Before::Start,
            levels: Vec::new(),
            arrows: 0,
            body: false,
            function: false,
            classes: 0,
            conditionals: 0,
            line_ended: false,
            operand: false,
            late: false,
            sum: false,
            closed_either: false,
            power: false,
        }
    }

    /// How many brackets are open.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Was the operand of an `await` and a sign raised to a power, perhaps?
    pub(super) fn has_power(&self) -> bool {
        self.power
    }

    /// The next token. The outer `None` means doubt, the inner one the end.
    pub(super) fn next(&mut self) -> Option<Option<Found>> {
        let Some(&first) = self.code.get(self.at) else {
            return Some(None);
        };
        if matches!(first, b' ' | b'\t' | b'\n' | b'\r') {
            self.line_ended |= matches!(first, b'\n' | b'\r');
            self.at += 1;
            return Some(Some(Found::Nothing));
        }
        if first == b'/' && self.comment()? {
            return Some(Some(Found::Nothing));
        }
        if self.operand && self.ends_operand(first)? {
            self.operand = false;
            self.late = false;
        }
        if self.sum && self.ends_sum(first) {
            self.sum = false;
        }
        let line_ended = std::mem::take(&mut self.line_ended);
        if line_ended && self.arrows > 0 && self.begins_statement(first) {
            self.arrows = 0;
        }
        // A statement may end with the line, and the arrow with it.
        self.body &= !line_ended || self.before == Before::Arrow;
        match first {
            b'/' => self.slash()?,
            b'"' | b'\'' => self.text(first)?,
            b'`' => {
                self.at += 1;
                self.template()?;
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => return self.word(line_ended).map(Some),
            b'(' | b'[' | b'{' => self.open(first, line_ended),
            b')' | b']' | b'}' => self.close(first)?,
            b'.' | b'?' | b'=' | b'+' | b'-' | b';' | b',' => self.sign(first)?,
            b'<' if self.code[self.at..].starts_with(b"<!--") => return None,
            b'*' => {
                self.power |= self.sum;
                self.at += 1;
                self.before = Before::Sign;
            }
            b':' => self.colon(),
            b'!' | b'%' | b'&' | b'<' | b'>' | b'^' | b'|' | b'~' => {
                self.at += 1;
                self.function = false;
                self.before = Before::Sign;
            }
            // Names with other letters, escapes in names, private names, decorators.
            _ => return None,
        }
        Some(Some(Found::Nothing))
    }

    fn sign(&mut self, first: u8) -> Option<()> {
        let second = self.peek(1);
        self.function = false;
        let (length, before) = match (first, second) {
            (b'=', b'>') => {
                let is_closed =
                    matches!(self.before, Before::Close(Round::Plain | Round::AfterBlock));
                if self.closed_either && is_closed {
                    return None;
                }
                self.arrows += 1;
                self.body = true;
                (2, Before::Arrow)
            }
            (b'.', b'.') => {
                if self.levels.last().is_some_and(|level| level.group) {
                    return None;
                }
                // A spread operand is a value, too.
                self.is_value(true);
                (3, Before::Sign)
            }
            (b'.', _) => (1, Before::Dot),
            (b'?', b'.') if !self.peek(2).is_ascii_digit() => (2, Before::Dot),
            (b'-', b'-') if self.peek(2) == b'>' => return None,
            (b'+', b'+') | (b'-', b'-') => (2, Before::Twice),
            (b'?', b'?') => (2, Before::Sign),
            (b'?', _) => {
                self.conditionals += 1;
                (1, Before::Sign)
            }
            (b'=', _) => {
                // In a pattern, a default follows.
                self.is_value(true);
                (1, Before::Sign)
            }
            (b';', _) => {
                self.arrows = 0;
                self.body = false;
                self.is_value(false);
                (1, Before::Semicolon)
            }
            (b',', _) => {
                self.arrows = 0;
                self.body = false;
                self.is_value(false);
                (1, Before::Sign)
            }
            _ => (1, Before::Sign),
        };
        self.at += length;
        self.before = before;
        Some(())
    }

    fn colon(&mut self) {
        self.at += 1;
        self.function = false;
        // Perhaps of a conditional before the arrow.
        self.body = false;
        let is_statement = self.is_among_statements();
        self.before = if self.conditionals > 0 {
            self.conditionals -= 1;
            Before::Colon
        } else if is_statement {
            // Behind a label or a `case`, a statement begins.
            self.arrows = 0;
            Before::Semicolon
        } else {
            Before::Colon
        };
        self.is_value(true);
    }

    /// If this is an object or a class: a value or a key follows.
    fn is_value(&mut self, value: bool) {
        if let Some(level) = self.levels.last_mut() {
            level.value = value;
        }
    }

    /// Are there statements at this level?
    fn is_among_statements(&self) -> bool {
        let bracket = self.levels.last().map(|level| level.bracket);
        matches!(bracket, None | Some(Bracket::Block | Bracket::Function))
    }

    fn peek(&self, ahead: usize) -> u8 {
        // Zero stands for the end; code with a zero does not compile.
        self.code.get(self.at + ahead).copied().unwrap_or(0)
    }
}
