use std::{borrow::Borrow, fmt};

/// Fills in a skill's arguments: `$1` to `$9` by position, `$ARGUMENTS` all of them,
/// `$$` a dollar sign. Any other dollar sign stays as it is.
///
/// # Errors
///
/// If positions without an argument are used; the error names all of them.
pub fn substitute(body: &str, arguments: &[impl Borrow<str>]) -> Result<String, MissingArguments> {
    let mut text = String::with_capacity(body.len());
    let mut missing = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("ARGUMENTS") {
            text.push_str(&arguments.join(" "));
            rest = after;
        } else if let Some(digit) = rest.chars().next().filter(|c| ('1'..='9').contains(c)) {
            let position = digit as usize - '0' as usize;
            match arguments.get(position - 1) {
                Some(argument) => text.push_str(argument.borrow()),
                None => missing.push(position),
            }
            rest = &rest[1..];
        } else {
            text.push('$');
        }
    }
    text.push_str(rest);
    if missing.is_empty() {
        return Ok(text);
    }
    missing.sort_unstable();
    missing.dedup();
    Err(MissingArguments {
        positions: missing,
        given: arguments.len(),
    })
}

/// Arguments that a skill uses and was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingArguments {
    /// Their positions, from 1, in order.
    pub positions: Vec<usize>,
    /// How many were given.
    pub given: usize,
}

impl fmt::Display for MissingArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.positions.iter().map(|n| format!("${n}")).collect();
        write!(
            f,
            "{} argument(s) given, but it uses {}",
            self.given,
            names.join(", ")
        )
    }
}

impl std::error::Error for MissingArguments {}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(body: &str, arguments: &[&str]) -> Result<String, Vec<usize>> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        substitute(body, &arguments).map_err(|missing| missing.positions)
    }

    #[test]
    fn positions_all_and_escapes() {
        assert_eq!(with("$1-$2", &["a", "b"]), Ok("a-b".into()));
        assert_eq!(with("[$ARGUMENTS]", &["a", "b"]), Ok("[a b]".into()));
        assert_eq!(
            with("$$1 costs $5.", &["", "", "", "", "x"]),
            Ok("$1 costs x.".into())
        );
        assert_eq!(
            with("$HOME $ $0 é$1é$", &["ü"]),
            Ok("$HOME $ $0 éüé$".into())
        );
    }

    #[test]
    fn all_that_is_missing_is_named_once() {
        assert_eq!(with("$3 $2 $3 $1", &["a"]), Err(vec![2, 3]));
    }

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        assert_eq!(with("$1", &["$2"]), Ok("$2".into()));
    }
}
