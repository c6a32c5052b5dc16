//! The operations on jobs and queues.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{Html, IntoResponse, Response},
};
use fourway_core::{Timer, yield_now};
use fourway_jobs::{CancelOutcome, Filter, JobId, JobManager, JobState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{
    app::{App, Shared},
    events,
    history::Second,
    metrics,
    problem::{Asked, Id, Problem, Sent},
    view::{
        AttemptView, Cancelled, CountsView, EventView, JobView, Overview, PageView, ProgressView,
        QueueView,
    },
};
use crate::task::{OnDisconnect, QUEUES, Submission};

type Answer<T> = Result<T, Problem>;

/// The document at `/openapi.json`, made of what is said at the handlers.
#[derive(OpenApi)]
#[openapi(
    info(title = "job-service", description = "Jobs: submit now, ask later."),
    paths(
        run, run_async, status, list, cancel, retry, retry_all, overview, history, pause, resume,
        pause_all, resume_all, events::events, metrics, health,
    ),
    components(schemas(
        Submission, JobView, AttemptView, ProgressView, PageView, Cancelled, CountsView, QueueView,
        Overview, EventView, Second, Problem, Retried, Which, Health,
    )),
    tags(
        (name = "jobs", description = "Jobs, from their submission to their end."),
        (name = "queues", description = "One for each kind of work."),
        (name = "service", description = "How the service is."),
    )
)]
pub(super) struct Document;

pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

pub(super) async fn dashboard() -> Html<&'static str> {
    Html(include_str!("../page/dashboard.html"))
}

pub(super) async fn docs() -> Html<&'static str> {
    Html(include_str!("../page/docs.html"))
}

// ---------------------------------------------------------------------------
// Submitting

/// Submits a job and waits for it.
///
/// With `"on_disconnect": "cancel"` the job is cancelled if the client goes away.
#[utoipa::path(
    post, path = "/run", tag = "jobs", request_body = Submission,
    responses(
        (status = 200, description = "The job has ended, somehow: `state` says how.", body = JobView),
        (status = 202, description = "It takes longer than the service waits: ask at `Location`.", body = JobView),
        (status = 400, description = "Not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not said to be JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a job.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs wait: try again after `Retry-After`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run(
    State(app): State<Shared>,
    Sent(submission): Sent<Submission>,
) -> Answer<Response> {
    let id = submit(&app, &submission)?;
    // Dropped with this handler's future, which is what becomes of it when the client goes away.
    let mut guard = CancelOnDrop {
        jobs: (submission.on_disconnect == OnDisconnect::Cancel).then(|| app.jobs.clone()),
        id,
    };
    let ended = app.rt.timeout(app.wait, app.jobs.wait(id)).await;
    guard.jobs = None;
    match ended {
        Ok(status) => Ok(Json(JobView::whole(&app.jobs, status?)).into_response()),
        Err(_) => accepted(&app, id),
    }
}

struct CancelOnDrop {
    jobs: Option<JobManager>,
    id: JobId,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(jobs) = &self.jobs {
            // A job that has been forgotten has ended.
            let outcome = jobs.cancel(self.id);
            tracing::info!(id = %self.id, ?outcome, "the client went away");
        }
    }
}

/// Submits a job, and gives its id at once.
#[utoipa::path(
    post, path = "/run/async", tag = "jobs", request_body = Submission,
    responses(
        (status = 202, description = "Accepted: ask at `Location`.", body = JobView),
        (status = 400, description = "Not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not said to be JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a job.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs wait: try again after `Retry-After`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run_async(
    State(app): State<Shared>,
    Sent(submission): Sent<Submission>,
) -> Answer<Response> {
    let id = submit(&app, &submission)?;
    accepted(&app, id)
}

fn submit(app: &App, submission: &Submission) -> Answer<JobId> {
    let checked = submission.check();
    checked.map_err(|wrong| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
    let submitted = submission.submit(&app.jobs, &app.toolbox);
    let handle = submitted.map_err(|error| Problem::submit(&error, app.retry_after()))?;
    Ok(handle.id())
}

fn accepted(app: &App, id: JobId) -> Answer<Response> {
    let view = JobView::whole(&app.jobs, app.jobs.status(id)?);
    let location = format!("/status/{}", view.id());
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)).into_response())
}

// ---------------------------------------------------------------------------
// Jobs

