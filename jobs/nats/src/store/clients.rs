//! What clients ask for: to submit a job, to know of it, to wait for it, to cancel it. (To run it again is
//! in `retry`.)

use std::time::Duration;

use async_nats::jetstream::{context::PublishAckFuture, message::PublishMessage};
use fourway_jobs_engine::{
    CancelAnswer, EngineError, JobId, JobState, NewJob, Record, Submitted, life::Life,
};
use futures_util::{StreamExt, future::join_all};
use tokio::time::Instant;

use super::{Job, Store, lane};
use crate::{
    again::persistently,
    bucket::Written,
    entry::{self, Entry},
    failed::unavailable,
    keys,
};

/// How many jobs one call sends to the server at a time.
const AT_A_TIME: usize = 500;

impl Store {
    pub(crate) async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, EngineError> {
        let now = self.tell_time().await?;
        let begin = |job| Life::begin(job, now);
        let jobs: Vec<_> = jobs.into_iter().map(begin).collect();
        // All of them before the first is sent: if one is refused, none is taken.
        for (life, args) in &jobs {
            // Includes the space for names and headers; a record is not longer.
            self.fits(entry::write(life, args)?.len())?;
            lane(&life.record).checked()?;
            keys::name(life)?;
        }
        for (life, _) in &jobs {
            self.lanes.ensure(&lane(&life.record)).await?;
        }
        let submitted = self.claim_all(&jobs).await?;
        let new: Vec<_> = jobs.iter().zip(&submitted).collect();
        for some in new.chunks(AT_A_TIME) {
            let mut sent = Vec::with_capacity(some.len());
            for ((life, args), answer) in some {
                if answer.is_new() {
                    sent.push((life, args, self.send(life, args).await));
                }
            }
            // Each record is sent once its message is taken, while others are on their way.
            let taken = sent.into_iter().map(async |(life, args, sent)| {
                let taken_at_once = match sent {
                    Ok(sent) => sent.await.ok(),
                    Err(_) => None,
                };
                let message = match taken_at_once {
                    Some(ack) => ack.sequence,
                    None => self.send_surely(life, args).await?,
                };
                self.record_first(life, message).await
            });
            for recorded in join_all(taken).await {
                recorded?;
            }
        }
        Ok(submitted)
    }

    /// Completes the submission of a job that another process began.
    pub(crate) async fn introduce(&self, life: Life, args: &[u8]) -> Result<(), EngineError> {
        let message = self.send_surely(&life, args).await?;
        self.record_first(&life, message).await
    }

    /// Twice is once, by its id. Gives its sequence number.
    pub(crate) async fn send_surely(&self, life: &Life, args: &[u8]) -> Result<u64, EngineError> {
        let send = || async {
            let sent = self.send(life, args).await?.await;
            sent.map(|ack| ack.sequence).map_err(unavailable)
        };
        persistently(self.settings.timeout, send).await
    }

    /// Sends it to the queue first: the message holds the whole job.
    async fn send(&self, life: &Life, args: &[u8]) -> Result<PublishAckFuture, EngineError> {
        let id = match life.retried {
            0 => life.id().to_string(),
            // Another message than the one before: see `retry`.
            retried => format!("{}-{retried}", life.id()),
        };
        self.send_as(id, life, args).await
    }

    /// The id is the message's.
    pub(crate) async fn send_as(
        &self,
        id: String,
        life: &Life,
        args: &[u8],
    ) -> Result<PublishAckFuture, EngineError> {
        let lane = lane(&life.record);
        self.lanes.ensure(&lane).await?;
        let message = PublishMessage::build()
            .payload(entry::write(life, args)?.into())
            .message_id(id);
        let subject = lane.subject(self.prefix());
        let sent = self.context.send_publish(subject, message).await;
        sent.map_err(unavailable)
    }

    /// A worker that fetched it may have written the record before.
    async fn record_first(&self, life: &Life, message: u64) -> Result<(), EngineError> {
        let entry = Entry::sent(life.clone(), message);
        if let Written::As(revision) = self.write(&entry, &[], 0).await? {
            self.first.wrote(life.id(), revision);
        }
        Ok(())
    }

    pub(crate) async fn status(&self, id: JobId) -> Result<Option<Record>, EngineError> {
        Ok(self.look(id).await?.map(|job| job.entry.life.record))
    }

    pub(crate) async fn result(&self, id: JobId) -> Result<Option<Vec<u8>>, EngineError> {
        let job = self.look(id).await?;
        let completed = |job: &Job| job.entry.life.record.state == JobState::Completed;
        Ok(job.filter(|job| completed(job)).map(|job| job.output))
    }

    pub(crate) async fn wait(
        &self,
        id: JobId,
        patience: Duration,
    ) -> Result<Option<Record>, EngineError> {
        const LONGEST: Duration = Duration::from_millis(500);
        let end = Instant::now().checked_add(patience);
        let mut changes = None;
        let mut step = Duration::from_millis(1);
        loop {
            let job = self.status(id).await?;
            let over = end.is_some_and(|end| end <= Instant::now());
            match job {
                Some(job) if !job.state.is_finished() && !over => {}
                answer => return Ok(answer),
            }
            let Some(changes) = &mut changes else {
                // Listeners are told of a write, perhaps a little before it can be read. The first
                // read happens at once, as the write may have come before the listening began.
                let subject = self.records.subject(&id.to_string());
                changes = Some(self.client.subscribe(subject).await.map_err(unavailable)?);
                continue;
            };
            let left = end.map_or(LONGEST, |end| end.saturating_duration_since(Instant::now()));
            let told = tokio::time::timeout(step.min(left), changes.next()).await;
            step = if told.is_ok() {
                Duration::from_millis(1)
            } else {
                (step * 2).min(LONGEST)
            };
        }
    }

    pub(crate) async fn cancel(&self, id: JobId) -> Result<CancelAnswer, EngineError> {
        let mut tries = self.tries();
        loop {
            let Some(mut job) = self.look(id).await? else {
                return Ok(CancelAnswer::Unknown);
            };
            let answer = job.entry.life.cancel(self.now());
            if answer == CancelAnswer::TooLate {
                return Ok(answer);
            }
            let bytes = self.bytes_without_output(&mut job.entry).await?;
            match self.write(&job.entry, &bytes, job.revision).await? {
                // The worker that gets its message removes it.
                Written::As(_) => return Ok(answer),
                Written::Conflict => tries.again().await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Known, sweep::tests::with_marks};

    #[test]
    fn an_end_is_recorded_though_the_arguments_cannot_be_read() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            let Known::Job(mut job) = store.known(id).await.unwrap() else {
                panic!("it is not known");
            };
            let subject = lane(&job.entry.life.record).subject(store.prefix());
            let sent = store.context.publish(subject, "no job".into());
            job.entry.message = Some(sent.await.unwrap().await.unwrap().sequence);
            let written = store.write(&job.entry, &[], job.revision).await.unwrap();
            assert_ne!(written, Written::Conflict);
            assert_eq!(store.cancel(id).await.unwrap(), CancelAnswer::Dequeued);
            let error = store.retry(id).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
        });
    }
}
