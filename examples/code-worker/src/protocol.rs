//! The protocol: one JSON object a line, in both directions. `PROTOCOL.md` describes it.

use serde::{Deserialize, Serialize};

use crate::{
    detect::Kind,
    error::{CellError, cut},
};

/// The version that [`Reply::Hello`] names. It changes if a client that ignores what it does not
/// know would no longer understand the worker.
pub const VERSION: u32 = 1;

/// Longer lines are refused.
pub const LONGEST_LINE: usize = 1024 * 1024;

/// Longer names of sessions are refused.
pub const LONGEST_NAME: usize = 256;

/// What a client asks for, with a number of its own choice that the replies repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The client's number.
    pub id: u64,
    /// What it asks for.
    #[serde(flatten)]
    pub request: Request,
}

/// What a client may ask for.
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
    /// Stops what runs in a session.
    Interrupt {
        /// The session.
        #[serde(default = "main_session")]
        session: String,
        /// Also what waits in line.
        #[serde(default)]
        all: bool,
    },
    /// Is this input whole?
    IsComplete {
        /// The input.
        code: String,
    },
    /// What could stand at the end of this text?
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
    /// The session that it names.
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

    /// Is it done at once? The others parse code, or open a session.
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

/// A reply, and the number of what it replies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The client's number; none if a line had none that could be read.
    pub id: Option<u64>,
    /// The reply.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What the worker replies. Each request has one reply that is final; `execute` may have others
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
    /// Not final: text that code has written.
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
        /// What to ask.
        prompt: String,
    },
    /// The value of an execution.
    Result {
        /// What the code was.
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
        /// Where in the text, in bytes, that begins which each of them replaces.
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
    },
    /// Done, without anything to say.
    Ok,
    /// The line was no request. The connection goes on.
    Bad {
        /// Why.
        message: String,
    },
}

/// A session, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// How many executions have their turn.
    pub running: usize,
    /// How many wait for it.
    pub waiting: usize,
    /// How many host functions are under way that nobody waits for.
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
            Self::Status { sessions } => sessions.iter().map(|info| info.name.len() + 128).sum(),
            Self::Bad { message } => message.len(),
            Self::Hello { .. } | Self::Completeness { .. } | Self::Ok => 64,
        }
    }

    pub(crate) fn is_output(&self) -> bool {
        matches!(self, Self::Output { .. })
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

/// What a line says; or the reply to it.
///
/// # Errors
///
/// [`Reply::Bad`], with the client's number if there is one.
pub fn parse(line: &[u8]) -> Result<Message, Box<Answer>> {
    // The message may have a part of the line.
    let bad = |id, message: String| {
        Box::new(Answer {
            id,
            reply: Reply::Bad {
                message: cut(message, 1000),
            },
        })
    };
    let value: serde_json::Value = serde_json::from_slice(line)
        .map_err(|error| bad(None, format!("the line is no JSON: {error}")))?;
    let id = value.get("id").and_then(serde_json::Value::as_u64);
    serde_json::from_value(value).map_err(|error| bad(id, format!("no request: {error}")))
}

/// Cuts bytes, as they come, into lines.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    // The line is too long; what is left of it is thrown away.
    skipping: bool,
}

/// A piece of what came in.
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

    /// The end: what is there is a line too.
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
