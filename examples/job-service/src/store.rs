//! Where the service keeps its jobs, as one says on the command line: [`Store`].

use std::{str::FromStr, sync::Arc};

use fourway_core::AnyRuntime;
use fourway_jobs_engine::Engine;
use fourway_jobs_url::OpenError;

/// `memory:`, or the URL of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In this process: jobs end with it.
    #[default]
    Memory,
    /// Elsewhere: jobs go on when the service is started again.
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

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = fourway_jobs_url::schemes();
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some((scheme, rest))
                if scheme != "memory" && known.contains(&scheme) && !rest.is_empty() =>
            {
                Ok(Self::Kept(text.to_owned()))
            }
            _ => Err(
                "give `memory:`, `sqlite:` and the path of a file, `postgres://…` or `nats://…`"
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
            "postgres://host/database",
            "nats://host:4222",
        ] {
            assert_eq!(url.parse(), Ok(Store::Kept(url.to_owned())));
        }
        for wrong in ["", "memory", "sqlite", "sqlite:", "memory:x", "mysql:x"] {
            assert!(wrong.parse::<Store>().is_err(), "{wrong}");
        }
    }
}
