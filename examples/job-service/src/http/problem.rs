//! Errors as of RFC 9457: [`Problem`].

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, FromRequest, FromRequestParts, Json, Path, Query, Request,
        rejection::{PathRejection, QueryRejection},
    },
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, IntoResponseParts, Response, ResponseParts},
};
use fourway_core::Timer;
use fourway_jobs::{JobId, RetryError, SubmitError, UnknownJob};
use fourway_jobs_engine::EngineError;
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::app::Shared;
use crate::{fault::fault, task::Submission};

/// A problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `about:blank`: a program has no more to know than the status (and `Retry-After`), and `detail`
    /// is for people. `/docs#search-timed-out`: the search has found no job within the time of a
    /// request; a narrower one may.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The status.
    status: u16,
    /// The fault of this request, and its remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// How many bytes a request's body may have.
const BODY_LIMIT: usize = 64 * 1024;

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::bare(status)
        }
    }

    fn bare(status: StatusCode) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: None,
            retry_after: None,
        }
    }

    /// Is it the service's fault, or its store's, rather than the request's?
    pub(crate) fn is_ours(&self) -> bool {
        self.status >= 500
    }

    /// In seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn submit(error: &SubmitError, retry_after: u64) -> Self {
        if error.is_full() {
            Self::full(retry_after)
        } else if error.is_closed() {
            Self::closed(retry_after)
        } else {
            Self::new(StatusCode::CONFLICT, error.to_string())
        }
    }

    pub(crate) fn retry(error: &RetryError, retry_after: u64) -> Self {
        if error.is_closed() {
            Self::closed(retry_after)
        } else if error.is_unknown() {
            Self::new(StatusCode::NOT_FOUND, error.to_string())
        } else {
            Self::new(StatusCode::CONFLICT, error.to_string())
        }
    }

    pub(crate) fn full(retry_after: u64) -> Self {
        let detail = "too many jobs wait already: try again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(retry_after)
    }

    /// A store did not take a job.
    pub(crate) fn not_taken(error: EngineError) -> Self {
        if error.is_refusal() && !error.is_unsupported() {
            // It cannot hold these values, such as a text that is too long for it.
            return Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
        }
        error.into()
    }

    /// A store did not list its jobs within the time of a request.
    pub(crate) fn search_timed_out(limit: Duration) -> Self {
        let detail = format!(
            "the store did not list its jobs within {limit:?}: ask for fewer of them, by `state` or `after`, or try again later"
        );
        Self {
            kind: "/docs#search-timed-out",
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
        }
    }

    fn too_large() -> Self {
        let detail = format!("a body has {BODY_LIMIT} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub(crate) fn closed(retry_after: u64) -> Self {
        let detail = "the service is about to end, and accepts no more jobs";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after)
    }
}

impl From<UnknownJob> for Problem {
    fn from(error: UnknownJob) -> Self {
        Self::new(StatusCode::NOT_FOUND, error.to_string())
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        if error.is_unsupported() {
            Self::new(StatusCode::NOT_IMPLEMENTED, detail)
        } else if error.is_unavailable() || error.is_closed() {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(1)
        } else {
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if matches!(
            status,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) {
            // The rest of the body is not read, so the connection ends here. A client that is not
            // told would send its next request on it.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Of an answer whose status is an error's, and whose body is not: it stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsItIs;

impl IntoResponseParts for AsItIs {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Makes problem documents of the error answers of layers and axum.
pub(crate) async fn documents(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let has_document = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == MEDIA_TYPE);
    let is_meant = response.extensions().get::<AsItIs>().is_some();
    if !is_error || has_document || is_meant {
        return response;
    }
    let (before, _) = response.into_parts();
    let mut response: Response<Body> = Problem::bare(status).into_response();
    for (name, value) in &before.headers {
        if !response.headers().contains_key(name) && name.as_str() != "content-length" {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// A body of JSON.
pub(crate) struct Sent(pub(crate) Submission);

impl FromRequest<Shared> for Sent {
    type Rejection = Problem;

    async fn from_request(mut request: Request, app: &Shared) -> Result<Self, Problem> {
        // Before a byte is read: a client that asks first (`Expect: 100-continue`) is told at once.
        let headers = request.headers();
        if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
            let detail =
                "the body has to be JSON, with the header `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(Problem::too_large());
        }
        DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
        // All of it: a client that sends a byte now and then is late as well.
        let body = Bytes::from_request(request, app);
        match app.rt.timeout(app.time_limit, body).await {
            Ok(Ok(body)) => read(&body).map(Self),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::too_large())
            }
            Ok(Err(rejection)) => Err(Problem::new(rejection.status(), rejection.body_text())),
            Err(_elapsed) => {
                let detail = format!("the body has not arrived within {:?}", app.time_limit);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            }
        }
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind.strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

fn read(body: &[u8]) -> Result<Submission, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        if !error.is_data() {
            let detail = format!("the body is not JSON: {error}");
            return Problem::new(StatusCode::BAD_REQUEST, detail);
        }
        // Not the words of the error: they are for who reads the source.
        let sent = serde_json::from_slice(body).ok();
        let fault = sent.and_then(|sent| fault(&sent));
        let detail = fault.unwrap_or_else(|| {
            "the body is not as `/docs` describes it, or has a field twice".to_owned()
        });
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    })
}

/// The query of a URL.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|rejection: QueryRejection| {
                Problem::new(rejection.status(), rejection.body_text())
            })
    }
}

/// The id of a job, in the path.
pub(crate) struct Id(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|rejection: PathRejection| {
            Problem::new(rejection.status(), rejection.body_text())
        })?;
        parse_id(&id).map(Self)
    }
}

pub(crate) fn parse_id(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|error: fourway_jobs::ParseJobIdError| {
        Problem::new(StatusCode::BAD_REQUEST, format!("{id:?}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_store_is_no_fault_of_the_request() {
        let status = |error: EngineError| Problem::not_taken(error).status;
        assert_eq!(status(EngineError::invalid("a zero byte")), 422);
        assert_eq!(status(EngineError::panicked()), 500);
        assert_eq!(status(EngineError::internal("no answer")), 500);
        assert_eq!(status(EngineError::broken("no rights")), 500);
        assert_eq!(status(EngineError::unavailable("down")), 503);
    }
}
