//! An axum server on fourway's Tokio: handlers await the ledger, a response streams rows, and
//! audits, which take long, are jobs. Ctrl-C ends it gracefully.
//!
//! | request | |
//! |---|---|
//! | `PUT /accounts/NAME?credit=N` | opens an account |
//! | `GET /accounts/NAME` | its balance |
//! | `GET /accounts/NAME/entries` | its entries, a line each, as they are read |
//! | `POST /transfers?from=A&to=B&amount=N` | the number of the transfer |
//! | `POST /audits` | submits an audit, and gives the id of the job |
//! | `GET /audits/ID` | its state or result; 500 with its error if it has failed |

use std::{env, error::Error, io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post, put},
};
use fourway::{
    AnyRuntime, CancellationToken,
    jobs::{Job, JobId, JobManager, JobState},
};
use futures_lite::StreamExt;
use ledger::{Audit, Ledger};
use serde::Deserialize;

type Answer<T> = Result<T, (StatusCode, String)>;

#[derive(Clone)]
struct Service {
    ledger: Ledger,
    jobs: JobManager,
}

#[fourway::main(runtime = "tokio")]
async fn main(stop: CancellationToken) -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let Some(file) = arguments.next() else {
        return Err("usage: ledger-server FILE [ADDRESS]".into());
    };
    let address = arguments.next();
    let address = address.unwrap_or_else(|| String::from("127.0.0.1:8080"));
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    let rt = AnyRuntime::new(fourway::default_runtime());
    let service = Service {
        jobs: JobManager::builder(&rt).concurrency(1).build(),
        ledger: Ledger::new(rt, file),
    };
    let app = Router::new()
        .route("/accounts/{name}", put(open).get(balance))
        .route("/accounts/{name}/entries", get(entries))
        .route("/transfers", post(transfer))
        .route("/audits", post(audit))
        .route("/audits/{id}", get(audited))
        .with_state(service.clone());
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            stop.cancelled().await;
        })
        .await?;
    let report = service.jobs.drain(Duration::from_secs(5)).await;
    println!("ended; {} jobs are left behind", report.still_running.len());
    Ok(())
}

#[derive(Deserialize)]
struct Terms {
    #[serde(default)]
    credit: u32,
}

async fn open(
    State(service): State<Service>,
    Path(name): Path<String>,
    Query(terms): Query<Terms>,
) -> Answer<StatusCode> {
    let opened = service.ledger.open(&name, terms.credit).await;
    Ok(match opened.map_err(failed)? {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    })
}

async fn balance(State(service): State<Service>, Path(name): Path<String>) -> Answer<String> {
    let balance = service.ledger.balance(&name).await;
    Ok(balance.map_err(failed)?.to_string())
}

async fn entries(State(service): State<Service>, Path(name): Path<String>) -> Answer<Body> {
    // The first one tells whether there is such an account.
    let mut entries = service.ledger.entries(&name);
    let first = entries.next().await.transpose().map_err(failed)?;
    let rows = futures_lite::stream::iter(first).map(Ok).chain(entries);
    let lines = rows.map(|entry| entry.map(|entry| format!("{entry}\n")));
    Ok(Body::from_stream(lines))
}

#[derive(Deserialize)]
struct Transfer {
    from: String,
    to: String,
    amount: u32,
}

async fn transfer(
    State(service): State<Service>,
    Query(Transfer { from, to, amount }): Query<Transfer>,
) -> Answer<String> {
    let number = service.ledger.transfer(&from, &to, amount).await;
    Ok(number.map_err(failed)?.to_string())
}

/// The call is the job.
async fn audit(State(service): State<Service>) -> Answer<(StatusCode, String)> {
    let job = Job::new(service.ledger.audit()).name("audit");
    match service.jobs.submit(job) {
        Ok(job) => Ok((StatusCode::ACCEPTED, job.id().to_string())),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn audited(State(service): State<Service>, Path(id): Path<String>) -> Answer<String> {
    let no_such = |error: &dyn Error| (StatusCode::NOT_FOUND, error.to_string());
    let id: JobId = id.parse().map_err(|error| no_such(&error))?;
    let status = service.jobs.status(id).map_err(|error| no_such(&error))?;
    match status.state {
        JobState::Completed => {}
        JobState::Failed => {
            let error = status.error.unwrap_or_default();
            return Err((StatusCode::INTERNAL_SERVER_ERROR, error));
        }
        state => return Ok(state.to_string()),
    }
    let Audit {
        accounts,
        entries,
        wrong,
    } = service.jobs.result(id).map_err(|error| no_such(&error))?;
    Ok(format!(
        "{accounts} accounts, {entries} entries, {} wrong",
        wrong.len()
    ))
}

fn failed(error: ledger::Error) -> (StatusCode, String) {
    let status = if error.is_unknown() {
        StatusCode::NOT_FOUND
    } else if error.is_pointless() {
        StatusCode::BAD_REQUEST
    } else if error.is_insufficient() {
        StatusCode::CONFLICT
    } else if error.is_busy() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (status, error.to_string())
}
