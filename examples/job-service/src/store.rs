//! Where the service keeps its jobs, as given on the command line: [`Store`].

use std::{fmt, str::FromStr, sync::Arc};

use fourway_core::AnyRuntime;
use fourway_jobs_engine::Engine;
use fourway_jobs_url::OpenError;

/// `memory:`, or the URL of an engine: `sqlite:PATH`, `postgres://…`, `nats://…`.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Store {
    /// In this process: jobs end with it.
    #[default]
    Memory,
    /// On an engine: jobs go on when the service is started again, and other services that share
    /// it run them as well.
    Kept(String),
}

impl Store {
    /// The engine; `None` for jobs that are kept in memory, which need none.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub async fn open(&self, rt: &AnyRuntime) -> Result<Option<Arc<dyn Engine>>, OpenError> {
        Ok(match self {
            Self::Memory => None,
            Self::Kept(url) => Some(fourway_jobs_url::open(rt, url).await?),
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            // The rest may contain a password.
            Self::Kept(url) => write!(f, "{}:…", url.split(':').next().unwrap_or_default()),
        }
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kept = |scheme: &str| fourway_jobs_url::schemes().contains(&scheme);
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some((scheme, rest)) if scheme != "memory" && kept(scheme) && !rest.is_empty() => {
                Ok(Self::Kept(text.to_owned()))
            }
            _ => Err(
                "give `memory:`, `sqlite:` and the path of a file, or the URL of a server: `postgres://…`, `nats://…`"
                    .into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named() {
        assert_eq!("memory:".parse(), Ok(Store::Memory));
        for url in [
            "sqlite:a/jobs.db",
            "nats://a,b?replicas=3",
            "postgres://u:secret@a/b",
            "postgresql://u:secret@a/b",
        ] {
            let store: Store = url.parse().unwrap();
            assert_eq!(store, Store::Kept(url.to_owned()));
            assert!(!format!("{store:?}").contains("secret"));
        }
        for wrong in ["", "memory", "sqlite", "sqlite:", "memory:x", "mysql:x"] {
            assert!(wrong.parse::<Store>().is_err(), "{wrong}");
        }
    }
}