/// A job, with its attempts, progress and result.
#[utoipa::path(
    get, path = "/status/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job.", body = JobView),
        (status = 400, description = "Not an id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job is known (any more).", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(State(app): State<Shared>, Id(id): Id) -> Answer<Json<JobView>> {
    Ok(Json(JobView::whole(&app.jobs, app.jobs.status(id)?)))
}

/// Which jobs.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// In one of these states, with commas in between.
    #[schema(example = "failed,timed_out")]
    #[param(example = "failed,timed_out")]
    state: Option<String>,
    /// In this queue.
    queue: Option<String>,
    /// With this in the name.
    name: Option<String>,
    /// With this label: `label=value`.
    label: Option<String>,
    /// `newest` (the default) or `oldest` first.
    order: Option<String>,
    /// How many at most, from 1 to 1000; 50 if nothing is said.
    limit: Option<usize>,
    /// The page after the one whose `next` this is.
    after: Option<String>,
}

impl Which {
    fn filter(&self) -> Answer<Filter> {
        let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let mut filter = Filter::new().limit(self.limit.unwrap_or(50));
        let states = self.state.as_deref().unwrap_or_default();
        for name in states.split(',').filter(|name| !name.is_empty()) {
            let state = JobState::from_name(name);
            let state =
                state.ok_or_else(|| wrong(format!("`state`: there is no state {name:?}")))?;
            filter = filter.state(state);
        }
        if let Some(queue) = self.queue.as_deref().filter(|queue| !queue.is_empty()) {
            filter = filter.class(queue_name(queue)?);
        }
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            filter = filter.name_contains(name);
        }
        if let Some(label) = &self.label {
            let parts = label.split_once('=');
            let (label, value) =
                parts.ok_or_else(|| wrong("`label`: give `label=value`".into()))?;
            filter = filter.label(label, value);
        }
        match self.order.as_deref() {
            None | Some("newest") => {}
            Some("oldest") => filter = filter.oldest_first(),
            Some(other) => {
                return Err(wrong(format!(
                    "`order`: `newest` or `oldest`, not {other:?}"
                )));
            }
        }
        if let Some(after) = &self.after {
            filter = filter.after(super::problem::parse_id(after)?);
        }
        if self.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
            return Err(wrong("`limit` is out of range: from 1 to 1000".into()));
        }
        Ok(filter)
    }
}

/// Jobs, a page at a time.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", params(Which),
    responses(
        (status = 200, description = "A page.", body = PageView),
        (status = 400, description = "No such filter.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(which): Asked<Which>,
) -> Answer<Json<PageView>> {
    let filter = which.filter()?;
    let wanted = which.limit.unwrap_or(50);
    let mut page = app.jobs.list(&filter);
    let mut jobs = std::mem::take(&mut page.jobs);
    // The manager looks at a limited number of jobs at a time; a client wants a full page.
    while let (true, Some(next)) = (jobs.len() < wanted, page.next) {
        // Others have their turn in between, and it ends if the client goes away.
        yield_now().await;
        page = app
            .jobs
            .list(&filter.clone().limit(wanted - jobs.len()).after(next));
        jobs.append(&mut page.jobs);
    }
    Ok(Json(PageView {
        jobs: jobs.into_iter().map(Into::into).collect(),
        next: page.next.map(|next| next.to_string()),
    }))
}

/// Cancels a job.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "It had not begun, and never will.", body = Cancelled),
        (status = 202, description = "It runs, and was asked to end.", body = Cancelled),
        (status = 400, description = "Not an id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job is known (any more).", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended already.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<Shared>,
    Id(id): Id,
) -> Answer<(StatusCode, Json<Cancelled>)> {
    let (status, outcome) = match app.jobs.cancel(id)? {
        CancelOutcome::Cancelled => (StatusCode::OK, "cancelled"),
        CancelOutcome::Requested => (StatusCode::ACCEPTED, "requested"),
        CancelOutcome::TooLate(state) => {
            let detail = format!("the job {id} has ended already: it is {state}");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        other => {
            let detail = format!("the manager says {other:?}");
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
        }
    };
    Ok((status, Json(Cancelled { outcome })))
}

/// Runs a job again that has failed, timed out or was cancelled; one that waits for its next
/// attempt, at once.
#[utoipa::path(
    post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 202, description = "It is queued.", body = JobView),
        (status = 400, description = "Not an id.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job is known (any more).", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has completed, runs, or is queued.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry(State(app): State<Shared>, Id(id): Id) -> Answer<Response> {
    app.jobs.retry(id)?;
    accepted(&app, id)
}

/// How many jobs run again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    retried: u64,
    /// Those that could not be, as something else has become of them meanwhile.
    refused: u64,
}

/// Runs all jobs again that have failed, timed out or were cancelled, as far as the filter lets
/// them through. Without `state`, those that have failed or timed out.
#[utoipa::path(
    post, path = "/jobs/retry", tag = "jobs", params(Which),
    responses(
        (status = 202, description = "They are queued.", body = Retried),
        (status = 400, description = "No such filter.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry_all(
    State(app): State<Shared>,
    Asked(mut which): Asked<Which>,
) -> Answer<(StatusCode, Json<Retried>)> {
    which.state.get_or_insert_with(|| "failed,timed_out".into());
    let filter = which.filter()?.limit(1000).oldest_first();
    let mut ids = Vec::new();
    let mut next = None;
    // All are listed before the first is retried: one that fails again at once is not met twice.
    loop {
        let filter = match next {
            Some(next) => filter.clone().after(next),
            None => filter.clone(),
        };
        let page = app.jobs.list(&filter);
        ids.extend(page.jobs.iter().map(|job| job.id));
        next = page.next;
        if next.is_none() {
            break;
        }
        yield_now().await;
    }
    let mut retried = Retried {
        retried: 0,
        refused: 0,
    };
    for id in ids {
        match app.jobs.retry(id) {
            Ok(()) => retried.retried += 1,
            Err(_) => retried.refused += 1,
        }
    }
    Ok((StatusCode::ACCEPTED, Json(retried)))
}

// ---------------------------------------------------------------------------
// Queues

fn queue_name(name: &str) -> Answer<&'static str> {
    QUEUES
        .into_iter()
        .find(|queue| *queue == name)
        .ok_or_else(|| {
            let detail = format!("there is no queue {name:?}: {}", QUEUES.join(", "));
            Problem::new(StatusCode::NOT_FOUND, detail)
        })
}

/// Starts no more jobs of a queue. Those that run go on.
#[utoipa::path(
    post, path = "/queues/{queue}/pause", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 200, description = "The service.", body = Overview),
        (status = 404, description = "No such queue.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(app): State<Shared>,
    Path(queue): Path<String>,
) -> Answer<Json<Overview>> {
    app.jobs.pause(Some(queue_name(&queue)?));
    Ok(now(&app))
}

