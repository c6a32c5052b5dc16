//! Telling sync from async code without a parser, if that is clear: [`kind`].
//!
//! Compiling short code costs about as much as running it. Most code with the word is of one of two
//! sorts, which its tokens tell:
//!
//! * **Async**: at top level, an `await` is followed on its line by a name, a number, a text or the
//!   like. In a script these are two operands in a row, which is an error. So if the code compiles
//!   at all, it is async code.
//! * **Sync**: the word occurs only in texts, comments, regular expressions and the bodies of
//!   functions (for arrows without braces, up to the end of their line), or after a dot.
//!
//! `await (x)` at top level may be a call in a script. It is async code if it compiles as such (see
//! `mod.rs`). It does if it is where an expression begins, if it is not assigned to (`await (x).y =
//! 1` is correct only in a script), and if the word is not used as a name elsewhere.
//!
//! `await +x` and `await -x` may be a sum or a difference in a script. The operand is the same in
//! both, and neither the sum nor the await expression can be assigned to. The await expression
//! binds tighter, so it is allowed wherever the sum is, with one exception: it may not be raised to
//! a power (`await +x ** 2`). So this is async code, too, if it compiles as such. It does if it is
//! where an expression begins, if the code contains no power, and if the word is not used as a name
//! elsewhere.
//!
//! The parser decides all other cases: the word as a key of an object, among parameters, or within
//! braces of unknown meaning; a slash that may or may not divide. Code that does not compile may be
//! called either: it is an error both ways.

use super::{Kind, WORD};

/// The parser decides about more deeply nested code, and refuses nearly all of it.
const DEEPEST: usize = 500;

