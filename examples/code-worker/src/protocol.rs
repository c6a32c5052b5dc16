//! The protocol: one JSON object a line, in both directions. `PROTOCOL.md` describes it.

use serde::{Deserialize, Serialize};

use crate::{
    detect::Kind,
    error::{CellError, cut},
};

/// The version that [`Reply::Hello`] names. It changes if a client that ignores unknown fields
/// would no longer understand the worker.
pub const VERSION: u32 = 1;

/// Longer lines are refused.
pub const LONGEST_LINE: usize = 1024 * 1024;

/// Longer names of sessions are refused.
pub const LONGEST_NAME: usize = 256;

/// A client's request, with a number of its choice that the replies repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The client's number.
    pub id: u64,
    /// The request.
    #[serde(flatten)]
    pub request: Request,
}

/// The requests of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Which versions can the client speak?
    Hello {
        /// The highest one.
        version: u32,
    },
    /// Runs code in a session, which is opened if there is none of the name.
    Execute {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
        /// The code.
        code: String,
    },
    /// Answers an input request.
    Input {
        /// Which one.
        request: u64,
        /// The text.
        value: String,
    },
    /// Stops the running execution of a session.
    Interrupt {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
        /// Also the executions in line.
        #[serde(default)]
        all: bool,
    },
    /// Is this input complete?
    IsComplete {
        /// The input.
        code: String,
    },
    /// The possible completions at the end of this text.
    Complete {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
        /// The text up to the cursor.
        code: String,
    },
    /// The value of a name, in more depth.
    Inspect {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
        /// A name, or names with dots between.
        name: String,
    },
    /// The client's sessions.
    Status,
    /// Ends a session; the next execution opens a new one.
    Reset {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
    },
    /// Ends the worker; for a socket and the page, the connection.
    Shutdown,
}

impl Request {
    /// The session that the request names.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Execute { session, .. }
            | Self::Interrupt { session, .. }
            | Self::Complete { session, .. }
            | Self::Inspect { session, .. }
            | Self::Reset { session } => Some(session),
            Self::Hello { .. }
            | Self::Input { .. }
            | Self::IsComplete { .. }
            | Self::Status
            | Self::Shutdown => None,
        }
    }

    /// Is it done at once? Other requests parse code, or open a session.
    pub(crate) fn is_short(&self) -> bool {
        match self {
            Self::Hello { .. }
            | Self::Input { .. }
            | Self::Interrupt { .. }
            | Self::Status
            | Self::Reset { .. }
            | Self::Shutdown => true,
            Self::Execute { .. }
            | Self::IsComplete { .. }
            | Self::Complete { .. }
            | Self::Inspect { .. } => false,
        }
    }
}

fn main_session() -> String {
    "main".to_owned()
}

/// A reply, and the number of its request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The client's number; none if a line had none that could be read.
    pub id: Option<u64>,
    /// The reply.
    #[serde(flatten)]
    pub reply: Reply,
}

/// The replies of the worker. Each request has one final reply; `execute` may have others
/// before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// To `hello`.
    Hello {
        /// The version that both speak.
        version: u32,
        /// Who this is.
        worker: String,
    },
    /// Not final: text written by code.
    Output {
        /// `out` or `err`.
        stream: String,
        /// The text.
        text: String,
    },
    /// Not final: code waits for an `input`.
    InputRequest {
        /// The number for the answer.
        request: u64,
        /// The question.
        prompt: String,
    },
    /// The value of an execution.
    Result {
        /// The kind of the code.
        kind: Kind,
        /// As text; none if it is `undefined`.
        value: Option<String>,
    },
    /// An execution, or another request, failed.
    Error(CellError),
    /// To `is_complete`.
    Completeness {
        /// `complete`, `incomplete` or `invalid`.
        status: String,
    },
    /// To `complete`.
    Matches {
        /// Where the replaced part of the text begins, in bytes.
        start: usize,
        /// In order.
        matches: Vec<String>,
    },
    /// To `inspect`.
    Inspected {
        /// The value as text.
        text: String,
    },
    /// To `status`.
    Status {
        /// The client's.
        sessions: Vec<SessionInfo>,
        /// How often code of the worker, of any client, has kept an executor's thread beyond the
        /// [budget](crate::Limits::budget). Workers before this member do not count.
        #[serde(default)]
        overruns: u64,
    },
    /// Done, without a result.
    Ok,
    /// The line was not a request. The connection goes on.
    Bad {
        /// Why.
        message: String,
    },
}

