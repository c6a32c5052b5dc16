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
/// If the URL names none, or one that is not compiled in; else those of the engine.
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
                return Ok(Arc::new(MemoryEngine::new(runtime)));
            }
            Err(OpenError::malformed(url, "`memory:` has nothing behind it"))
        }
        "sqlite" => sqlite(runtime, url, &parts).await,
        "postgres" | "postgresql" => postgres(runtime, &parts).await,
        "nats" => nats(runtime, url, &parts).await,
        scheme => Err(OpenError::unknown(scheme)),
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

#[cfg(not(feature = "sqlite"))]
async fn sqlite(_: &AnyRuntime, _: &str, _: &Parts<'_>) -> Result<Arc<dyn Engine>, OpenError> {
    Err(OpenError::not_compiled("sqlite"))
}

#[cfg(feature = "postgres")]
async fn postgres(runtime: &AnyRuntime, parts: &Parts<'_>) -> Result<Arc<dyn Engine>, OpenError> {
    use fourway_jobs_postgres::PostgresEngine;

    let open = PostgresEngine::builder(runtime, parts.without_relaxed()).relaxed(parts.relaxed);
    engine(open.open().await)
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &AnyRuntime, _: &Parts<'_>) -> Result<Arc<dyn Engine>, OpenError> {
    Err(OpenError::not_compiled("postgres"))
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

#[cfg(not(feature = "nats"))]
async fn nats(_: &AnyRuntime, _: &str, _: &Parts<'_>) -> Result<Arc<dyn Engine>, OpenError> {
    Err(OpenError::not_compiled("nats"))
}

#[allow(dead_code, reason = "without features there is but the one in memory")]
fn engine(opened: Result<impl Engine, EngineError>) -> Result<Arc<dyn Engine>, OpenError> {
    match opened {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) => Err(OpenError::engine(error)),
    }
}
