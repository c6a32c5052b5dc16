//! Brackets, and what each kind of them says of an `await` in it.

use super::{
    Reader,
    context::{Before, Round},
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Bracket {
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

pub(super) struct Level {
    pub(super) bracket: Bracket,
    // Of the level around it.
    pub(super) arrows: usize,
    pub(super) body: bool,
    pub(super) operand: bool,
    pub(super) late: bool,
    pub(super) sum: bool,
    pub(super) conditionals: usize,
    pub(super) classes: usize,
    // Parentheses around an expression in async code, and around arguments in a script.
    pub(super) group: bool,
    // `++` or `--` stands before it.
    pub(super) twice: bool,
    // A pattern behind `const` or the like.
    pub(super) declared: bool,
    // In an object: after the colon or the equals sign, not in a key. In a class: after the equals
    // sign, until a semicolon or a method.
    pub(super) value: bool,
    // It contains an `Either`. (The parentheses may turn out to be parameters, where `await` is not
    // allowed.)
    pub(super) either: bool,
}

impl Reader<'_> {
    pub(super) fn open(&mut self, first: u8, line_ended: bool) {
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

    pub(super) fn push(&mut self, bracket: Bracket) {
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

    pub(super) fn close(&mut self, first: u8) -> Option<()> {
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

    /// Does an `await` here belong to the top level, for certain, if it is an operator?
    pub(super) fn levels_are_clear(&self) -> bool {
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

    pub(super) fn is_in_function(&self) -> bool {
        let mut levels = self.levels.iter();
        levels.any(|level| level.bracket == Bracket::Function)
    }
}
