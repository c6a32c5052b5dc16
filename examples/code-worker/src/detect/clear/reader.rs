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
    /// `typeof`, `throw`, `of` and the like: an operand follows. (`of` may be a name as well.)
    Prefix,
    /// One of `const`, `let`, `var`.
    Declaration,
    /// `break` or `continue`, which a label may follow.
    Jump,
    Class,
    /// The name of a class, or of the one that it extends. (More may follow: `class extends a.b {}`.)
    ClassName,
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
    /// An expression behind `else` or `do`, or what `catch` has caught.
    AfterBlock,
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
    /// Braces around the members of a class, for certain.
    Class,
    /// Brackets around the key of such a member. It is an expression of the surrounding function.
    Key,
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
    late: bool,
    sum: bool,
    conditionals: usize,
    classes: usize,
    // Parentheses around an expression in async code, and around arguments in a script.
    group: bool,
    // `++` or `--` stands before it.
    twice: bool,
    // A pattern behind `const` or the like.
    declared: bool,
    // In an object: after the colon or the equals sign, not in a key. In a class: after the equals
    // sign, until a semicolon or a method.
    value: bool,
    // It contains an `Either`. (The parentheses may turn out to be parameters, where `await` is not
    // allowed.)
    either: bool,
}

/// The place of the next token.
#[derive(Clone, Copy)]
struct Ahead {
    at: usize,
    /// A line ends before it.
    line_ended: bool,
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

