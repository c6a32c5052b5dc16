//! URLs, and the engines that they name.

use std::sync::Arc;

use fourway_core::Call;
use fourway_jobs_engine::{Engine, NewJob};
use fourway_jobs_url::{OpenError, open, schemes};
use fourway_testing::{any, run};

fn opened(url: &str) -> Result<Arc<dyn Engine>, OpenError> {
    open(&any(), url).wait()
}

fn works(engine: &dyn Engine, name: &str) {
    assert_eq!(engine.name(), name);
    let job = NewJob::new("kind", 1, "args");
    let id = job.id;
    run(&any(), engine.submit(vec![job])).unwrap();
    assert!(run(&any(), engine.status(id)).unwrap().is_some());
}

#[test]
fn memory() {
    works(&*opened("memory:").unwrap(), "memory");
    assert!(schemes().contains(&"memory"));
}

/// As many write it.
#[cfg(feature = "postgres")]
#[test]
fn postgresql_is_named_like_postgres() {
    assert!(schemes().contains(&"postgres"));
    assert!(schemes().contains(&"postgresql"));
}

#[test]
fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    for url in [
        format!("sqlite:{}", path.display()),
        format!("sqlite://{}?relaxed=true", path.display()),
    ] {
        works(&*opened(&url).unwrap(), "sqlite");
    }
    assert!(path.exists());
    assert!(opened("sqlite:").unwrap_err().is_invalid_url());
    assert!(opened("sqlite:f?mode=ro").unwrap_err().is_invalid_url());
    // Another database for each connection: it would not outlive this process.
    let error = opened("sqlite::memory:").unwrap_err();
    assert!(error.engine_error().unwrap().is_refusal(), "{error}");
    let nowhere = opened("sqlite:/no/such/folder/f").unwrap_err();
    assert!(nowhere.engine_error().unwrap().is_unavailable());
}

#[cfg(unix)]
#[test]
fn postgres() {
    let Some(url) = fourway_servers::postgres_url() else {
        return;
    };
    let engine = opened(&format!("{url}?schema=by_url&relaxed=true"));
    works(&*engine.unwrap(), "postgres");
    let error = opened("postgres://localhost:nothing/database").unwrap_err();
    assert!(error.engine_error().is_some(), "{error}");
    let error = opened(&format!("{url}?schema=With-Dash")).unwrap_err();
    assert!(error.to_string().contains("schema"), "{error}");
    // No server listens on this port.
    let error = opened("postgres://user:secret@127.0.0.1:1/database").unwrap_err();
    assert!(error.engine_error().unwrap().is_unavailable(), "{error}");
    assert!(!error.to_string().contains("secret"));
}

#[cfg(unix)]
#[test]
fn nats() {
    let Some(url) = fourway_servers::nats_url() else {
        return;
    };
    works(&*opened(&format!("{url}?prefix=by-url")).unwrap(), "nats");
    for parameter in ["replicas=many", "relaxed", "retention=none"] {
        let error = opened(&format!("{url}?{parameter}")).unwrap_err();
        assert!(error.is_invalid_url(), "{error}");
    }
}

#[test]
fn what_is_no_url_is_refused() {
    for url in [
        "",
        "jobs.db",
        "carrier-pigeon:",
        "memory:more",
        "memory:?relaxed",
        "memory:?relaxed=perhaps",
    ] {
        let error = opened(url).unwrap_err();
        assert!(error.is_invalid_url(), "{url}: {error}");
    }
    let error = opened("carrier-pigeon://me:secret@there").unwrap_err();
    assert!(error.to_string().contains("`memory`"), "{error}");
}