/// A session in the reply to `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// How many executions have their turn.
    pub running: usize,
    /// How many wait for it.
    pub waiting: usize,
    /// How many host functions run without a waiter.
    pub left_behind: usize,
}

impl Reply {
    /// About how many bytes it has, for backpressure.
    pub(crate) fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|text| text.len() + 32).sum();
        64 + match self {
            Self::Output { text, .. } => text.len(),
            Self::Result { value, .. } => value.as_ref().map_or(0, String::len),
            Self::Error(error) => error.weight(),
            Self::InputRequest { prompt, .. } => prompt.len(),
            Self::Matches { matches, .. } => texts(matches),
            Self::Inspected { text } => text.len(),
            Self::Status { sessions, .. } => {
                sessions.iter().map(|info| info.name.len() + 128).sum()
            }
            Self::Bad { message } => message.len(),
            Self::Hello { .. } | Self::Completeness { .. } | Self::Ok => 64,
        }
    }

    /// Does it end its request?
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Output { .. } | Self::InputRequest { .. })
    }
}

impl Answer {
    /// As a line, with its end.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "it does not panic: all texts and numbers can be written as JSON"
    )]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("made of strings and numbers");
        line.push('\n');
        line
    }
}

/// The message of a line, or the reply to a bad line.
///
/// # Errors
///
/// [`Reply::Bad`], with the client's number if there is one.
pub fn parse(line: &[u8]) -> Result<Message, Box<Answer>> {
    // The message may contain a part of the line.
    let bad = |id, message: String| {
        Box::new(Answer {
            id,
            reply: Reply::Bad {
                message: cut(message, 1000),
            },
        })
    };
    let value: serde_json::Value = serde_json::from_slice(line)
        .or_else(|error| match without_halves(line) {
            Some(line) => serde_json::from_slice(&line),
            None => Err(error),
        })
        .map_err(|error| bad(None, format!("the line is no JSON: {error}")))?;
    let id = value.get("id").and_then(serde_json::Value::as_u64);
    serde_json::from_value(value).map_err(|error| bad(id, format!("no request: {error}")))
}

/// The line with U+FFFD in place of each half of a character (`\ud800`), if there is one. Texts of
/// JavaScript may have halves, and so what its `JSON.stringify` gives, but Rust's have none.
fn without_halves(line: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = line.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut mended, mut any, mut at) = (line.to_vec(), false, 0);
    while at < line.len() {
        at += match (line[at], unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                mended[at + 2..at + 6].copy_from_slice(b"fffd");
                any = true;
                6
            }
            // And the escaped byte, which may be a backslash.
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    any.then_some(mended)
}

/// Cuts bytes, as they come, into lines.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    // The line is too long; the rest of it is thrown away.
    skipping: bool,
}

/// A piece of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// A line of more than [`LONGEST_LINE`] bytes was left out.
    TooLong,
}

impl Lines {
    /// Takes bytes, and gives the lines that end among them. Empty ones are left out.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.finish(&mut each);
        }
        self.take(bytes);
    }

    /// The end of the input: the remaining bytes are a line, too.
    pub fn end(&mut self, mut each: impl FnMut(Line)) {
        self.finish(&mut each);
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.skipping || self.line.len() + bytes.len() > LONGEST_LINE {
            self.skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Line)) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            each(Line::TooLong);
        } else if !line.trim_ascii().is_empty() {
            each(Line::Whole(line));
        }
    }
}
