//! Unique keys: which job has a key. A key with an owner always leads to a job.
//!
//! A key is claimed by creating it, or by writing it with the revision that was found: of two
//! concurrent claims, one succeeds. The claim holds the whole job, as its owner may die before
//! sending it. A submitter that finds the key taken by a job without a record sends that job in the
//! owner's place. This cannot revive a forgotten job, as its first claim is removed before its record is:
//! if there is no record and that claim is unchanged, the job never had a record.
//!
//! A job that runs again after its end claims its key anew, with its [retries](Life::retried) counted. A
//! submitter that finds the record with fewer queues the job in the claimer's place. The job may be
//! forgotten between the claim and the record. So who forgets it leaves such a claim alone, and who finds
//! it without a record takes the key: this job had a record.

use std::collections::BTreeMap;

use fourway_jobs_engine::{EngineError, JobId, Submitted, life::Life};

use crate::{
    bucket::Written,
    entry::{self, Claim},
    names,
    store::{Known, Store},
};

impl Store {
    /// Claims the keys of jobs that are submitted together, before any of them is sent; or none, if
    /// one is refused.
    pub(crate) async fn claim_all(
        &self,
        jobs: &[(Life, Vec<u8>)],
    ) -> Result<Vec<Submitted>, EngineError> {
        let mut answers = Vec::with_capacity(jobs.len());
        // The keys that these jobs have claimed. None of them has a record yet: to claim its key
        // again would send it.
        let mut claimed: BTreeMap<String, &Life> = BTreeMap::new();
        for (life, args) in jobs {
            let name = name(life)?;
            let here = name.as_ref().and_then(|name| claimed.get(name));
            if let Some(holder) = here.filter(|holder| holder.id() != life.id()) {
                let known = self.known(life.id()).await?;
                answers.push(match known {
                    Known::Job(_) => Submitted::New(life.id()),
                    Known::Never | Known::Forgotten => Submitted::Existing(holder.id()),
                });
                continue;
            }
            match self.claim(life, name.as_deref(), args).await {
                Ok((answer, is_claimed)) => {
                    answers.push(answer);
                    if let Some(name) = name.filter(|_| is_claimed) {
                        claimed.insert(name, life);
                    }
                }
                Err(error) => {
                    // Otherwise the next submitter of a key would send the job that is refused here.
                    // If the servers cannot be reached, nobody knows what was taken: the client
                    // submits the same jobs again.
                    if !error.is_unavailable() {
                        for life in claimed.values() {
                            // The refusal is what the client has to know. A key that stays, as the
                            // servers are gone by now, is in the same state as after their failure
                            // above.
                            let _ = self.give_back(life).await;
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(answers)
    }

    /// Claims the job's key, or gives the job that has it; and whether this job, of which nothing is
    /// sent yet, has its key now.
    async fn claim(
        &self,
        life: &Life,
        name: Option<&str>,
        args: &[u8],
    ) -> Result<(Submitted, bool), EngineError> {
        let id = life.id();
        let Some(name) = name else {
            return Ok((Submitted::New(id), false));
        };
        // It may have been submitted before, and another job may have the key by now.
        if let Known::Job(_) = self.known(id).await? {
            return Ok((Submitted::New(id), false));
        }
        Ok(match self.claim_key(life, name, args).await? {
            // Perhaps by an earlier submission that sent nothing. If this one is refused, the key must
            // not stay either.
            None => (Submitted::New(id), true),
            Some(holder) => (Submitted::Existing(holder), false),
        })
    }

    /// Claims the job's key for a job of which nothing is sent yet, or nothing since its last end; or
    /// gives the job that has it.
    pub(crate) async fn claim_key(
        &self,
        life: &Life,
        name: &str,
        args: &[u8],
    ) -> Result<Option<JobId>, EngineError> {
        let id = life.id();
        let claim = Claim { life: life.clone() };
        let claim = entry::write(&claim, args)?;
        let mut revision = 0;
        let mut tries = self.tries();
        loop {
            match self.keys().put(name, claim.clone(), revision).await? {
                Written::As(_) => return Ok(None),
                Written::Conflict => tries.again().await?,
            }
            let Some(found) = self.keys().get(name).await? else {
                revision = 0;
                continue;
            };
            revision = found.revision;
            let Some(bytes) = found.bytes else {
                continue;
            };
            let (there, there_args) = entry::read::<Claim>(&bytes)?;
            let there_id = there.life.id();
            if there_id == id {
                if there.life.retried == life.retried {
                    return Ok(None);
                }
                continue;
            }
            match self.known(there_id).await? {
                Known::Job(job) => {
                    let other = &job.entry.life;
                    if other.takes_key(self.now()) {
                        return Ok(Some(there_id));
                    }
                    // It runs again, and has claimed its key for that. If it was written meanwhile, that
                    // is found next.
                    if there.life.retried > other.retried && job.entry.may_be_retried() {
                        if other.forget_at().is_some_and(|at| at > self.now()) {
                            let _ = self
                                .queue_again(there.life, there_args, job.revision)
                                .await?;
                        } else {
                            // Its retention is over, and the record is still there. The process that
                            // claimed the key may still write it, and must not once another job has
                            // the key.
                            self.forget(there_id, &job).await?;
                        }
                        revision = 0;
                    }
                }
                Known::Forgotten => {}
                // Its mark is deleted already.
                Known::Never if there.life.retried > 0 => {}
                Known::Never => {
                    let again = self.keys().get(name).await?;
                    if again.is_some_and(|again| again.revision == revision) {
                        self.introduce(there.life, there_args).await?;
                        return Ok(Some(there_id));
                    }
                    // So that it is read again.
                    revision = 0;
                }
            }
        }
    }

    /// Frees the key of a job that is refused, if it never had a record.
    ///
    /// Another submitter of the same job may send it between the two steps. It runs without its key
    /// then.
    async fn give_back(&self, life: &Life) -> Result<(), EngineError> {
        if let Known::Never = self.known(life.id()).await? {
            self.release(life.id(), life).await?;
        }
        Ok(())
    }

    /// Frees the key, if it belongs to this job; not if the job has claimed it since, to run again.
    pub(crate) async fn release(&self, id: JobId, life: &Life) -> Result<(), EngineError> {
        let Some(name) = name(life)? else {
            return Ok(());
        };
        let Some(found) = self.keys().get(&name).await? else {
            return Ok(());
        };
        let Some(bytes) = found.bytes else {
            return Ok(());
        };
        let (claim, _) = entry::read::<Claim>(&bytes)?;
        if claim.life.id() == id && claim.life.retried <= life.retried {
            // If this fails, another job has the key by now, or it is free.
            let _ = self.keys().remove(&name, found.revision).await?;
        }
        Ok(())
    }
}

/// The name of its key, if it has one.
pub(crate) fn name(life: &Life) -> Result<Option<String>, EngineError> {
    let record = &life.record;
    let unique = record.unique.as_deref();
    unique
        .map(|key| names::unique(&record.kind, key))
        .transpose()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use fourway_jobs_engine::{NewJob, UniqueKey, life::Life};

    use super::{Written, name};
    use crate::sweep::tests::with_marks;

    /// The earlier submission has claimed the key, and could not reach the servers then.
    #[test]
    fn a_key_of_an_earlier_try_is_given_back_too() {
        with_marks(60_000, async |store| {
            let keyed = |key: &str| {
                let mut job = NewJob::new("plain", 1, *b"");
                let key = key.to_owned();
                job.unique = Some(UniqueKey { key, within: None });
                Life::begin(job, 1)
            };
            let (first, second) = (keyed("first"), keyed("spoilt"));
            let key = name(&first.0).unwrap().unwrap();
            store.claim_all(from_ref(&first)).await.unwrap();
            assert!(store.keys().get(&key).await.unwrap().is_some());
            let spoilt = name(&second.0).unwrap().unwrap();
            let put = store.keys().put(&spoilt, b"no claim".to_vec(), 0);
            assert!(matches!(put.await.unwrap(), Written::As(_)));
            let error = store.claim_all(&[first, second]).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
            let left = store.keys().get(&key).await.unwrap();
            assert!(left.is_none_or(|left| left.bytes.is_none()));
        });
    }
}
