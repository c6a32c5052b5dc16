//! The token before: what may follow it.

/// The context before a token.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Before {
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
pub(super) enum Round {
    Plain,
    /// The head of `if`, `for` and the like.
    Head,
    /// An expression behind `else` or `do`, or what `catch` has caught.
    AfterBlock,
    Parameters,
}

/// The context after a word.
pub(super) fn after(word: &[u8]) -> Before {
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
pub(super) fn begins_expression(before: Before) -> bool {
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