/// `None` in doubt.
pub(super) fn kind(code: &str) -> Option<Kind> {
    // These end a line as well.
    if code.contains(['\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut reader = Reader {
        code: code.as_bytes(),
        at: 0,
        before: Before::Start,
        levels: Vec::new(),
        arrows: 0,
        body: false,
        function: false,
        class: false,
        line_ended: false,
        operand: false,
        closed_either: false,
        power: false,
    };
    let (mut doubt, mut either, mut property) = (false, false, false);
    let (mut signed, mut nested) = (false, false);
    while let Some(found) = reader.next()? {
        // Some words update all levels, so their number must be bounded.
        if reader.levels.len() > DEEPEST {
            return None;
        }
        match found {
            Found::Nothing => {}
            Found::Operator => return Some(Kind::Async),
            Found::Either => either = true,
            Found::Signed => signed = true,
            Found::Property => property = true,
            Found::Nested => nested = true,
            Found::Word => doubt = true,
        }
    }
    either |= signed;
    if doubt || !reader.levels.is_empty() {
        return None;
    }
    if (either && (property || nested)) || (signed && reader.power) {
        return None;
    }
    Some(if either { Kind::Async } else { Kind::Sync })
}

enum Found {
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

/// The context before a token.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Start,
    /// A number, a text, a template, a regular expression, `]`.
    Operand,
    Name,
    /// A word after which a slash may be either.
    Keyword,
    /// `break` or `continue`, which a label may follow.
    Jump,
    Class,
    Extends,
    For,
    /// One of `else`, `do`, `try`, `finally`, `catch`: what follows in braces is a block.
    Block,
    /// One of `if`, `while`, `switch`, `with`: what follows in parentheses is its head.
    Head,
    /// `)`, and the kind of its parentheses.
    Close(Round),
    CloseBrace,
    Dot,
    Arrow,
    Semicolon,
    Colon,
    OpenBrace,
    /// `++` or `--`, before or after its operand.
    Twice,
    /// Another sign, which an operand follows.
    Sign,
}

#[derive(Clone, Copy, PartialEq)]
enum Round {
    Plain,
    /// The head of `if`, `for` and the like.
    Head,
    Parameters,
}

#[derive(Clone, Copy, PartialEq)]
enum Bracket {
    Round(Round),
    Square,
    /// Braces around statements of the surrounding function.
    Block,
    Function,
    /// Braces of an object, or of a pattern that looks like one.
    Object,
    /// Braces of a class, or unknown ones.
    Braces,
    /// `${`.
    Template,
}

struct Level {
    bracket: Bracket,
    // Of the level around it.
    arrows: usize,
    body: bool,
    operand: bool,
    class: bool,
    // Parentheses around an expression in async code, and around arguments in a script.
    group: bool,
    // `++` or `--` stands before it.
    twice: bool,
    // In an object: after the colon, not in a key.
    value: bool,
    // It contains an `Either`. (The parentheses may turn out to be parameters, where `await` is not
    // allowed.)
    either: bool,
}

struct Reader<'a> {
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
    // After `class`, until the braces.
    class: bool,
    // Between the token before and this one.
    line_ended: bool,
    // At this level, the current token belongs to the operand of an `await`: `(x)[y].z`.
    operand: bool,
    // `either` of the level that was just closed.
    closed_either: bool,
    // There is a `**`.
    power: bool,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        // Zero stands for the end; code with a zero does not compile.
        self.code.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token. The outer `None` means doubt, the inner one the end.
    fn next(&mut self) -> Option<Option<Found>> {
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
        }
        let line_ended = std::mem::take(&mut self.line_ended);
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
                // Of `function*`, perhaps.
                self.power |= self.peek(1) == b'*';
                self.at += 1;
                self.before = Before::Sign;
            }
            b':' => {
                self.at += 1;
                self.function = false;
                self.before = Before::Colon;
                // Perhaps of a conditional before the arrow.
                self.body = false;
                self.is_value(true);
            }
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
                if self.closed_either && self.before == Before::Close(Round::Plain) {
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
            (b';', _) => {
                self.arrows = 0;
                self.body = false;
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

    /// If this is an object: a value or a key follows.
    fn is_value(&mut self, value: bool) {
        if let Some(level) = self.levels.last_mut() {
            level.value = value;
        }
    }

    fn open(&mut self, first: u8, line_ended: bool) {
        let outer = self.levels.last().map(|level| level.bracket);
        let in_value = self.levels.last().is_some_and(|level| level.value);
        let is_statement = matches!(outer, None | Some(Bracket::Block | Bracket::Function));
        let bracket = match (first, self.before) {
            (b'(', _) if self.function => Bracket::Round(Round::Parameters),
            (b'(', Before::Head | Before::For | Before::Block) => Bracket::Round(Round::Head),
            (b'(', _) => Bracket::Round(Round::Plain),
            (b'[', _) => Bracket::Square,
            (_, Before::Arrow) => {
                // Ends its own arrow; a surrounding one goes on after the braces.
                self.arrows = self.arrows.saturating_sub(1);
                self.body = false;
                Bracket::Function
            }
            (_, Before::Close(Round::Parameters)) => Bracket::Function,
            (_, Before::Close(Round::Head) | Before::Block) => Bracket::Block,
            (_, Before::Close(Round::Plain)) if outer == Some(Bracket::Object) && !in_value => {
                Bracket::Function
            }
            // Where an operand must follow.
            (_, Before::Sign) if !self.class => Bracket::Object,
            (_, Before::Colon) if outer == Some(Bracket::Object) => Bracket::Object,
            // A method. (On the next line it may be a block behind a call.)
            (_, Before::Close(Round::Plain))
                if outer == Some(Bracket::Braces) && !line_ended && !self.class =>
            {
                Bracket::Function
            }
            (_, Before::Start | Before::Semicolon | Before::OpenBrace) if is_statement => {
                Bracket::Block
            }
            _ => Bracket::Braces,
        };
        self.class &= first != b'{';
        self.push(bracket);
        self.at += 1;
        self.before = match first {
            b'{' => Before::OpenBrace,
            _ => Before::Sign,
        };
    }

    fn push(&mut self, bracket: Bracket) {
        let arrows = std::mem::take(&mut self.arrows);
        let body = std::mem::take(&mut self.body);
        let operand = std::mem::take(&mut self.operand);
        let class = std::mem::take(&mut self.class);
        self.function = false;
        self.levels.push(Level {
            bracket,
            arrows,
            body,
            operand,
            class,
            twice: self.before == Before::Twice,
            group: operand && self.before == Before::Keyword,
            value: false,
            either: false,
        });
    }

    fn close(&mut self, first: u8) -> Option<()> {
        let level = self.levels.pop()?;
        if level.group && self.before == Before::Sign {
            // Nothing, or a comma: arguments.
            return None;
        }
        self.arrows = level.arrows;
        self.body = level.body;
        self.class = level.class;
        // A bracketed expression may be assigned to as well: `(await (x).y) = 1`.
        let may_be_assigned = level.either
            && matches!(
                level.bracket,
                Bracket::Round(Round::Plain) | Bracket::Square | Bracket::Object
            );
        if may_be_assigned && level.twice {
            return None;
        }
        self.operand = level.operand || may_be_assigned;
        self.closed_either = level.either;
        self.function = false;
        self.at += 1;
        self.before = match (first, level.bracket) {
            (b')', Bracket::Round(round)) => Before::Close(round),
            (b']', Bracket::Square) => Before::Operand,
            (b'}', Bracket::Template) => return self.template(),
            (b'}', Bracket::Block | Bracket::Function | Bracket::Object | Bracket::Braces) => {
                Before::CloseBrace
            }
            _ => return None,
        };
        Some(())
    }

    /// Skips a comment, if there is one.
    fn comment(&mut self) -> Option<bool> {
        match self.peek(1) {
            b'/' => {
                let rest = &self.code[self.at..];
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                self.at += end.unwrap_or(rest.len());
            }
            b'*' => {
                let rest = &self.code[self.at + 2..];
                let end = rest.windows(2).position(|pair| pair == b"*/")?;
                self.line_ended |= rest[..end].contains(&b'\n') || rest[..end].contains(&b'\r');
                self.at += end + 4;
            }
            _ => return Some(false),
        }
        Some(true)
    }

    /// Does the operand of an `await` end before this token? In doubt if the whole may be assigned
    /// to.
    fn ends_operand(&self, first: u8) -> Option<bool> {
        let (second, third) = (self.peek(1), self.peek(2));
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

    /// A regular expression or a sign.
    fn slash(&mut self) -> Option<()> {
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

    fn text(&mut self, quote: u8) -> Option<()> {
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
    fn template(&mut self) -> Option<()> {
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

    fn number(&mut self) {
        self.at += 1;
        while self.peek(0).is_ascii_alphanumeric() || matches!(self.peek(0), b'_' | b'.') {
            self.at += 1;
        }
        self.function = false;
        self.before = Before::Operand;
    }

    fn name(&self, from: usize) -> &[u8] {
        let rest = &self.code[from..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let end = rest.iter().position(|byte| !is_part(byte));
        &rest[..end.unwrap_or(rest.len())]
    }

    fn word(&mut self, line_ended: bool) -> Option<Found> {
        let word = self.name(self.at);
        let length = word.len();
        let is_await = word == WORD.as_bytes();
        let is_function = word == b"function";
        let before = match word {
            _ if self.before == Before::Dot => Before::Name,
            // A label, after which a slash on the next line begins a regular expression.
            _ if self.before == Before::Jump && !line_ended => Before::Keyword,
            b"break" | b"continue" => Before::Jump,
            b"class" => Before::Class,
            b"extends" => Before::Extends,
            // Of `for await (`.
            _ if is_await && self.before == Before::For => Before::For,
            b"for" => Before::For,
            b"else" | b"do" | b"try" | b"finally" | b"catch" => Before::Block,
            b"if" | b"while" | b"switch" | b"with" => Before::Head,
            b"async" | b"await" | b"case" | b"const" | b"debugger" | b"default" | b"delete"
            | b"export" | b"false" | b"function" | b"get" | b"import" | b"in" | b"instanceof"
            | b"let" | b"new" | b"null" | b"of" | b"return" | b"set" | b"static" | b"super"
            | b"this" | b"throw" | b"true" | b"typeof" | b"var" | b"void" | b"yield" => {
                Before::Keyword
            }
            _ => Before::Name,
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
        self.class |= before == Before::Class;
        // A function may have a name before its parentheses.
        self.function = is_function || (self.function && !is_await);
        self.body &= !matches!(&self.code[self.at - length..self.at], b"of" | b"in");
        if !is_await || self.is_in_function() {
            return Some(Found::Nothing);
        }
        if self.body || self.levels.iter().any(|level| level.body) {
            return Some(Found::Nested);
        }
        let is_clear = self.arrows == 0
            && self.levels.iter().all(|level| {
                let may_be = match level.bracket {
                    Bracket::Braces | Bracket::Round(Round::Parameters) => false,
                    Bracket::Object => level.value,
                    _ => true,
                };
                level.arrows == 0 && may_be
            });
        Some(match is_clear {
            true if self.has_operand(was) => Found::Operator,
            true if begins_expression(was) => match self.peek(self.spaces()) {
                // Something that can be an operand, or follow a name.
                b'(' | b'[' | b'`' => {
                    self.operand = true;
                    self.note_either();
                    Found::Either
                }
                b'+' | b'-' if self.is_sign() => {
                    self.note_either();
                    Found::Signed
                }
                _ => Found::Word,
            },
            _ => Found::Word,
        })
    }

    fn is_in_function(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.any(|level| level.bracket == Bracket::Function)
    }

    fn spaces(&self) -> usize {
        let rest = self.code[self.at..].iter();
        rest.take_while(|byte| matches!(byte, b' ' | b'\t')).count()
    }

    fn note_either(&mut self) {
        for level in &mut self.levels {
            level.either = true;
        }
    }

    /// The rest of this line begins with a plus or a minus: is that a separate token?
    fn is_sign(&self) -> bool {
        let spaces = self.spaces();
        let (sign, next) = (self.peek(spaces), self.peek(spaces + 1));
        next != sign && next != b'='
    }

    /// Does something follow, on the same line, that cannot follow a name?
    fn has_operand(&self, before: Before) -> bool {
        let spaces = self.spaces();
        match (self.peek(spaces), self.peek(spaces + 1)) {
            (b'(', _) => before == Before::For,
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$', _) => {
                let next = self.name(self.at + spaces);
                let ascii = !matches!(self.peek(spaces + next.len()), b'\\' | 0x80..);
                // Some words do follow a name.
                ascii
                    && !matches!(
                        next,
                        b"in" | b"of" | b"instanceof" | b"extends" | b"as" | b"from"
                    )
            }
            (b'{', _) => !matches!(before, Before::Class | Before::Extends),
            (b'!', second) => second != b'=',
            (b'0'..=b'9' | b'"' | b'\'' | b'~', _) => true,
            _ => false,
        }
    }
}

/// Can an expression begin after this?
fn begins_expression(before: Before) -> bool {
    match before {
        // (One with a name before it, on the same line, is wrong both ways.)
        Before::Operand | Before::Name | Before::Close(_) | Before::CloseBrace => true,
        Before::Start | Before::Semicolon | Before::OpenBrace | Before::Block => true,
        Before::Colon | Before::Sign => true,
        Before::Keyword | Before::Jump | Before::Class | Before::Extends => false,
        Before::For | Before::Head => false,
        Before::Dot | Before::Arrow | Before::Twice => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Parser, Kind, kind};

    #[test]
    fn what_is_clear_takes_no_parser() {
        for code in [
            "await x",
            "let x = await sleep(10).then(() => 20)",
            "const [a] = await f(1), b = 2",
            "for (const x of xs) { if (x) { print(await g(x)) } else { await 'text' } }",
            "f()\nawait g()",
            "print(`a ${await b} c`)",
            "for await (const x of xs) print(x)",
            "a / b; await c / d",
            "x = (1 + 2) / 3; await !y",
            "function f() { return 1 }; await f()",
            "try { await f() } catch (e) { g(e) } finally { h() }",
            "f(async () => { await 1 }); await 2",
            "/[/await]/.test(s); await s",
            "await (1)",
            "await [1]",
            "await `a`",
            "let x = await (f(1)).then(g)[2]`c`\nlet y = 2",
            "x\nawait (1)\n/* a\ncomment */ await (2)\nprint(await (3) + 1, await (4))",
            "if (await (x)) { y } else await (z)",
            "const z = y ? await (x)?.y : await (x) === 1 && await (z) || 2",
            "print(`${await (x)} await`)",
            "async function f() { await (1) } await (2)",
            "await +x",
            "await - 1",
            "let x = y + await -z * 2, [a] = [await +b]",
            "print(await +x)\nif (await -y) { await +1 } else print(`${await -(z)}`)",
            "await + await - await (x)",
            "({ a: await x })",
            "f({ a: g({}), 'b': [{ 1: await (x) }], [c]: await +y })",
            "const o = { x, async m() { await 1 }, y: z ? {} : await (z), ...await (w) }",
            "x = { a: async () => { await 1 }, b: `${await y}` }",
        ] {
            assert_eq!(kind(code), Some(Kind::Async), "{code}");
        }
        for code in [
            "'await x'",
            "/* await */ 1 // await 1",
            "`await ${1} await`",
            "async function f() { await 1 } f()",
            "const g = async () => { for await (const x of y) { await x } }",
            "x.await; x?.await",
            "/await x/.test('await')",
            "function* g(a) { await (1) }",
            "class_.awaits(awaiting, $await)",
            "({ async m() { await 1 }, get x() { return 2 } })",
            "const f = async x => await x, g = x =>\nf(\nawait (y))",
            "({ a: async x => await y, b: async x => [`${await +y}`, await (z)] })",
            "class C { static async *m(x) { if (x) { await (1) } } }",
        ] {
            assert_eq!(kind(code), Some(Kind::Sync), "{code}");
        }
        for code in [
            "await (1).x = 2",
            "(await (x).y) = 1",
            "++(await (x).y)",
            "(await (x).y)++",
            "[await (x).y] = z",
            "[...await (x).y] = z",
            "for ([await (x).y] of z) f()",
            "for ((await (x).y) of z) f()",
            "for (await (x).y\nof z) f()",
            "for (await (x).y\nin z) f()",
            "(await [x]) = 1",
            "({ a: class extends f(x) { [await z]() {} } })",
            "await [1] += 2",
            "await (1)\n++\nx",
            "await (x) ** 2",
            "await (x) ??= 2",
            "new await (x)",
            "for (await (x) of y) {}",
            "for (await [x] in y) {}",
            "await (x); await: y",
            "await (x) => y",
            "((a = await (x)) => a)",
            "await (await (x)) ** 2",
            "await ()",
            "await (x, ...y)",
            "await (x, )",
            "await +x ** 2",
            "2 ** 2; await -x",
            "await ++x",
            "await += 1",
            "await\n+x",
            "new await + x",
            "await + 1; await: y",
            "await - x.await",
            "((a = await + x) => a)",
            "({ a: await (x).y } = z)",
            "[{ a: await (x).y }] = z",
            "for ({ a: await (x).y } of z) f()",
            "({ a: await (x) }) => y",
            "({ a: 1, m(x = await (y)) {} })",
            "({ [await (x)]: 1 })",
            "x => y\nawait z",
            "x ? y => y : await z",
            "const f = async x => x ? () => {} : await g(x)",
            "x => y ? z => {} : await (w)",
            "class X extends await {}",
            "for (;;) { break\n/ await x /.test(s) }",
            "y: for (;;) { continue y\n/ await x /.test(s) }",
            "debugger\n/ await x /.test(s)",
            "async function f() { for await (const x of y) /\"/.test(x) }; await z; /\"}//1",
            "await (x); const f = y => await (z)",
            "({ a: class { x = await y } })",
            "x ? y : { a: await z }",
            "switch (x) { case 1: { await y } }",
            "var await = 3; await",
            "({ await: 1 })",
            "({ await() {} })",
            "class C { x = await y }",
            "class C { async m(x = await y) {} }",
            "y: { f(x)\n{ await z } }",
            "(function (a = await b) {})",
            "if (x) /await 1/.test(y)",
            "await\n1",
            "await != 1",
            "for (await of xs) {}",
            "class await {}",
            "größe = 1; await x",
            "await <!-- 1",
        ] {
            assert_eq!(kind(code), None, "{code}");
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        // Pieces that are rarely correct are rare, so that most programs compile.
        let leaf = prop_oneof![
            12 => prop::sample::select(vec!["x", "1", "f(y)", "[]"]),
            6 => prop::sample::select(vec![
                "'await y'", "`await`", "x.await", "/await 1/", "/[/]await z/g", "/* await */ 2",
                "\"//\"", "({ await: 1 })", "x?.await / 2",
            ]),
            1 => prop::sample::select(vec!["await", "async", "x++", "await / 2"]),
        ];
        leaf.prop_map(str::to_owned)
            .prop_recursive(5, 16, 2, |inner| {
                let one = inner.clone();
                let two = (inner.clone(), inner.clone());
                prop_oneof![
                    12 => one.clone().prop_map(|e| format!("await {e}")),
                    6 => one.clone().prop_map(|e| format!("await ({e})")),
                    6 => one.clone().prop_map(|e| format!("await +{e}")),
                    2 => one.clone().prop_map(|e| format!("await - {e}")),
                    2 => one.clone().prop_map(|e| format!("await [{e}]")),
                    2 => one.clone().prop_map(|e| format!("await `${{{e}}}`")),
                    1 => one.clone().prop_map(|e| format!("{e}.a[0]")),
                    1 => one.clone().prop_map(|e| format!("{e}++")),
                    1 => one.clone().prop_map(|e| format!("new {e}")),
                    1 => one.clone().prop_map(|e| format!("{e} ** 2")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a} = {b}")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a} ||= {b}")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a}\n{b}")),
                    1 => one.clone().prop_map(|e| format!("await {{ a: {e} }}")),
                    4 => two.clone().prop_map(|(a, b)| format!("f({{ a: {a}, 'b': {b} }})")),
                    2 => two.clone().prop_map(|(a, b)| format!(
                        "({{ x, [{a}]: {b}, async m(p = {a}) {{ {b} }}, y: {b} }})"
                    )),
                    1 => one.clone().prop_map(|e| format!("({{ a: {e} }} = x)")),
                    1 => two.clone().prop_map(|(a, b)| format!("(({{ a: x = {a} }}) => {b})")),
                    1 => one.clone().prop_map(|e| format!("!{e}")),
                    1 => one.clone().prop_map(|e| format!("f({e})")),
                    1 => one.clone().prop_map(|e| format!("[...[{e}]]")),
                    1 => one.clone()
                        .prop_map(|e| format!("`a ${{{e}}} await ${{{e}}}`")),
                    1 => one.clone().prop_map(|e| format!("({e})")),
                    6 => one.clone().prop_map(|e| format!("(async () => {e})")),
                    2 => one.clone().prop_map(|e| format!("x => {e}")),
                    1 => two.clone().prop_map(|(a, b)| format!("x ? y => {a} : {b}")),
                    2 => two.clone().prop_map(|(a, b)| format!("x ? () => {{ {a} }} : {b}")),
                    1 => two.clone().prop_map(|(a, b)| format!("async x => x ? y => {{ {a} }} : {b}")),
                    1 => one.clone().prop_map(|e| format!("(class extends {e} {{}})")),
                    6 => one.clone()
                        .prop_map(|e| format!("(async (a = {e}) => {{ return {e} }})")),
                    1 => one.clone().prop_map(|e| format!("((a = {e}) => a)")),
                    6 => one.clone()
                        .prop_map(|e| format!("(async function () {{ {e} }})")),
                    1 => one.clone()
                        .prop_map(|e| format!("(function* (a = {e}) {{ {e} }})")),
                    1 => one.clone().prop_map(|e| format!(
                        "({{ async m() {{ {e} }}, get await() {{ return {e} }} }})"
                    )),
                    3 => two.clone().prop_map(|(a, b)| format!(
                        "({{ async m(x) {{ {a} }}, get x() {{ return {b} }} }})"
                    )),
                    3 => one.clone().prop_map(|e| format!(
                        "(class {{ async m() {{ if (x) {{ {e} }} }} n() {{ return 2 }} }})"
                    )),
                    1 => one.clone().prop_map(|e| format!(
                        "(class {{ x = {e}; static async await() {{ {e} }} }})"
                    )),
                    1 => one.clone().prop_map(|e| format!("({e}).await")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a} / {b}")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a} + {b} / g")),
                    1 => two.clone().prop_map(|(a, b)| format!("({a}) / ({b}) / 2")),
                    1 => two.clone().prop_map(|(a, b)| format!("{a} ? {b} : {a}")),
                    1 => two.prop_map(|(a, b)| format!("{a} in {b}")),
                ]
            })
    }

    fn statement() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            12 => expression().prop_map(|e| format!("{e};")),
            2 => expression().prop_map(|e| format!("{e}\n")),
            2 => expression().prop_map(|e| format!("var y = {e}")),
            2 => expression().prop_map(|e| format!("for await (const v of {e}) {e};")),
            2 => expression().prop_map(|e| format!("for ({e} of y) f();")),
            1 => expression().prop_map(|e| format!("[{e}] = y;")),
            1 => expression().prop_map(|e| format!("(class extends f({e}) {{ [{e}]() {{}} }})")),
            2 => expression().prop_map(|e| format!("for (await of {e}) {e};")),
            2 => expression().prop_map(|e| format!("for (var await in {e}) {e};")),
            2 => expression().prop_map(|e| format!("do {e}\nwhile ({e})")),
            2 => expression().prop_map(|e| format!("// {e}\n")),
            2 => expression().prop_map(|e| format!("/* {e} */")),
            1 => Just("var await = 3".to_owned()),
            1 => Just("await: 1;".to_owned()),
            1 => Just("function await(x) {}".to_owned()),
            1 => Just("class await {}".to_owned()),
            1 => Just("await\nx".to_owned()),
            1 => Just("x\n/await 1/g\n".to_owned()),
            1 => Just("for (;;) { break\n/await 'x/.test(y) }".to_owned()),
            1 => Just("z: for (;;) { continue z\n/await 'x/.test(y) }".to_owned()),
            1 => Just("async function g() { for await (const v of x) /await 'x/.test(v) }".to_owned()),
        ];
        leaf.prop_recursive(2, 4, 2, |inner| {
            let body = prop::collection::vec(inner, 1..3).prop_map(|all| all.join("\n"));
            (body, expression(), 0..9).prop_map(|(body, e, which)| match which {
                0 => format!("{{ {body} }}"),
                1 => format!("if ({e}) {{ {body} }} else {{ {body} }}"),
                2 => format!("for (const v of {e}) {{ {body} }}"),
                3 => format!("async function f(a = {e}) {{ {body} }}"),
                4 => format!("function h() {{ {body} }}"),
                5 => format!("try {{ {body} }} catch {{ {body} }}"),
                6 => format!("switch ({e}) {{ case {e}: {body} }}"),
                7 => format!("var k = async () => {{ {body} }}"),
                _ => format!("if ({e}) /await 1/.test({e});\n{body}"),
            })
        })
    }

    fn agrees(code: &str) -> Result<(), TestCaseError> {
        thread_local! {
            static PARSER: Parser = Parser::default();
        }
        let parsed = PARSER.with(|parser| parser.parse(code));
        let clear = kind(code);
        if let (Some(clear), Ok(parsed)) = (clear, &parsed) {
            prop_assert_eq!(clear, *parsed, "{}", code);
        }
        Ok(())
    }

    proptest! {
        // (More with `PROPTEST_CASES`.)
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(1000),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// A clear result agrees with the parser, if that finds a kind.
        #[test]
        fn it_is_what_the_parser_finds(
            all in prop::collection::vec(statement(), 1..3),
            cut in prop::option::weighted(0.3, any::<(prop::sample::Index, prop::sample::Index)>()),
        ) {
            let mut code = all.join("\n");
            if let Some((from, to)) = cut {
                // Damaged: other tokens, other nesting.
                let mut places = [from.index(code.len()), to.index(code.len())];
                places.sort_unstable();
                code.replace_range(places[0]..places[1].min(places[0] + 5), "");
            }
            agrees(&code)?;
        }

        /// The same for pieces in any order.
        #[test]
        fn it_is_what_the_parser_finds_in_a_heap(pieces in prop::collection::vec(
            prop::sample::select(vec![
                "await ", "await", " ", "\n", "x", "1", "(", ")", "[", "]", "{", "}", "`", "${", "'", "/",
                "/*", "*/", "//", "=>", "async ", "function ", "f", "*", "=", ";", ",", ".", "?.", "...",
                "if (x) ", "for (", "of ", "in ", "class ", "let ", "!", "+", "++", "-->", "<!--",
                "() => ", "() {", "yield ", "new ", "\\", "static ", "get ", ":", "{ a: ", "({ ", "do ", "while (x)",
                "break", "continue x", "extends ", "for await (", "await (x)", "await [x]", "await `x`", "await +x", "await -", "==", "&&", "**", "?",
            ]),
            1..14,
        )) {
            agrees(&pieces.concat())?;
        }
    }
}