/// Starts jobs of a queue again.
#[utoipa::path(
    post, path = "/queues/{queue}/resume", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 200, description = "The service.", body = Overview),
        (status = 404, description = "No such queue.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(app): State<Shared>,
    Path(queue): Path<String>,
) -> Answer<Json<Overview>> {
    app.jobs.resume(Some(queue_name(&queue)?));
    Ok(now(&app))
}

/// Starts no more jobs of any queue. Those that run go on.
#[utoipa::path(
    post, path = "/queues/pause", tag = "queues",
    responses((status = 200, description = "The service.", body = Overview))
)]
pub(super) async fn pause_all(State(app): State<Shared>) -> Json<Overview> {
    app.jobs.pause(None);
    now(&app)
}

/// Starts jobs again. A queue that was paused by itself stays paused.
#[utoipa::path(
    post, path = "/queues/resume", tag = "queues",
    responses((status = 200, description = "The service.", body = Overview))
)]
pub(super) async fn resume_all(State(app): State<Shared>) -> Json<Overview> {
    app.jobs.resume(None);
    now(&app)
}

// ---------------------------------------------------------------------------
// The service

fn now(app: &App) -> Json<Overview> {
    let now = app.jobs.overview();
    let queues = now.classes.into_iter();
    Json(Overview {
        counts: now.counts.into(),
        submitted: now.submitted,
        ended: now.ended.into(),
        queues: queues
            .filter(|class| QUEUES.contains(&class.name.as_str()))
            .map(Into::into)
            .collect(),
        paused: now.paused,
        draining: app.is_draining(),
    })
}

/// How many jobs there are, and the queues.
#[utoipa::path(
    get, path = "/overview", tag = "service",
    responses((status = 200, description = "The service.", body = Overview))
)]
pub(super) async fn overview(State(app): State<Shared>) -> Json<Overview> {
    now(&app)
}

/// The last five minutes, second by second.
#[utoipa::path(
    get, path = "/history", tag = "service",
    responses((status = 200, description = "Oldest first.", body = [Second]))
)]
pub(super) async fn history(State(app): State<Shared>) -> Json<Vec<Second>> {
    Json(app.history.seconds())
}

/// Metrics, in Prometheus' format (OpenMetrics).
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "Metrics.", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(app): State<Shared>) -> Answer<Response> {
    let text = app.metrics.text();
    let text =
        text.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((
        [(axum::http::header::CONTENT_TYPE, metrics::MEDIA_TYPE)],
        text,
    )
        .into_response())
}

/// How the service is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `draining`.
    status: &'static str,
}

/// Is it ready for jobs?
#[utoipa::path(
    get, path = "/health", tag = "service",
    responses(
        (status = 200, description = "It is.", body = Health),
        (status = 503, description = "It is about to end.", body = Health),
    )
)]
pub(super) async fn health(State(app): State<Shared>) -> (StatusCode, Json<Health>) {
    if app.is_draining() {
        let status = "draining";
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status }))
    } else {
        (StatusCode::OK, Json(Health { status: "ok" }))
    }
}
