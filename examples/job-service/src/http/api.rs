//! The operations on jobs and queues.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{Html, IntoResponse, Response},
};
use fourway_core::{Spawner, Timer, yield_now};
use fourway_jobs::{Filter, JobId, JobState};
use futures_lite::future;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::Instrument;
use utoipa::{
    IntoParams, Modify, OpenApi, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder},
};

use super::{
    app::{App, Shared},
    events, guard,
    history::Second,
    jobs::{Accepted, Cancelling},
    metrics,
    problem::{AsItIs, Asked, Id, MEDIA_TYPE, Problem, Sent},
    view::{
        AttemptView, Cancelled, CountsView, EventView, JobView, Overview, PageView, ProgressView,
        QueueView,
    },
};
use crate::task::{OnDisconnect, QUEUES, Submission};

type Answer<T> = Result<T, Problem>;

/// How often the service tries to cancel the job of a client that went away.
const CANCEL_TRIES: u32 = 5;

const CANCEL_PAUSE: Duration = Duration::from_secs(1);

/// The document at `/openapi.json`, made from the handlers' annotations.
#[derive(OpenApi)]
#[openapi(
    info(title = "job-service", description = "Runs jobs. A client submits a job and asks for its result later."),
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
        (name = "queues", description = "There is one queue for each kind of work."),
        (name = "service", description = "The state of the service."),
    ),
    modifiers(&Everywhere),
)]
pub(super) struct Document;

/// Adds the answers that layers and stores give on many routes.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                for (status, description) in everywhere(path) {
                    let responses = &mut operation.responses.responses;
                    // A route's own text comes first.
                    responses
                        .entry(status.as_str().to_owned())
                        .or_insert_with(|| problem(description));
                }
            }
        }
    }
}

/// The problems of a route that come from outside of its handler, or from the store.
fn everywhere(path: &str) -> Vec<(StatusCode, &'static str)> {
    let mut all = vec![
        (
            StatusCode::FORBIDDEN,
            "A page of another site has sent the request, or the service has no token and was called by a name or an address that is not this machine's.",
        ),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            match path {
                "/run" | "/run/async" => {
                    "The service or its store has a fault. The job may have been accepted: look in `GET /jobs`."
                }
                _ => "The service or its store has a fault.",
            },
        ),
    ];
    if !guard::OPEN.contains(&path) {
        let description = "The service has a token, and the request does not have it.";
        all.push((StatusCode::UNAUTHORIZED, description));
    }
    match path {
        // It waits for its job, and the stream of events does not end.
        "/run" => {
            let description = "The body has not arrived in time.";
            all.push((StatusCode::REQUEST_TIMEOUT, description));
        }
        "/events" => {}
        "/run/async" => all.push((
            StatusCode::REQUEST_TIMEOUT,
            "The body has not arrived in time, or the store has not answered in time. In the latter case the job may have been accepted: look in `GET /jobs`.",
        )),
        _ => {
            let description = "The service has not answered in time.";
            all.push((StatusCode::REQUEST_TIMEOUT, description));
        }
    }
    match path {
        "/run" | "/run/async" => all.push((
            StatusCode::SERVICE_UNAVAILABLE,
            "The service is about to end, or its store cannot be reached. Try again after `Retry-After` seconds.",
        )),
        "/jobs" => all.push((
            StatusCode::SERVICE_UNAVAILABLE,
            "The store cannot be reached; or it has not listed its jobs in time, and `type` is `/docs#search-timed-out`. Try again after `Retry-After` seconds.",
        )),
        "/status/{id}" | "/jobs/{id}" => all.push((
            StatusCode::SERVICE_UNAVAILABLE,
            "The store cannot be reached. Try again after `Retry-After` seconds.",
        )),
        // They ask no store.
        _ => {}
    }
    all
}

