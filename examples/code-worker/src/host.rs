//! Functions that code may call: each written once, as a [`Call`].
//!
//! Sync code gets the value, and its thread waits for it; async code gets a promise. For both, the
//! body may be async or blocking.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    future::ready,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use fourway::{AnyRuntime, BoxCall, Call, Runtime, Timer};
use serde_json::Value;

use crate::outbox::Outbox;

/// The result of a host function.
pub type Output = Result<Value, String>;

type Make = dyn Fn(&Host, &[Value]) -> BoxCall<Output> + Send + Sync;

/// The context that host functions need from their caller.
#[derive(Clone, Debug)]
pub struct Host {
    /// The runtime.
    pub rt: AnyRuntime,
    /// The client.
    pub outbox: Outbox,
    /// The client's number of the execution.
    pub id: u64,
}

/// Host functions by name.
#[derive(Clone, Default)]
pub struct Functions(BTreeMap<&'static str, Arc<Make>>);

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Functions {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// `sleep(ms)`, `input(prompt)`, `readFile(path)` and `fetchSkill(name)`.
    #[must_use]
    pub fn standard() -> Self {
        Self::none()
            .with("sleep", |host, arguments| {
                let millis = number(arguments, 0);
                let rt = host.rt.clone();
                host.rt
                    .call_with(move || async move {
                        rt.sleep(Duration::from_millis(millis)).await;
                        Ok(Value::Null)
                    })
                    .boxed()
            })
            .with("input", |host, arguments| {
                let prompt = text(arguments, 0).unwrap_or_default();
                if prompt.len() > LONGEST_PROMPT {
                    let error = format!("a prompt has at most {LONGEST_PROMPT} bytes");
                    return host.rt.call_ready(Err(error)).boxed();
                }
                let (outbox, id) = (host.outbox.clone(), host.id);
                host.rt
                    .call_with(move || async move { outbox.ask(id, prompt).await.map(Value::from) })
                    .boxed()
            })
            .with("readFile", |host, arguments| match text(arguments, 0) {
                None => host
                    .rt
                    .call_ready(Err("readFile needs a path".to_owned()))
                    .boxed(),
                // Blocks.
                Some(path) => host
                    .rt
                    .call_blocking(move || {
                        let text = read_file(&path);
                        text.map(Value::from)
                            .map_err(|error| format!("{path}: {error}"))
                    })
                    .boxed(),
            })
            // As from a remote place: the body is async.
            .with("fetchSkill", |host, arguments| {
                let name = text(arguments, 0).unwrap_or_default();
                let rt = host.rt.clone();
                host.rt
                    .call_with(move || async move {
                        rt.sleep(Duration::from_millis(1)).await;
                        let found = SKILLS.iter().find(|(known, _)| *known == name);
                        let (name, about) =
                            found.ok_or_else(|| format!("there is no skill `{name}`"))?;
                        Ok(serde_json::json!({ "name": name, "about": about }))
                    })
                    .boxed()
            })
    }

    /// Adds another function. Its arguments and its result are JSON.
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        make: impl Fn(&Host, &[Value]) -> BoxCall<Output> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(name, Arc::new(make));
        self
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }

    /// A call of one of them. It does nothing before it is used.
    pub(crate) fn call(&self, host: &Host, name: &str, arguments: &str) -> BoxCall<Output> {
        let Some(make) = self.0.get(name) else {
            let error = format!("there is no function `{name}`");
            return host.rt.call(ready(Err(error))).boxed();
        };
        match serde_json::from_str::<Vec<Value>>(&whole(arguments)) {
            Ok(arguments) => make(host, &arguments),
            Err(error) => host
                .rt
                .call(ready(Err(format!("arguments of `{name}`: {error}"))))
                .boxed(),
        }
    }
}

/// Replaces halves of characters, which texts of the engine may contain, and those of Rust may not.
/// The engine writes such a half as an escape, and no others.
fn whole(json: &str) -> Cow<'_, str> {
    const LENGTH: usize = r"\ud800".len();
    if !json.contains(r"\ud") {
        return json.into();
    }
    let mut result = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        // A backslash is never the last character.
        let is_half = rest.starts_with(r"\ud") && rest.len() > LENGTH;
        let (piece, length) = match is_half {
            true => (r"\ufffd", LENGTH),
            // Also an escaped backslash, which begins no other escape.
            false => (&rest[..2], 2),
        };
        result.push_str(piece);
        rest = &rest[length..];
    }
    result.push_str(rest);
    result.into()
}

/// The longest prompt that a client shows.
const LONGEST_PROMPT: usize = 64 * 1024;
/// The limit is needed as the text is in the worker's memory until the engine has it.
const LONGEST_FILE: u64 = 8 * 1024 * 1024;

/// The text of a file. Not of a device or a pipe, which may never end or never begin.
fn read_file(path: &str) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    // The file may grow meanwhile.
    let mut file = fs::File::open(path)?.take(LONGEST_FILE + 1);
    file.read_to_string(&mut text)?;
    if file.limit() == 0 {
        let message = format!("it has more than {LONGEST_FILE} bytes");
        return Err(io::Error::other(message));
    }
    Ok(text)
}

const SKILLS: &[(&str, &str)] = &[
    ("juggling", "keeps three balls in the air"),
    ("knitting", "two needles, and patience"),
    ("whistling", "needs lips"),
];

/// A whole number, not negative; limited to the largest time that the clock can express.
fn number(arguments: &[Value], at: usize) -> u64 {
    let number = arguments.get(at).and_then(Value::as_f64).unwrap_or(0.0);
    // The cast saturates, and makes NaN zero.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "that is what is meant"
    )]
    let whole = number as u64;
    whole.min(1000 * 60 * 60 * 24 * 365)
}

fn text(arguments: &[Value], at: usize) -> Option<String> {
    arguments.get(at).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_replaced() {
        for (json, expected) in [
            (r#"["a", "\n\u0000"]"#, r#"["a", "\n\u0000"]"#),
            (r#"["\ud800"]"#, r#"["\ufffd"]"#),
            (
                r#"{"x\udfff\ud834":"\\ud800"}"#,
                r#"{"x\ufffd\ufffd":"\\ud800"}"#,
            ),
            (r#"["\\\udabc\\"]"#, r#"["\\\ufffd\\"]"#),
        ] {
            assert_eq!(whole(json), expected);
            serde_json::from_str::<Value>(&whole(json)).unwrap();
        }
    }
}
