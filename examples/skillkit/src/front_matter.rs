//! The front matter: YAML, with errors in words for its author.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

/// The front matter as it is in the file. Unknown keys are ignored.
#[derive(Deserialize)]
pub(crate) struct FrontMatter {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) description: Option<Spanned<String>>,
    #[serde(rename = "allowed-tools")]
    pub(crate) allowed_tools: Option<Spanned<Tools>>,
}

/// Names of tools: a list, or a text with commas.
pub(crate) struct Tools(pub(crate) Vec<String>);

/// Parses it.
///
/// # Errors
///
/// The line, counted from the YAML's first as 1, and the reason.
pub(crate) fn parse(yaml: &str) -> Result<FrontMatter, (u64, String)> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        (line, reason(error.without_snippet()))
    })
}

/// The parser's messages are for programmers; the file's author wants to know what to write.
/// Without the line, which is counted differently here than in the file.
fn reason(error: &Error) -> String {
    let reason: Cow<'_, str> = match error {
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => "it must be lines such as `name: code-review`".into(),
            "string scalar" | "scalar" => "a text is wanted here".into(),
            "sequence start" => "a list is wanted here".into(),
            _ => "something else is wanted here".into(),
        },
        Error::NullIntoString { .. } => "a text is wanted here, and there is nothing".into(),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("{expected} is wanted here").into()
        }
        Error::MultipleDocuments { .. } => "it is more than one YAML document".into(),
        Error::Eof { .. } => "it ends too early".into(),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is there twice").into()
        }
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "it is too large or too deep".into(),
        // What an alias leads to: most often the limit, at which a document of a few lines that
        // names itself many times over is stopped.
        Error::AliasError { error, .. } => return reason(error.without_snippet()),
        // An error of the YAML itself, not of its fields.
        _ => {
            let words = UserMessageFormatter.format_message(error);
            words.replace("scalar", "text").into()
        }
    };
    let first = reason.lines().next().unwrap_or_default();
    if first.is_empty() {
        return String::from("it is not YAML");
    }
    first.to_owned()
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Tools;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tools, or their names in one text,")
            }

            fn visit_str<E>(self, text: &str) -> Result<Tools, E> {
                let names = text.split(',').map(str::trim);
                let names = names.filter(|name| !name.is_empty());
                Ok(Tools(names.map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tools, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Tools(names))
            }
        }

        deserializer.deserialize_any(Names)
    }
}
