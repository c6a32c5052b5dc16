#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod error;
mod parts;

use std::sync::Arc;

use fourway_core::{AnyRuntime, BoxCall, Call, Runtime};
use fourway_jobs_engine::{Engine, EngineError, MemoryEngine};

pub use error::OpenError;
use parts::Parts;

/// The engine that a URL names.
///
/// # Errors
///
/// If the URL names no engine, or one that is not compiled in; otherwise the engine's errors.
pub fn open<R: Runtime>(runtime: &R, url: &str) -> BoxCall<Result<Arc<dyn Engine>, OpenError>> {
    let runtime = AnyRuntime::new(runtime.clone());
    let url = url.to_owned();
    let on = runtime.clone();
    on.call_with(async move || choose(&runtime, &url).await)
        .boxed()
}

/// The schemes of the engines that are compiled in.
#[must_use]
pub fn schemes() -> Vec<&'static str> {
    let all = [
        ("memory", true),
        ("sqlite", cfg!(feature = "sqlite")),
        ("postgres", cfg!(feature = "postgres")),
        ("postgresql", cfg!(feature = "postgres")),
        ("nats", cfg!(feature = "nats")),
    ];
    let there = all.into_iter().filter(|(_, there)| *there);
    there.map(|(scheme, _)| scheme).collect()
}

async fn choose(runtime: &AnyRuntime, url: &str) -> Result<Arc<dyn Engine>, OpenError> {
    let parts = Parts::of(url)?;
    match parts.scheme {
        "memory" => {
            if parts.rest.is_empty() && parts.others.is_empty() && !parts.relaxed {
                return engine(Ok(MemoryEngine::new(runtime)));
            }
            Err(OpenError::malformed(url, "`memory:` has nothing behind it"))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite(runtime, url, &parts).await,
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres(runtime, &parts).await,
        #[cfg(feature = "nats")]
        "nats" => nats(runtime, url, &parts).await,
        other => Err(match feature_of(other) {
            Some(feature) => OpenError::not_compiled(feature),
            None => OpenError::unknown(other),
        }),
    }
}

/// The feature that a scheme needs.
fn feature_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "sqlite" => Some("sqlite"),
        "postgres" | "postgresql" => Some("postgres"),
        "nats" => Some("nats"),
        _ => None,
    }
}

#[cfg(feature = "sqlite")]
async fn sqlite(
    runtime: &AnyRuntime,
    url: &str,
    parts: &Parts<'_>,
) -> Result<Arc<dyn Engine>, OpenError> {
    use fourway_jobs_sqlite::SqliteEngine;

    // As others write it: with an empty host.
    let path = parts.rest.strip_prefix("//").unwrap_or(parts.rest);
    if path.is_empty() {
        return Err(OpenError::malformed(url, "it lacks the path of a file"));
    }
    if let Some(other) = parts.others.first() {
        let why = format!("`{other}` is no parameter of SQLite's: there is `relaxed`");
        return Err(OpenError::malformed(url, why));
    }
    let open = SqliteEngine::builder(runtime, path).relaxed(parts.relaxed);
    engine(open.open().await)
}

#[cfg(feature = "postgres")]
async fn postgres(runtime: &AnyRuntime, parts: &Parts<'_>) -> Result<Arc<dyn Engine>, OpenError> {
    use fourway_jobs_postgres::PostgresEngine;

    let open = PostgresEngine::builder(runtime, parts.without_relaxed()).relaxed(parts.relaxed);
    engine(open.open().await)
}

#[cfg(feature = "nats")]
async fn nats(
    runtime: &AnyRuntime,
    url: &str,
    parts: &Parts<'_>,
) -> Result<Arc<dyn Engine>, OpenError> {
    use fourway_jobs_nats::NatsEngine;

    if parts.relaxed {
        let why = "`relaxed` is for engines that wait for a disk; a NATS server says itself how it writes";
        return Err(OpenError::malformed(url, why));
    }
    let mut open = NatsEngine::builder(runtime, format!("nats:{}", parts.rest));
    for other in &parts.others {
        open = match other.split_once('=') {
            Some(("prefix", prefix)) => open.prefix(prefix),
            Some(("replicas", replicas)) => match replicas.parse() {
                Ok(replicas) => open.replicas(replicas),
                Err(_) => return Err(OpenError::malformed(url, "`replicas` is a number")),
            },
            _ => {
                let why = format!(
                    "`{other}` is no parameter of NATS': there are `prefix` and `replicas`"
                );
                return Err(OpenError::malformed(url, why));
            }
        };
    }
    engine(open.open().await)
}

fn engine(opened: Result<impl Engine, EngineError>) -> Result<Arc<dyn Engine>, OpenError> {
    match opened {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(OpenError::engine(error)),
    }
}
