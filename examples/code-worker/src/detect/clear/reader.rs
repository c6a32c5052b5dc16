//! Reads code token by token, as far as that is clear: [`Reader`].

use super::super::WORD;

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
    case: bool,
    // In an object: after the colon, not in a key.
    value: bool,
    // It contains an `Either`. (The parentheses may turn out to be parameters, where `await` is not
    // allowed.)
    either: bool,
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
    // After `class`, until the braces.
    class: bool,
    // After `case` or `default` in a block, until its colon; not if that is in doubt.
    case: bool,
    // Between the token before and this one.
    line_ended: bool,
    // At this level, the current token belongs to the operand of an `await`: `(x)[y].z`.
    operand: bool,
    // `either` of the level that was just closed.
    closed_either: bool,
    // There is a `**`.
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
            class: false,
            case: false,
            line_ended: false,
            operand: false,
            closed_either: false,
            power: false,
        }
    }

    /// How many brackets are open.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Was there a `**`?
    pub(super) fn has_power(&self) -> bool {
        self.power
    }

    fn peek(&self, ahead: usize) -> u8 {
        // Zero stands for the end; code with a zero does not compile.
        self.code.get(self.at + ahead).copied().unwrap_or(0)
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
                // Perhaps of a conditional before the arrow.
                self.body = false;
                self.is_value(true);
                // A statement begins after `case x:`.
                self.before = match std::mem::take(&mut self.case) {
                    true => Before::Semicolon,
                    false => Before::Colon,
                };
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
                self.case = false;
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
            (b'?', _) => {
                // The next colon may be that of a conditional.
                self.case = false;
                (1, Before::Sign)
            }
            (b';', _) => {
                self.case = false;
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
        let case = std::mem::take(&mut self.case);
        self.function = false;
        self.levels.push(Level {
            bracket,
            arrows,
            body,
            operand,
            class,
            twice: self.before == Before::Twice,
            group: operand && self.before == Before::Keyword,
            case,
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
        self.case = level.case;
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
        let is_case = matches!(&self.code[self.at - length..self.at], b"case" | b"default");
        let in_block = |level: &Level| level.bracket == Bracket::Block;
        self.case |= is_case && self.levels.last().is_some_and(in_block);
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