fn problem(description: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content(MEDIA_TYPE, content)
        .build()
        .into()
}

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
/// With `"on_disconnect": "cancel"` the job is cancelled if the client disconnects, unless the job
/// was there before, by the same unique key. The client that submitted it first decides: its job
/// is cancelled even if others have submitted it since.
#[utoipa::path(
    post, path = "/run", tag = "jobs", request_body = Submission,
    responses(
        (status = 200, description = "The job has ended. `state` is its final state.", body = JobView),
        (status = 202, description = "The job has not ended within the waiting time of the service. `Location` is the address of its status.", body = JobView),
        (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The content type is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is not a valid job.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The queue is full. Try again after `Retry-After` seconds.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run(State(app): State<Shared>, Sent(submission): Sent) -> Answer<Response> {
    if submission.on_disconnect == OnDisconnect::Keep {
        let mut accepted = submit(&app, submission).await?;
        return ended(&app, &mut accepted).await;
    }
    // In a task of its own: this handler is dropped when the client goes away, which may be while
    // the job is being submitted.
    let (answer, answered) = oneshot::channel();
    let rt = app.rt.clone();
    rt.spawn_detached(run_for(app, submission, answer).in_current_span());
    answered.await.unwrap_or_else(|_gone| {
        let detail = "the service failed while it handled this request; the job may have been accepted: look in `GET /jobs`";
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
    })
}

/// Submits a job for a client, and cancels it if the client goes away.
async fn run_for(
    app: Shared,
    submission: Submission,
    mut answer: oneshot::Sender<Answer<Response>>,
) {
    let mut job = match submit(&app, submission).await {
        Ok(accepted) => accepted,
        Err(problem) => return drop(answer.send(Err(problem))),
    };
    let (id, is_new) = (job.id, job.is_new);
    let ended = async { Some(ended(&app, &mut job).await) };
    let gone = async {
        answer.closed().await;
        None
    };
    if let Some(ended) = future::or(ended, gone).await {
        // The client may be gone by now, and the job not ended.
        if answer.send(ended).is_ok() {
            return;
        }
    }
    tracing::info!(%id, "the client went away");
    // A job that another client submitted before, with the same unique key, is not cancelled.
    if is_new {
        cancel_for(&app, id).await;
    }
}

/// Cancels a job whose client has gone away. Nobody else would try again, so this does for a while.
async fn cancel_for(app: &App, id: JobId) {
    for left in (0..CANCEL_TRIES).rev() {
        // A job that has ended or been forgotten cannot be cancelled any more.
        let Some(problem) = app.jobs.cancel(id).await.err().filter(Problem::is_ours) else {
            return;
        };
        tracing::warn!(%id, ?problem, left, "the job of a client that went away is not cancelled");
        if left > 0 {
            app.rt.sleep(CANCEL_PAUSE).await;
        }
    }
}

/// The job once it has ended, or its status if that takes too long.
async fn ended(app: &App, job: &mut Accepted) -> Answer<Response> {
    // Also when the service ends: a job that it has given back to the store ends elsewhere.
    let ended = app.closing.run_until_cancelled(app.jobs.wait(job));
    if let Ok(Ok(ended)) = app.rt.timeout(app.wait, ended).await {
        return Ok(Json(ended?).into_response());
    }
    let view = app.jobs.view_accepted(job).await?;
    // It may have ended at the same moment.
    if view.has_ended() {
        return Ok(Json(view).into_response());
    }
    Ok(accepted(view))
}

/// Submits a job and returns its id at once.
#[utoipa::path(
    post, path = "/run/async", tag = "jobs", request_body = Submission,
    responses(
        (status = 202, description = "The job is accepted. `Location` is the address of its status.", body = JobView),
        (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The content type is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is not a valid job.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The queue is full. Try again after `Retry-After` seconds.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run_async(
    State(app): State<Shared>,
    Sent(submission): Sent,
) -> Answer<Response> {
    let mut job = submit(&app, submission).await?;
    Ok(accepted(app.jobs.view_accepted(&mut job).await?))
}

async fn submit(app: &App, submission: Submission) -> Answer<Accepted> {
    let checked = submission.check();
    checked.map_err(|wrong| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
    if app.is_draining() {
        return Err(Problem::closed(app.retry_after()));
    }
    app.jobs
        .submit(submission, &app.toolbox, app.retry_after())
        .await
}

fn accepted(view: JobView) -> Response {
    let location = format!("/status/{}", view.id());
    (StatusCode::ACCEPTED, [(LOCATION, location)], Json(view)).into_response()
}

// ---------------------------------------------------------------------------
// Jobs

/// Returns a job with its attempts, progress and result.
#[utoipa::path(
    get, path = "/status/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job.", body = JobView),
        (status = 400, description = "The id is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The job is unknown. It may have been removed some time after its end.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(State(app): State<Shared>, Id(id): Id) -> Answer<Json<JobView>> {
    Ok(Json(app.jobs.view(id).await?))
}

/// A filter for jobs.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    /// The states, separated by commas.
    #[schema(example = "failed,timed_out")]
    #[param(example = "failed,timed_out")]
    state: Option<String>,
    /// The queue.
    queue: Option<String>,
    /// A part of the name, in whatever case.
    name: Option<String>,
    /// A label and its value: `label=value`.
    label: Option<String>,
    /// The order: `newest` (the default) or `oldest` first.
    order: Option<String>,
    /// The maximum number of jobs on a page, from 1 to 1000; 50 by default.
    limit: Option<usize>,
    /// The `next` of the previous page.
    after: Option<String>,
}

/// A filter for jobs to run again. There is no page of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Again {
    /// The states, separated by commas; `failed,timed_out` by default.
    #[param(example = "failed,timed_out")]
    state: Option<String>,
    /// The queue.
    queue: Option<String>,
    /// A part of the name, in whatever case.
    name: Option<String>,
    /// A label and its value: `label=value`.
    label: Option<String>,
}

impl Again {
    fn filter(self) -> Answer<Filter> {
        let Self {
            state,
            queue,
            name,
            label,
        } = self;
        let mut which = Which {
            state,
            queue,
            name,
            label,
            ..Which::default()
        };
        if which.states()?.is_empty() {
            which.state = Some("failed,timed_out".into());
        }
        which.filter()
    }
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

impl Which {
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(50)
    }

    fn states(&self) -> Answer<Vec<JobState>> {
        let states = self.state.as_deref().unwrap_or_default();
        let names = states.split(',').filter(|name| !name.is_empty());
        names
            .map(|name| {
                let state = JobState::from_name(name);
                state.ok_or_else(|| wrong(format!("`state`: there is no state {name:?}")))
            })
            .collect()
    }

    fn queue(&self) -> Answer<Option<&'static str>> {
        let queue = self.queue.as_deref().filter(|queue| !queue.is_empty());
        let queue = queue.map(|queue| queue_name(queue).ok_or_else(|| wrong(no_queue(queue))));
        queue.transpose()
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    fn label(&self) -> Answer<Option<(&str, &str)>> {
        let parts = self.label.as_deref().map(|label| label.split_once('='));
        parts
            .map(|parts| parts.ok_or_else(|| wrong("`label`: give `label=value`")))
            .transpose()
    }

    fn check_limit(&self) -> Answer<()> {
        if self.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
            return Err(wrong("`limit` is out of range: from 1 to 1000"));
        }
        Ok(())
    }

    /// The part of the filter for an engine. [`lets_through`](Self::lets_through) checks the rest.
    pub(super) fn of_engine(&self) -> Answer<fourway_jobs_engine::Filter> {
        let states = self.states()?.into_iter();
        let mut filter = states.fold(fourway_jobs_engine::Filter::new(), |filter, state| {
            filter.state(state)
        });
        if self.order.as_deref().is_some_and(|order| order != "newest") {
            return Err(wrong(
                "`order`: jobs that are kept are listed `newest` first",
            ));
        }
        if let Some(after) = &self.after {
            filter = filter.before(super::problem::parse_id(after)?);
        }
        self.queue()?;
        self.label()?;
        self.check_limit()?;
        Ok(filter)
    }

    /// Whether a job that an engine has found is wanted.
    pub(super) fn lets_through(&self, job: &JobView) -> bool {
        let queue = self.queue().ok().flatten();
        let label = self.label().ok().flatten();
        let has_name = |wanted: &str| {
            let name = job.name().unwrap_or_default().to_lowercase();
            name.contains(&wanted.to_lowercase())
        };
        queue.is_none_or(|queue| job.queue() == queue)
            && self.name().is_none_or(has_name)
            && label.is_none_or(|(label, value)| job.label(label) == Some(value))
    }

    /// The filter for the manager.
    pub(super) fn filter(&self) -> Answer<Filter> {
        let mut filter = Filter::new().limit(self.limit());
        for state in self.states()? {
            filter = filter.state(state);
        }
        if let Some(queue) = self.queue()? {
            filter = filter.class(queue);
        }
        if let Some(name) = self.name() {
            filter = filter.name_contains(name);
        }
        if let Some((label, value)) = self.label()? {
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
        self.check_limit()?;
        Ok(filter)
    }
}

/// Returns a page of jobs.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", params(Which),
    responses(
        (status = 200, description = "A page of jobs.", body = PageView),
        (status = 400, description = "The filter is invalid.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Shared>,
    Asked(which): Asked<Which>,
) -> Answer<Json<PageView>> {
    Ok(Json(app.jobs.list(&which).await?))
}

/// Cancels a job.
#[utoipa::path(
    delete, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 200, description = "The job had not started and never runs.", body = Cancelled),
        (status = 202, description = "The job is running and was asked to end.", body = Cancelled),
        (status = 400, description = "The id is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The job is unknown. It may have been removed some time after its end.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job has already ended.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<Shared>,
    Id(id): Id,
) -> Answer<(StatusCode, Json<Cancelled>)> {
    let (status, outcome) = match app.jobs.cancel(id).await? {
        Cancelling::Cancelled => (StatusCode::OK, "cancelled"),
        Cancelling::Requested => (StatusCode::ACCEPTED, "requested"),
    };
    Ok((status, Json(Cancelled { outcome })))
}

/// Runs a job again that failed, timed out or was cancelled. A job that waits for its next attempt
/// runs at once.
#[utoipa::path(
    post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses(
        (status = 202, description = "The job is queued.", body = JobView),
        (status = 400, description = "The id is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The job is unknown. It may have been removed some time after its end.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job is queued, running or completed, or another job has its unique key.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A store keeps the jobs, and has the arguments of this one no longer.", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The service is about to end and starts no more jobs.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry(State(app): State<Shared>, Id(id): Id) -> Answer<Response> {
    if app.is_draining() {
        // Or that it is unknown.
        app.jobs.view(id).await?;
        return Err(Problem::closed(app.retry_after()));
    }
    app.jobs.retry(id, app.retry_after()).await?;
    Ok(accepted(app.jobs.view(id).await?))
}

/// The outcome of a request to run many jobs again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    /// The number of jobs that run again.
    retried: u64,
    /// The number of jobs that could not run again because their state had changed.
    refused: u64,
}

/// Runs all jobs again that match the filter and that failed, timed out or were cancelled. Without
/// `state`, only jobs that failed or timed out run again. All of them do, even if the client
/// disconnects meanwhile.
#[utoipa::path(
    post, path = "/jobs/retry", tag = "jobs", params(Again),
    responses(
        (status = 202, description = "The jobs are queued.", body = Retried),
        (status = 400, description = "The filter is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The service is about to end and starts no more jobs.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry_all(
    State(app): State<Shared>,
    Asked(which): Asked<Again>,
) -> Answer<(StatusCode, Json<Retried>)> {
    app.jobs.here()?;
    let filter = which.filter()?.limit(1000).oldest_first();
    if app.is_draining() {
        return Err(Problem::closed(app.retry_after()));
    }
    // In a task of its own, so that all jobs are retried even if the client goes away or the time
    // limit passes.
    let (answer, answered) = oneshot::channel();
    let rt = app.rt.clone();
    let retry = async move { drop(answer.send(retry_those(&app, filter).await)) };
    rt.spawn_detached(retry.in_current_span());
    let retried = answered.await.unwrap_or_else(|_gone| {
        let detail = "the service failed while it handled this request; some jobs may run again";
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
    });
    Ok((StatusCode::ACCEPTED, Json(retried?)))
}

async fn retry_those(app: &App, filter: Filter) -> Answer<Retried> {
    let jobs = app.jobs.here()?;
    let mut ids = Vec::new();
    let mut next = None;
    // All are listed before the first is retried, so that a job that fails again at once is not
    // retried twice.
    loop {
        let filter = match next {
            Some(next) => filter.clone().after(next),
            None => filter.clone(),
        };
        let page = jobs.list(&filter);
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
    for (at, id) in ids.into_iter().enumerate() {
        match jobs.retry(id) {
            Ok(()) => retried.retried += 1,
            Err(_) => retried.refused += 1,
        }
        // Other requests get a turn among very many jobs.
        if at % 256 == 255 {
            yield_now().await;
        }
    }
    Ok(retried)
}

// ---------------------------------------------------------------------------
// Queues

/// The queue in a path.
fn queue_at(name: &str) -> Answer<&'static str> {
    queue_name(name).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, no_queue(name)))
}

fn queue_name(name: &str) -> Option<&'static str> {
    QUEUES.into_iter().find(|queue| *queue == name)
}

fn no_queue(name: &str) -> String {
    format!("there is no queue {name:?}: {}", QUEUES.join(", "))
}

/// Pauses a queue: no more of its jobs start. Running jobs continue.
#[utoipa::path(
    post, path = "/queues/{queue}/pause", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 200, description = "The state of the service.", body = Overview),
        (status = 404, description = "The queue does not exist.", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(app): State<Shared>,
    Path(queue): Path<String>,
) -> Answer<Json<Overview>> {
    let queue = queue_at(&queue)?;
    app.jobs.here()?.pause(Some(queue));
    Ok(now(&app))
}

