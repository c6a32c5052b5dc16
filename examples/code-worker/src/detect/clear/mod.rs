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
//! `detect`). It does if it is where an expression begins, if it is not assigned to (`await (x).y =
//! 1` is correct only in a script), and if the word is not used as a name elsewhere.
//!
//! `await +x` and `await -x` may be a sum or a difference in a script. The operand is the same in
//! both, and neither the sum nor the await expression can be assigned to. The await expression
//! binds tighter, so it is allowed wherever the sum is, with one exception: it may not be raised to
//! a power (`await +x ** 2`). So this is async code, too, if it compiles as such. It does if it is
//! where an expression begins, if no power follows the operand, and if the word is not used as a
//! name elsewhere.
//!
//! If the operand stands on the next line, the script has a statement that ends with a variable
//! `await`, and another one that begins with the operand. (Within brackets no statement ends, so
//! there it is an error, as on one line.) This is async code if it compiles as such: if the word is
//! not used as a name elsewhere, if the operand begins with a name, a number or a text, and if only
//! calls and members follow, and then the end of the statement. What else may follow can be an error
//! behind an await expression (`= 1`, `++`, `=> 1`, `** 2`, the colon of a label), or in the whole
//! statement (`let x = await`, and on the next line `y, z`, which would have no value; `x ?? await`,
//! and on the next line `y || z`, which needs parentheses).
//!
//! The key of a class's member, in brackets, is an expression of the function around the class. Its value, and
//! the parameters and the body of a method, are functions of their own.
//!
//! The parser decides all other cases: the word as a key of an object, among parameters, or within
//! braces of unknown meaning; a slash that may or may not divide. Code that does not compile may be
//! called either: it is an error both ways.

mod reader;
#[cfg(test)]
mod tests;

use super::Kind;
use reader::{Found, Reader};

/// The parser decides about more deeply nested code, and refuses nearly all of it.
const DEEPEST: usize = 500;

/// `None` in doubt.
pub(super) fn kind(code: &str) -> Option<Kind> {
    // These end a line as well.
    if code.contains(['\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut reader = Reader::new(code);
    let (mut doubt, mut either, mut property) = (false, false, false);
    let (mut signed, mut nested) = (false, false);
    while let Some(found) = reader.next()? {
        // Some words update all levels, so their number must be bounded.
        if reader.depth() > DEEPEST {
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
    if doubt || reader.depth() > 0 {
        return None;
    }
    if (either && (property || nested)) || (signed && reader.has_power()) {
        return None;
    }
    Some(if either { Kind::Async } else { Kind::Sync })
}
