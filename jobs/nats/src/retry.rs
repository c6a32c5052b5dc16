//! Jobs that run again after their end, and the arguments that they need for it.
//!
//! The arguments of a job are in its message, which is removed when the job has ended. So the record of
//! a job that has ended without an output takes them over. To run again is to have another message.
//!
//! The message is sent before the record is written, as at the submission: a record that is queued has a
//! message. In between, the message counts its job's [retries](Life::retried) and the record has one
//! less. A worker that gets the message then writes the record itself, so a process that dies in between
//! has either done nothing or all.

use fourway_jobs_engine::{EngineError, JobId, JobState, RetryAnswer, life::Life};

use crate::{
    bucket::Written,
    entry::{self, Entry},
    failed::unavailable,
    keys,
    store::{Job, Store},
};

impl Store {
    pub(crate) async fn retry(&self, id: JobId) -> Result<RetryAnswer, EngineError> {
        // With as many retries as the record will count when this request is done, by whomever. It has
        // claimed the key.
        let mut wanted: Option<Life> = None;
        let mut tries = self.tries();
        loop {
            let Some(job) = self.look(id).await? else {
                return self.forgotten(wanted.as_ref()).await;
            };
            let before = &job.entry.life;
            if (wanted.as_ref()).is_some_and(|wanted| before.retried >= wanted.retried) {
                return Ok(RetryAnswer::Queued);
            }
            let mut life = before.clone();
            match life.retry(None, self.now()) {
                RetryAnswer::Queued => {}
                RetryAnswer::Unknown => return self.forgotten(wanted.as_ref()).await,
                answer => return Ok(answer),
            }
            let done = if before.record.state == JobState::Retrying {
                self.at_once(life, &job).await?
            } else {
                let Some(args) = self.args_of(&job).await? else {
                    return Err(EngineError::invalid(format!(
                        "the arguments of job {id} are not there any more: they were too many beside its errors, or a program ended it that does not run jobs again. Submit another job"
                    )));
                };
                self.fits(entry::write(&life, &args)?.len())?;
                if let Some(name) = keys::name(&life)? {
                    if let Some(holder) = self.claim_key(&life, &name, &args).await? {
                        return Ok(RetryAnswer::KeyTaken(holder));
                    }
                }
                wanted = Some(life.clone());
                self.queue_again(life, &args, job.revision).await?
            };
            match done {
                Written::As(_) => return Ok(RetryAnswer::Queued),
                Written::Conflict => tries.again().await?,
            }
        }
    }

    /// The answer for a job that was forgotten, perhaps since this request has claimed its key.
    async fn forgotten(&self, claimed: Option<&Life>) -> Result<RetryAnswer, EngineError> {
        if let Some(life) = claimed {
            self.release(life.id(), life).await?;
        }
        Ok(RetryAnswer::Unknown)
    }

    /// Queues a job again that has ended.
    pub(crate) async fn queue_again(
        &self,
        life: Life,
        args: &[u8],
        revision: u64,
    ) -> Result<Written, EngineError> {
        let message = self.send_surely(&life, args).await?;
        self.write(&Entry::sent(life, message), &[], revision).await
    }

    /// Queues a job that waits for its next attempt. Its message comes back at the time that it was
    /// told, or not told, by an acknowledgement that may be out of date. So another one is sent, which
    /// the record makes harmless; here it comes second, as the job is not lost without it.
    async fn at_once(&self, life: Life, job: &Job) -> Result<Written, EngineError> {
        let args = self.args_of(job).await?;
        let entry = Entry {
            life,
            ..job.entry.clone()
        };
        let written = self.write(&entry, &[], job.revision).await?;
        if let (Written::As(revision), Some(args)) = (written, args) {
            let id = format!("{}-at-{revision}", entry.life.id());
            let sent = self.send_as(id, &entry.life, &args).await?;
            sent.await.map_err(unavailable)?;
        }
        Ok(written)
    }

    async fn args_of(&self, job: &Job) -> Result<Option<Vec<u8>>, EngineError> {
        if job.entry.has_args {
            return Ok(Some(job.output.clone()));
        }
        self.args_in_message(&job.entry).await
    }