/// Resumes a queue: its jobs start again.
#[utoipa::path(
    post, path = "/queues/{queue}/resume", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 200, description = "The state of the service.", body = Overview),
        (status = 404, description = "The queue does not exist.", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(app): State<Shared>,
    Path(queue): Path<String>,
) -> Answer<Json<Overview>> {
    let queue = queue_at(&queue)?;
    app.jobs.here()?.resume(Some(queue));
    Ok(now(&app))
}

/// Pauses all queues: no more jobs start. Running jobs continue.
#[utoipa::path(
    post, path = "/queues/pause", tag = "queues",
    responses(
        (status = 200, description = "The state of the service.", body = Overview),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause_all(State(app): State<Shared>) -> Answer<Json<Overview>> {
    app.jobs.here()?.pause(None);
    Ok(now(&app))
}

/// Resumes all queues. A queue that was paused separately stays paused.
#[utoipa::path(
    post, path = "/queues/resume", tag = "queues",
    responses(
        (status = 200, description = "The state of the service.", body = Overview),
        (status = 501, description = "A store keeps the jobs and cannot do this.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume_all(State(app): State<Shared>) -> Answer<Json<Overview>> {
    app.jobs.here()?.resume(None);
    Ok(now(&app))
}

// ---------------------------------------------------------------------------
// The service

fn now(app: &App) -> Json<Overview> {
    let now = app.jobs.now();
    let queues = now.classes.into_iter();
    Json(Overview {
        counts: now.counts.into(),
        submitted: now.submitted,
        ended: now.ended.into(),
        queues: queues
            .filter(|class| QUEUES.contains(&class.name.as_str()))
            .map(Into::into)
            .collect(),
        workers: app.jobs.workers(),
        schedules: app.jobs.schedules(),
        kept: app.jobs.here().is_err(),
        paused: now.paused,
        draining: app.is_draining(),
    })
}

/// Returns the number of jobs in each state, the queues, the workers and the schedules.
#[utoipa::path(
    get, path = "/overview", tag = "service",
    responses((status = 200, description = "The state of the service.", body = Overview))
)]
pub(super) async fn overview(State(app): State<Shared>) -> Json<Overview> {
    now(&app)
}

/// Returns the counts of each second of the last five minutes.
#[utoipa::path(
    get, path = "/history", tag = "service",
    responses((status = 200, description = "The seconds, oldest first.", body = [Second]))
)]
pub(super) async fn history(State(app): State<Shared>) -> Json<Vec<Second>> {
    Json(app.history.seconds())
}

/// Returns metrics in the format of Prometheus (OpenMetrics).
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text"))
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

/// The state of the service.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `draining`.
    status: &'static str,
}

/// Reports whether the service accepts jobs.
#[utoipa::path(
    get, path = "/health", tag = "service",
    responses(
        (status = 200, description = "The service accepts jobs.", body = Health),
        (status = 503, description = "The service is about to end and accepts no more jobs.", body = Health),
    )
)]
pub(super) async fn health(State(app): State<Shared>) -> (StatusCode, AsItIs, Json<Health>) {
    let (code, status) = if app.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ok")
    };
    (code, AsItIs, Json(Health { status }))
}