    /// Are there statements at this level?
    fn is_among_statements(&self) -> bool {
        let bracket = self.levels.last().map(|level| level.bracket);
        matches!(bracket, None | Some(Bracket::Block | Bracket::Function))
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

    /// If this is an object or a class: a value or a key follows.
    fn is_value(&mut self, value: bool) {
        if let Some(level) = self.levels.last_mut() {
            level.value = value;
        }
    }

    fn open(&mut self, first: u8, line_ended: bool) {
        let outer = self.levels.last().map(|level| level.bracket);
        let in_value = self.levels.last().is_some_and(|level| level.value);
        let is_statement = self.is_among_statements();
        let bracket = match (first, self.before) {
            (b'(', _) if self.function => Bracket::Round(Round::Parameters),
            (b'(', Before::Head | Before::For) => Bracket::Round(Round::Head),
            (b'(', Before::Block) => Bracket::Round(Round::AfterBlock),
            (b'(', _) => Bracket::Round(Round::Plain),
            // Behind a value they go on with it, also on the next line.
            (b'[', _) if outer == Some(Bracket::Class) && !in_value => Bracket::Key,
            (b'[', _) => Bracket::Square,
            (_, Before::Class | Before::ClassName) => Bracket::Class,
            (_, Before::Arrow) => {
                // Ends its own arrow; a surrounding one goes on after the braces.
                self.arrows = self.arrows.saturating_sub(1);
                self.body = false;
                Bracket::Function
            }
            (_, Before::Close(Round::Parameters)) => Bracket::Function,
            (_, Before::Close(Round::Head | Round::AfterBlock) | Before::Block) => Bracket::Block,
            (_, Before::Close(Round::Plain)) if outer == Some(Bracket::Object) && !in_value => {
                Bracket::Function
            }
            // Where an operand must follow.
            (_, Before::Sign) if self.classes == 0 => Bracket::Object,
            // (Not a block behind the variable `let` or `of`.)
            (_, Before::Prefix | Before::Declaration) if !line_ended && self.classes == 0 => {
                Bracket::Object
            }
            (_, Before::Colon) if outer == Some(Bracket::Object) => Bracket::Object,
            // A method. (On the next line it may be a block behind a call.)
            (_, Before::Close(Round::Plain))
                if self.classes == 0
                    && (outer == Some(Bracket::Class)
                        || outer == Some(Bracket::Braces) && !line_ended) =>
            {
                Bracket::Function
            }
            (_, Before::Start | Before::Semicolon | Before::OpenBrace) if is_statement => {
                Bracket::Block
            }
            // Nothing else can follow a statement.
            (_, Before::CloseBrace) if is_statement && self.classes == 0 => Bracket::Block,
            (_, Before::Operand | Before::Name | Before::Close(Round::Plain) | Before::Twice)
                if is_statement && line_ended && self.classes == 0 =>
            {
                Bracket::Block
            }
            _ => Bracket::Braces,
        };
        // (The braces of `extends {}` and `extends await {}` are not the body.)
        let is_method = self.before == Before::Close(Round::Plain);
        if bracket == Bracket::Function && is_method && outer == Some(Bracket::Class) {
            // The next member has a key.
            self.is_value(false);
        }
        let is_body = match bracket {
            Bracket::Class => true,
            Bracket::Braces => !matches!(self.before, Before::Extends | Before::Keyword),
            _ => false,
        };
        if is_body {
            self.classes = self.classes.saturating_sub(1);
        }
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
        let classes = std::mem::take(&mut self.classes);
        let late = std::mem::take(&mut self.late);
        let sum = std::mem::take(&mut self.sum);
        let conditionals = std::mem::take(&mut self.conditionals);
        self.function = false;
        self.levels.push(Level {
            bracket,
            arrows,
            body,
            operand,
            late,
            sum,
            conditionals,
            classes,
            twice: self.before == Before::Twice,
            group: operand && self.before == Before::Keyword,
            declared: self.before == Before::Declaration,
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
        self.classes = level.classes;
        self.late = level.late;
        self.sum = level.sum;
        self.conditionals = level.conditionals;
        // A bracketed expression may be assigned to as well: `(await (x).y) = 1`.
        let may_be_assigned = level.either
            && !level.declared
            && matches!(
                level.bracket,
                Bracket::Round(Round::Plain | Round::AfterBlock)
                    | Bracket::Square
                    | Bracket::Object
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
            (b']', Bracket::Square | Bracket::Key) => Before::Operand,
            (b'}', Bracket::Template) => return self.template(),
            (
                b'}',
                Bracket::Block
                | Bracket::Function
                | Bracket::Object
                | Bracket::Class
                | Bracket::Braces,
            ) => Before::CloseBrace,
            _ => return None,
        };
        Some(())
    }

    /// Skips a comment, if there is one.
    fn comment(&mut self) -> Option<bool> {
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

    /// Does the operand of an `await` end before this token? In doubt if the whole may be assigned
    /// to.
    fn ends_operand(&self, first: u8) -> Option<bool> {
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
    fn begins_statement(&self, first: u8) -> bool {
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

    /// Does the operand of an `await` and a sign end before this token, for certain? (Between its
    /// other tokens there is no sign but those before it, `**`, dots, and `++` and `--`.)
    fn ends_sum(&self, first: u8) -> bool {
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

    /// Does an `await` here belong to the top level, for certain, if it is an operator?
    fn levels_are_clear(&self) -> bool {
        let mut levels = self.levels.iter().peekable();
        while let Some(level) = levels.next() {
            let inner = levels.peek().map(|level| level.bracket);
            let is_clear = match level.bracket {
                Bracket::Braces | Bracket::Round(Round::Parameters) => false,
                // Methods, their parameters, and values: in async code those are functions of their own.
                Bracket::Class => inner == Some(Bracket::Key),
                // In a key, brackets are around an expression, and parentheses around parameters.
                Bracket::Object => level.value || inner == Some(Bracket::Square),
                _ => true,
            };
            if level.arrows > 0 || !is_clear {
                return false;
            }
        }
        true
    }

    fn is_in_function(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.any(|level| level.bracket == Bracket::Function)
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

/// The length of a comment up to the end of its line.
fn line_comment(code: &[u8]) -> usize {
    let end = code.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.unwrap_or(code.len())
}

/// The length of a comment in `/*` and `*/`, and does it end a line? `None` if it has no end.
fn comment(code: &[u8]) -> Option<(usize, bool)> {
    let inner = &code[2..];
    let end = inner.windows(2).position(|pair| pair == b"*/")?;
    let ends_line = inner[..end].contains(&b'\n') || inner[..end].contains(&b'\r');
    Some((end + 4, ends_line))
}

/// The context after a word.
fn after(word: &[u8]) -> Before {
    match word {
        b"break" | b"continue" => Before::Jump,
        b"class" => Before::Class,
        b"extends" => Before::Extends,
        b"for" => Before::For,
        b"else" | b"do" | b"try" | b"finally" | b"catch" => Before::Block,
        b"if" | b"while" | b"switch" | b"with" => Before::Head,
        b"case" | b"delete" | b"in" | b"instanceof" | b"of" | b"throw" | b"typeof" | b"void" => {
            Before::Prefix
        }
        b"const" | b"let" | b"var" => Before::Declaration,
        b"async" | b"await" | b"debugger" | b"default" | b"enum" | b"export" | b"false"
        | b"function" | b"get" | b"import" | b"new" | b"null" | b"return" | b"set" | b"static"
        | b"super" | b"this" | b"true" | b"yield" => Before::Keyword,
        _ => Before::Name,
    }
}

/// Can an expression begin after this?
fn begins_expression(before: Before) -> bool {
    match before {
        // (One with a name before it, on the same line, is wrong both ways.)
        Before::Operand | Before::Name | Before::ClassName => true,
        Before::Close(_) | Before::CloseBrace => true,
        Before::Start | Before::Semicolon | Before::OpenBrace | Before::Block => true,
        Before::Colon | Before::Sign | Before::Prefix => true,
        Before::Declaration => false,
        Before::Keyword | Before::Jump | Before::Class | Before::Extends => false,
        Before::For | Before::Head => false,
        Before::Dot | Before::Arrow | Before::Twice => false,
    }
}
