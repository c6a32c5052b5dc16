//! A worker's other tasks: heartbeats for its jobs, and the engine's maintenance.

use std::{sync::Arc, time::Duration};

use fourway_core::{Timer, cancel::Reason};
use futures_util::future::join_all;

use super::Shared;
use crate::{Beat, EngineError, Held, KindContext, Lease};

/// The reason that ends an attempt whose lease was lost.
const LOST: &str = "its lease was lost: somebody else has the job, or it has ended";

/// The task that sends heartbeats, for as long as there may be jobs.
///
/// After an answered heartbeat, the next one follows within a heartbeat period and a fourth of the
/// lease, which is less than two thirds of the lease.
pub(super) async fn beat(shared: Arc<Shared>) {
    let mut pause = shared.heartbeat;
    while !is_over_within(&shared, pause).await {
        let heard = beat_once(&shared).await;
        pause = if heard {
            shared.heartbeat
        } else {
            // This leaves time for another heartbeat before the lease runs out.
            shared.heartbeat / 4
        };
    }
}

/// The task for maintenance. Separate from the heartbeats, which would have to wait for it.
pub(super) async fn maintain(shared: Arc<Shared>) {
    while !is_over_within(&shared, shared.heartbeat).await {
        let maintain = shared.asked(|engine| engine.maintain());
        match shared.runtime.timeout(shared.lease / 3, maintain).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.trouble(&error),
            Err(_elapsed) => {
                let error = "its maintenance took too long";
                shared.trouble(&EngineError::unavailable(error));
            }
        }
    }
}

/// Waits for at most `pause`; whether the worker is over.
async fn is_over_within(shared: &Shared, pause: Duration) -> bool {
    if shared.runtime.timeout(pause, shared.idle()).await.is_ok() {
        return true;
    }
    let state = shared.state();
    !state.fetching && state.running.is_empty()
}

/// Whether the engine has answered.
async fn beat_once(shared: &Shared) -> bool {
    let running: Vec<_> = {
        let state = shared.state();
        let running = state.running.iter();
        running.map(|(lease, job)| (*lease, job.clone())).collect()
    };
    if running.is_empty() {
        return true;
    }
    match tell(shared, &running).await {
        Ok(()) => true,
        Err(error) if may_pass(&error) => {
            shared.trouble(&error);
            false
        }
        Err(error) if running.len() == 1 => tell_without_progress(shared, &running, &error).await,
        // The engine refuses one of them: the others must still arrive.
        Err(_) => {
            // All at once: one after the other they might take longer than the lease.
            let each = running
                .chunks(1)
                .map(async |one| match tell(shared, one).await {
                    Ok(()) => true,
                    Err(error) if may_pass(&error) => {
                        shared.trouble(&error);
                        false
                    }
                    Err(error) => tell_without_progress(shared, one, &error).await,
                });
            join_all(each).await.into_iter().all(|heard| heard)
        }
    }
}

/// The engine refuses this heartbeat, perhaps for its progress. The progress is dropped: it would
/// be refused again, and the lease is more important. `false` if the engine cannot be reached.
async fn tell_without_progress(
    shared: &Shared,
    one: &[(Lease, KindContext)],
    refused: &EngineError,
) -> bool {
    shared.trouble(refused);
    for (_, job) in one {
        job.take_progress();
    }
    match tell(shared, one).await {
        Ok(()) => true,
        Err(error) => {
            shared.trouble(&error);
            !may_pass(&error)
        }
    }
}

/// The error does not concern the message.
fn may_pass(error: &EngineError) -> bool {
    !error.is_refusal()
}

/// One heartbeat for these jobs. It does not wait long for an answer: the next one may get through.
/// Progress that did not arrive is sent again.
async fn tell(shared: &Shared, jobs: &[(Lease, KindContext)]) -> Result<(), EngineError> {
    let beats: Vec<_> = jobs
        .iter()
        .map(|(lease, job)| Beat {
            lease: *lease,
            progress: job.take_progress(),
        })
        .collect();
    let news: Vec<_> = beats.iter().map(|beat| beat.progress.is_some()).collect();
    let beat = shared.asked(|engine| engine.heartbeat(beats, shared.lease));
    let answers = shared.runtime.timeout(shared.lease / 4, beat).await;
    let answers = answers.unwrap_or_else(|_elapsed| {
        let error = "it did not answer to heartbeats in time";
        Err(EngineError::unavailable(error))
    });
    match answers {
        Ok(answers) => {
            shared.heard();
            for ((_, job), held) in jobs.iter().zip(answers) {
                match held {
                    Held::Yes => {}
                    Held::Cancel => job.token().cancel_with(Reason::Requested),
                    Held::Lost => job.token().cancel_with(LOST),
                }
            }
            Ok(())
        }
        Err(error) => {
            for ((_, job), _) in jobs.iter().zip(news).filter(|(_, news)| *news) {
                job.tell_progress_again();
            }
            Err(error)
        }
    }
}
