//! The error: [`OpenError`].

use std::{error::Error, fmt};

use fourway_jobs_engine::EngineError;

/// No engine was opened.
#[derive(Clone, Debug)]
pub struct OpenError(Why);

#[derive(Clone, Debug)]
enum Why {
    Malformed { url: String, why: String },
    Unknown(String),
    NotCompiled(&'static str),
    Engine(EngineError),
}

impl OpenError {
    /// The URL is invalid or names no engine.
    #[must_use]
    pub fn is_invalid_url(&self) -> bool {
        matches!(self.0, Why::Malformed { .. } | Why::Unknown(_))
    }

    /// The engine is not compiled in.
    #[must_use]
    pub fn is_not_compiled_in(&self) -> bool {
        matches!(self.0, Why::NotCompiled(_))
    }

    /// The engine's own error, such as a server that does not answer.
    #[must_use]
    pub fn engine_error(&self) -> Option<&EngineError> {
        match &self.0 {
            Why::Engine(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn malformed(url: &str, why: impl Into<String>) -> Self {
        Self(Why::Malformed {
            url: without_password(url),
            why: why.into(),
        })
    }

    pub(crate) fn unknown(scheme: &str) -> Self {
        Self(Why::Unknown(scheme.to_owned()))
    }

    pub(crate) fn not_compiled(feature: &'static str) -> Self {
        Self(Why::NotCompiled(feature))
    }

    pub(crate) fn engine(error: EngineError) -> Self {
        Self(Why::Engine(error))
    }
}

/// Errors end up in logs.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Malformed { url, why } => write!(f, "`{url}` names no job engine: {why}"),
            Why::Unknown(scheme) => {
                let known = crate::schemes().join("`, `");
                write!(
                    f,
                    "`{scheme}` is no scheme of a job engine: there are `{known}`"
                )
            }
            Why::NotCompiled(feature) => write!(
                f,
                "this engine is not compiled in: turn on the feature `{feature}` of `fourway-jobs-url`"
            ),
            Why::Engine(error) => error.fmt(f),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Why::Engine(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_compiled_in_names_its_feature() {
        let error = OpenError::not_compiled("postgres");
        assert!(error.is_not_compiled_in());
        assert!(error.to_string().contains("the feature `postgres`"));
    }
}
