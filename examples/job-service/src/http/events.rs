//! `GET /events`: events of jobs as server-sent events.
//!
//! Each has an id, `BOOT-NUMBER`, with which a client that was cut off continues where it was:
//! browsers send it as `Last-Event-ID` by themselves. A client that missed more than is kept, or
//! whose server was restarted, gets an event `lost`, and loads everything anew.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event as Sent, KeepAlive, Sse},
    },
};
use fourway_core::cancel::WaitForCancellation;
use fourway_jobs::{Events, JobId};
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::IntoParams;

use super::{
    app::Shared,
    jobs::Jobs,
    kept::Happened,
    problem::{Asked, Problem, parse_id},
    view::EventView,
};

/// How many events wait for a slow client before it loses the oldest.
const BUFFER: usize = 4096;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The id of a job: only its events are sent.
    job: Option<String>,
}

/// Streams the events of jobs as they happen.
#[utoipa::path(
    get, path = "/events", tag = "jobs", params(
        Wanted,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last received event. The stream continues after it."),
    ),
    responses(
        (status = 200, description = "Server-sent events: `job` contains an event of a job, \
            `lost` says how many events are missing, or why.", body = EventView, content_type = "text/event-stream"),
        (status = 400, description = "The id of the job or of the event is invalid.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(app): State<Shared>,
    headers: HeaderMap,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let only = wanted.job.as_deref().map(parse_id).transpose()?;
    let last = headers.get("last-event-id");
    // An empty one is none.
    let last = last.filter(|last| !last.is_empty());
    let last = last
        .map(|last| {
            let parts = last.to_str().ok().and_then(|last| last.split_once('-'));
            parts
                .and_then(|(boot, number)| Some((boot, number.parse::<u64>().ok()?)))
                .ok_or_else(|| {
                    let detail = "`Last-Event-ID` is not the id of an event of this service";
                    Problem::new(StatusCode::BAD_REQUEST, detail)
                })
        })
        .transpose()?;
    let mut first = VecDeque::new();
    let (events, next) = match (&app.jobs, last) {
        (Jobs::Here(jobs), Some((boot, number))) if boot == app.boot => {
            let events = jobs.subscribe_from(number, BUFFER);
            // No event has a larger number: `Happenings` says so.
            (Source::Here(events), Some(number.saturating_add(1)))
        }
        (jobs, last) => {
            if let Some((boot, _)) = last {
                first.push_back(lost(if boot == app.boot {
                    "events of jobs that are kept are not"
                } else {
                    "the service was started anew"
                }));
            }
            (Source::of(jobs), None)
        }
    };
    // So that the client sees at once that it is connected.
    first.push_back(Sent::default().comment("connected"));
    let stream = Happenings {
        events,
        first,
        next,
        only,
        boot: app.boot.clone(),
        closing: app.closing.cancelled(),
    };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

fn lost(why: &str) -> Sent {
    Sent::default().event("lost").data(why)
}

/// The source of events.
enum Source {
    Here(Events),
    Kept(Pin<Box<dyn Stream<Item = Happened> + Send>>),
}

impl Source {
    fn of(jobs: &Jobs) -> Self {
        match jobs {
            Jobs::Here(jobs) => Self::Here(jobs.subscribe(BUFFER)),
            Jobs::Kept(kept) => Self::Kept(Box::pin(happenings(kept.subscribe()))),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Happened>> {
        match self {
            Self::Here(events) => events.poll_recv(cx).map(|event| {
                event.map(|event| Happened {
                    number: event.number,
                    id: event.id,
                    event: EventView::from(event),
                })
            }),
            Self::Kept(events) => events.as_mut().poll_next(cx),
        }
    }
}

/// The events of a receiver; gaps in the numbers show those that it was too slow for.
fn happenings(receiver: Receiver<Happened>) -> impl Stream<Item = Happened> + Send {
    futures_lite::stream::unfold(receiver, async |mut receiver| {
        loop {
            match receiver.recv().await {
                Ok(happened) => return Some((happened, receiver)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

struct Happenings {
    events: Source,
    /// Messages before the next event.
    first: VecDeque<Sent>,
    /// The number that the next event should have.
    next: Option<u64>,
    only: Option<JobId>,
    boot: String,
    closing: WaitForCancellation,
}

impl Stream for Happenings {
    type Item = Result<Sent, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(first) = this.first.pop_front() {
                return Poll::Ready(Some(Ok(first)));
            }
            if Pin::new(&mut this.closing).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let Happened { number, id, event } = match this.events.poll_next(cx) {
                Poll::Ready(Some(happened)) => happened,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            let lost = match this.next {
                Some(next) if number > next => Some(lost(&(number - next).to_string())),
                // The numbers grow, so this is the first event: the client gave a number that no
                // event had yet.
                Some(next) if number < next => Some(lost("there was no such event")),
                _ => None,
            };
            this.next = Some(number + 1);
            let sent = (this.only.is_none_or(|only| only == id)).then(|| {
                let id = format!("{}-{number}", this.boot);
                let data = serde_json::to_string(&event);
                let data = data.expect("plain data");
                Sent::default().event("job").id(id).data(data)
            });
            this.first.extend(lost);
            this.first.extend(sent);
        }
    }
}
