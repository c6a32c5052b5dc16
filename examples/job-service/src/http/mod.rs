//! The service: axum on a Tokio that fourway runs.
//!
//! `GET /openapi.json` is the list of operations; `/docs` a page to try them; `/` the dashboard.

mod api;
mod app;
mod counted;
mod events;
mod guard;
mod history;
mod jobs;
mod kept;
mod metrics;
mod problem;
mod view;
mod workers;

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use fourway::tokio::Tokio;
use fourway_core::{AnyRuntime, BlockOn, Spawner, Timer};
use fourway_jobs_engine::JobClient;
use tokio::net::TcpListener;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer, trace::TraceLayer};

use self::{
    app::{App, Shared},
    counted::Counted,
    guard::Guard,
    jobs::Jobs,
    kept::Kept,
    problem::Problem,
};
use crate::{
    kinds::Working,
    signals::Signals,
    store::Store,
    task,
    timetable::Timetable,
    work::{Root, Toolbox},
};

/// How the service is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The secret of callers; required to listen elsewhere than on loopback.
    pub token: Option<String>,
    /// The folder that all work stays below.
    pub root: Root,
    /// Where jobs are kept.
    pub store: Store,
    /// How jobs run.
    pub working: Working,
    /// The recurring work.
    pub timetable: Timetable,
    /// Kept jobs are not run here, only by workers.
    pub no_work: bool,
    /// How many jobs may wait.
    pub queue_limit: usize,
    /// How many finished jobs are kept, for an hour.
    pub keep: usize,
    /// For how long `POST /run` waits for its job.
    pub wait: Duration,
    /// How long a request may take to arrive, and how long a handler without waits may take.
    pub request_timeout: Duration,
    /// How long jobs have to end after SIGTERM.
    pub drain: Duration,
}

/// How many events are kept for clients that were cut off.
const EVENTS_KEPT: usize = 16_384;

/// How long clients have, once all jobs have ended, to take their answers and to end their requests. A
/// client that does neither must not keep the service from ending.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or an interrupt, and then until all running jobs have ended or the time for
/// that is over; `false` if a job still runs. A second interrupt ends it at once.
///
/// # Errors
///
/// If it must listen elsewhere than on loopback without a token; if it cannot listen there; if
/// the store cannot be opened.
pub fn serve(options: Options) -> Result<bool, Box<dyn Error>> {
    if !options.listen.ip().is_loopback() && options.token.is_none() {
        return Err(format!(
            "{} can be reached from other machines: give a `--token` that callers have to know",
            options.listen
        )
        .into());
    }
    let rt = Tokio::builder().build()?;
    rt.clone().block_on(served(AnyRuntime::new(rt), options))
}

async fn served(rt: AnyRuntime, options: Options) -> Result<bool, Box<dyn Error>> {
    let toolbox = Toolbox::new(rt.clone(), options.root.clone());
    let app = match options.store.open(&rt).await? {
        None => {
            if options.no_work {
                return Err(
                    "nobody else could run its jobs: give a `--store` that others share".into(),
                );
            }
            let jobs = task::manager(&rt, options.working.at_once)
                .queue_limit(options.queue_limit)
                .keep(options.keep, Duration::from_secs(3600))
                .event_history(EVENTS_KEPT)
                .build();
            options.timetable.here(&jobs, &toolbox)?;
            let events = jobs.subscribe(1 << 16);
            let app = App::new(rt.clone(), Jobs::Here(jobs), toolbox, &options);
            rt.spawn_detached(history::listen(app.clone(), events));
            app
        }
        Some(engine) => {
            let counted = Counted::new(rt.clone(), engine);
            let engine = Arc::new(counted.clone());
            let client = JobClient::new(&rt, engine.clone());
            let worker = (!options.no_work).then(|| options.working.start(&rt, engine, &toolbox));
            let timetable = options.timetable.kept(&client)?;
            let kept = Kept::new(rt.clone(), client, counted, worker, timetable, &options);
            let app = App::new(rt.clone(), Jobs::Kept(kept.clone()), toolbox, &options);
            rt.spawn_detached(kept::follow(app.clone(), kept));
            app
        }
    };
    rt.spawn_detached(history::tick(app.clone()));

    let listener = TcpListener::bind(options.listen).await;
    let listener = listener
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", options.listen)))?;
    let address = listener.local_addr()?;
    let router = router(app.clone(), Guard::new(options.token.as_deref()));
    // Before it reports that it serves.
    let signals = Signals::caught();
    println!("listening on http://{address}");
    tracing::info!(%address, root = %options.root.path().display(), "listening");

    // Waiting clients get their answers, and others can watch, until all jobs have
    // ended; only then does the server end.
    let (draining, drain) = (app.clone(), options.drain);
    let drained = async move {
        let app = draining;
        signals.asked_to_end().await;
        tracing::info!(deadline = ?drain, "draining");
        app.drain();
        let is_clean = app.jobs.drain(&app, drain).await;
        app.closing.cancel();
        is_clean
    };
    let drained = rt.spawn(drained);
    let closing = app.closing.clone();
    let end = async move { drop(closing.cancelled().await) };
    let serving = axum::serve(listener, router).with_graceful_shutdown(end);
    let late = async {
        app.closing.cancelled().await;
        rt.sleep(FAREWELL).await;
        tracing::warn!("some clients do not take their answers or do not end their requests");
        Ok(())
    };
    futures_lite::future::or(serving.into_future(), late).await?;
    Ok(drained.await?)
}

fn router(app: Shared, guard: Guard) -> Router {
    // Routes that answer at once, or fail.
    let quick = Router::new()
        .route("/", get(api::dashboard))
        .route("/docs", get(api::docs))
        .route("/openapi.json", get(api::openapi))
        .route("/run/async", post(api::run_async))
        .route("/status/{id}", get(api::status))
        .route("/jobs", get(api::list))
        .route("/jobs/retry", post(api::retry_all))
        .route("/jobs/{id}", delete(api::cancel))
        .route("/jobs/{id}/retry", post(api::retry))
        .route("/queues/pause", post(api::pause_all))
        .route("/queues/resume", post(api::resume_all))
        .route("/queues/{queue}/pause", post(api::pause))
        .route("/queues/{queue}/resume", post(api::resume))
        .route("/overview", get(api::overview))
        .route("/history", get(api::history))
        .route("/metrics", get(api::metrics))
        .route("/health", get(api::health))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            app.time_limit,
        ));
    quick
        .route("/run", post(api::run))
        .route("/events", get(events::events))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "there is no such page").into_response()
        })
        .with_state(app.clone())
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(guard, guard::guard))
        .layer(map_response(problem::documents))
        .layer(map_response(headers))
        .layer(from_fn_with_state(app, measured))
        .layer(TraceLayer::new_for_http().on_failure(()))
}

async fn measured(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().clone();
    // The declared route: an id in it would make a metric for each job.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let status = response.status().as_u16();
    app.metrics
        .answered(method.as_str(), route, status, begin.elapsed());
    response
}

/// Headers for browsers: the pages load nothing and connect only to this service, no page may frame
/// them, and answers are not cached.
async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                  img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
