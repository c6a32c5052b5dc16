//! Why code has no value: [`CellError`].

use std::fmt;

use rquickjs::{Ctx, Value};

/// How much of an error goes to the client, in bytes: the code chooses its texts, which may have
/// any length.
const LONGEST_NAME: usize = 256;
const LONGEST_TEXT: usize = 16 * 1024;

/// The error of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CellError {
    /// The name of the error's class, or of the limit: `TypeError`, `Interrupted`, `TimeLimit`,
    /// `MemoryLimit`, `OutputLimit`, `Closed`, `Lost`; `Thrown` for a value that is no error.
    pub name: String,
    /// Its message.
    pub message: String,
    /// The calls that led there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Box<str>>,
    /// The line of the code, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The line, and below it a caret at the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caret: Option<Box<str>>,
    /// What to do instead, if the worker knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Box<str>>,
}

impl CellError {
    pub(crate) fn new(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// From a thrown value. `file` is the name of the running code, whose lines are reported.
    pub(crate) fn thrown(ctx: &Ctx<'_>, thrown: &Value<'_>, file: &str) -> Self {
        let Some(exception) = thrown.as_exception() else {
            let text = thrown.get::<rquickjs::Coerced<String>>();
            // It may refuse to become a text; an error thrown by that is ignored.
            let text = text.map_or_else(
                |_| {
                    ctx.catch();
                    "a value that has no text".to_owned()
                },
                |text| cut(text.0, LONGEST_TEXT),
            );
            return Self::new("Thrown", text);
        };
        let name = exception
            .as_object()
            .get::<_, String>("name")
            .unwrap_or_else(|_| "Error".to_owned());
        let message = exception.message().unwrap_or_default();
        Self::of(name, message, exception.stack(), file)
    }

    pub(crate) fn of(name: String, message: String, stack: Option<String>, file: &str) -> Self {
        let mut error = Self {
            name: cut(name, LONGEST_NAME),
            message: cut(message, LONGEST_TEXT),
            stack: stack
                .filter(|stack| !stack.trim().is_empty())
                .map(|stack| cut(stack, LONGEST_TEXT).into_boxed_str()),
            ..Self::default()
        };
        if let Some((line, column)) = error.stack.as_deref().and_then(|s| position(s, file)) {
            (error.line, error.column) = (Some(line), Some(column));
        }
        error.hint = hint(&error.message).map(String::into_boxed_str);
        error
    }

    /// The line and the column, for looking into the code.
    fn place(&self) -> Option<(usize, usize)> {
        let number = |n: Option<u32>| usize::try_from(n?).ok();
        Some((number(self.line)?, number(self.column)?))
    }

    /// Its approximate size in bytes.
    pub(crate) fn weight(&self) -> usize {
        let parts = [&self.stack, &self.caret, &self.hint];
        let parts: usize = parts.into_iter().flatten().map(|text| text.len()).sum();
        self.name.len() + self.message.len() + parts
    }

    /// The place in the code, in bytes.
    pub(crate) fn offset(&self, code: &str) -> Option<usize> {
        let (line, column) = self.place()?;
        let start = match line {
            1 => 0,
            _ => code.match_indices('\n').nth(line - 2)?.0 + 1,
        };
        let text = code[start..].split('\n').next()?;
        let within = text.char_indices().nth(column - 1);
        Some(start + within.map_or(text.len(), |(at, _)| at))
    }

    pub(crate) fn with_caret(mut self, code: &str) -> Self {
        let Some((line, column)) = self.place() else {
            return self;
        };
        // The engine names what it met, which is nothing.
        let is_at_the_end = |at: usize| code[at..].trim().is_empty();
        if self.name == "SyntaxError" && self.offset(code).is_some_and(is_at_the_end) {
            let unfinished = "the code ends before it is complete: a bracket, a quote or a comment is \
                              open, or something is missing behind an operator or a keyword";
            self.hint.get_or_insert_with(|| unfinished.into());
        }
        let text = code.split('\n').nth(line - 1);
        // A caret below an empty line, the last of unfinished code, would point at nothing.
        let shown = |text: &&str| text.len() <= LONGEST_TEXT && !text.trim().is_empty();
        if let Some(text) = text.filter(shown) {
            let text = text.trim_end_matches('\r');
            // The text before the caret keeps its tabs, so that both lines have the same width.
            let before = text.chars().take(column - 1);
            let space: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            self.caret = Some(format!("{text}\n{space}^").into());
        }
        self
    }
}

/// At most this many bytes of the text, and then three dots if there were more.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}

/// The first place in the stack that is in `file`.
fn position(stack: &str, file: &str) -> Option<(u32, u32)> {
    let mut rest = stack;
    while let Some(at) = rest.find(file) {
        rest = &rest[at + file.len()..];
        let Some(numbers) = rest.strip_prefix(':') else {
            continue;
        };
        let mut numbers = numbers.splitn(2, ':');
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            text[..end.unwrap_or(text.len())]
                .parse()
                .ok()
                .filter(|n| *n > 0)
        };
        if let (Some(line), column) = (numbers.next().and_then(digits), numbers.next()) {
            return Some((line, column.and_then(digits).unwrap_or(1)));
        }
    }
    None
}

fn hint(message: &str) -> Option<String> {
    let quoted = || {
        message
            .split('\'')
            .nth(1)
            .or_else(|| message.split(' ').next())
    };
    if message.starts_with("redeclaration of") {
        let name = quoted()?;
        Some(format!(
            "`{name}` exists already: assign to it without a declaration, take another name, or \
             reset the session"
        ))
    } else if message.ends_with("is not initialized") {
        let name = quoted()?;
        Some(format!(
            "if the declaration of `{name}` has failed, the name is lost for this session: take \
             another one, or reset the session"
        ))
    } else {
        None
    }
}

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, " (line {line}, column {column})")?;
        }
        if let Some(caret) = &self.caret {
            write!(f, "\n{caret}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CellError {}