    /// The arguments, while the job's message is there.
    async fn args_in_message(&self, entry: &Entry) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(sequence) = entry.message() else {
            return Ok(None);
        };
        let Some(payload) = self.lanes().message(sequence).await? else {
            return Ok(None);
        };
        let (life, args) = entry::read::<Life>(&payload)?;
        Ok((life.id() == entry.life.id()).then(|| args.to_vec()))
    }

    /// The bytes of the record of a job that has no output: its arguments, if it has ended and they can
    /// be read.
    ///
    /// # Errors
    ///
    /// The servers cannot be reached: a later call may find the arguments. Any other error would come
    /// again, and the end must be recorded.
    pub(crate) async fn bytes_without_output(
        &self,
        entry: &mut Entry,
    ) -> Result<Vec<u8>, EngineError> {
        if !entry.may_be_retried() {
            return Ok(Vec::new());
        }
        match self.args_in_message(entry).await {
            Ok(Some(args)) => Ok(self.args_that_fit(entry, &args).to_vec()),
            Err(error) if error.is_unavailable() => Err(error),
            Ok(None) | Err(_) => Ok(Vec::new()),
        }
    }

    /// The arguments, unless the record of the job, which has ended, would be too long with them: its
    /// end must be recorded in any case.
    pub(crate) fn args_that_fit<'a>(&self, entry: &mut Entry, args: &'a [u8]) -> &'a [u8] {
        entry.has_args = entry.may_be_retried();
        let fits = |entry: &Entry| self.fits(entry::write(entry, args)?.len());
        if entry.has_args && fits(entry).is_ok() {
            return args;
        }
        entry.has_args = false;
        &[]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fourway_jobs_engine::{Fetch, NewJob, Settled, Submitted, UniqueKey, Verdict};

    use super::*;
    use crate::{store::Known, sweep::tests::with_marks};

    const LONG: u64 = 3_600_000;

    fn keyed() -> NewJob {
        let mut job = NewJob::new("plain", 1, *b"args");
        job.max_attempts = 1;
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within: None });
        job
    }

    async fn fetched(store: &Store) -> fourway_jobs_engine::Leased {
        let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
        let fetch = fetch.patience(Duration::from_secs(60)).max(1);
        store.fetch(&fetch).await.unwrap().remove(0)
    }

    async fn settled(store: &Store, job: &fourway_jobs_engine::Leased, verdict: Verdict) {
        let settled = store.settle(vec![(job.lease, verdict)]).await.unwrap();
        assert_eq!(settled, [Settled::Recorded]);
    }

    async fn failed(store: &Store, job: NewJob) -> Box<Job> {
        let id = job.id;
        store.submit(vec![job]).await.unwrap();
        let error = "never".to_owned();
        settled(store, &fetched(store).await, Verdict::DeadLetter { error }).await;
        known(store, id).await
    }

    async fn known(store: &Store, id: JobId) -> Box<Job> {
        match store.known(id).await.unwrap() {
            Known::Job(job) => job,
            _ => panic!("it is not known"),
        }
    }

    /// The process that was asked has died between the message and the record.
    #[test]
    fn a_retry_is_completed_by_the_worker_that_gets_its_message() {
        with_marks(LONG, async |store| {
            let job = failed(&store, keyed()).await;
            let mut life = job.entry.life.clone();
            assert_eq!(life.retry(None, store.now()), RetryAnswer::Queued);
            store.send_surely(&life, b"args").await.unwrap();
            let again = fetched(&store).await;
            assert_eq!((again.attempt, &*again.args), (2, &b"args"[..]));
            let job = known(&store, job.entry.life.id()).await;
            assert_eq!((job.entry.life.retried, job.entry.has_args), (1, false));
            settled(&store, &again, Verdict::Complete(b"out".to_vec())).await;
        });
    }

    /// The process that was asked has died between the key and the message.
    #[test]
    fn a_retry_is_completed_by_the_next_submitter_of_its_key() {
        with_marks(LONG, async |store| {
            let job = failed(&store, keyed()).await;
            let id = job.entry.life.id();
            let mut life = job.entry.life.clone();
            assert_eq!(life.retry(None, store.now()), RetryAnswer::Queued);
            let name = keys::name(&life).unwrap().unwrap();
            let holder = store.claim_key(&life, &name, b"args").await.unwrap();
            assert_eq!(holder, None);
            let submitted = store.submit(vec![keyed()]).await.unwrap();
            assert_eq!(submitted, [Submitted::Existing(id)]);
            let again = fetched(&store).await;
            assert_eq!((again.lease.id, &*again.args), (id, &b"args"[..]));
            // Who was asked, and is not dead, finds it done.
            let written = store.queue_again(life, b"args", job.revision).await;
            assert_eq!(written.unwrap(), Written::Conflict);
            settled(&store, &again, Verdict::Complete(Vec::new())).await;
            let next = store.submit(vec![keyed()]).await.unwrap();
            assert!(next[0].is_new(), "its claim says nothing any more");
        });
    }

    /// A claim for a retry, of a process that has not written the record yet.
    async fn claimed(store: &Store, job: &Job) -> Life {
        let mut life = job.entry.life.clone();
        // Before its end, so that it is not forgotten.
        assert_eq!(life.retry(None, 0), RetryAnswer::Queued);
        let name = keys::name(&life).unwrap().unwrap();
        let holder = store.claim_key(&life, &name, b"args").await.unwrap();
        assert_eq!(holder, None);
        life
    }

    #[test]
    fn a_job_that_is_not_forgotten_after_all_has_its_key() {
        with_marks(LONG, async |store| {
            let job = failed(&store, keyed()).await;
            let id = job.entry.life.id();
            let life = claimed(&store, &job).await;
            let written = store.queue_again(life, b"args", job.revision).await;
            assert_ne!(written.unwrap(), Written::Conflict);
            // Of a process that has read the record before.
            store.forget(id, &job).await.unwrap();
            let submitted = store.submit(vec![keyed()]).await.unwrap();
            assert_eq!(submitted, [Submitted::Existing(id)]);
        });
    }

    #[test]
    fn a_claim_does_not_revive_a_job_that_was_forgotten() {
        with_marks(LONG, async |store| {
            for has_mark in [true, false] {
                let job = failed(&store, keyed()).await;
                let id = job.entry.life.id();
                let life = claimed(&store, &job).await;
                store.forget(id, &job).await.unwrap();
                if !has_mark {
                    let mark = store.records().get(&id.to_string()).await.unwrap();
                    store
                        .records()
                        .delete(mark.unwrap().revision)
                        .await
                        .unwrap();
                    assert!(matches!(store.known(id).await.unwrap(), Known::Never));
                }
                // Its message does nothing, though it is new.
                store.send_surely(&life, b"args").await.unwrap();
                let next = keyed();
                let submitted = store.submit(vec![next.clone()]).await.unwrap();
                assert_eq!(submitted, [Submitted::New(next.id)]);
                let first = fetched(&store).await;
                assert_eq!(first.lease.id, next.id);
                settled(&store, &first, Verdict::Complete(Vec::new())).await;
            }
        });
    }

    #[test]
    fn a_claim_does_not_keep_a_job_whose_time_is_over() {
        with_marks(LONG, async |store| {
            let mut short = keyed();
            short.keep = Duration::from_millis(1);
            let job = failed(&store, short).await;
            let life = claimed(&store, &job).await;
            while store.tell_time().await.unwrap() < job.entry.life.forget_at().unwrap() {}
            let submitted = store.submit(vec![keyed()]).await.unwrap();
            assert!(submitted[0].is_new(), "{submitted:?}");
            // Who claimed it comes late.
            let late = store.queue_again(life, b"args", job.revision).await;
            assert_eq!(late.unwrap(), Written::Conflict);
        });
    }

    /// Who was asked gives the key back, and not one that was claimed later.
    #[test]
    fn a_retry_of_a_forgotten_job_leaves_no_claim() {
        with_marks(LONG, async |store| {
            let job = failed(&store, keyed()).await;
            let life = claimed(&store, &job).await;
            let name = keys::name(&life).unwrap().unwrap();
            let answer = store.forgotten(Some(&life)).await.unwrap();
            assert_eq!(answer, RetryAnswer::Unknown);
            let left = store.keys().get(&name).await.unwrap();
            assert!(left.is_none_or(|left| left.bytes.is_none()));
            claimed(&store, &job).await;
            store.forgotten(Some(&job.entry.life)).await.unwrap();
            let left = store.keys().get(&name).await.unwrap();
            assert!(left.is_some_and(|left| left.bytes.is_some()));
        });
    }

    #[test]
    fn a_job_whose_arguments_are_gone_is_refused() {
        with_marks(LONG, async |store| {
            let mut job = failed(&store, NewJob::new("plain", 1, *b"args")).await;
            assert_eq!((job.entry.has_args, &*job.output), (true, &b"args"[..]));
            // As an earlier program has written it.
            job.entry.has_args = false;
            let written = store.write(&job.entry, &[], job.revision).await.unwrap();
            assert_ne!(written, Written::Conflict);
            let error = store.retry(job.entry.life.id()).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
        });
    }

    /// The record of an end has no room for them beside a long error.
    #[test]
    fn an_end_is_recorded_without_arguments_that_are_too_long() {
        with_marks(LONG, async |store| {
            let long = vec![b'a'; (1 << 20) - 2048];
            let job = NewJob::new("plain", 1, long);
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            let error = "x".repeat(4096);
            let verdict = Verdict::DeadLetter { error };
            settled(&store, &fetched(&store).await, verdict).await;
            let job = known(&store, id).await;
            assert_eq!((job.entry.has_args, job.output.len()), (false, 0));
            assert_eq!(job.entry.life.record.state, JobState::Failed);
        });
    }
}
