//! Jobs in JetStream: the records, and the requests of clients and workers.
//!
//! Each change of a job is one write of its record, which compares the revision. The
//! acknowledgement to the queue follows, and only decides when the message comes back. So a message
//! that comes too early, twice or late does not change the job's state.

mod clients;
mod workers;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, ServerAddr,
    jetstream::{
        Context,
        context::{ContextBuilder, CreateStreamErrorKind},
        stream::{Config, Stream},
    },
};
use fourway_jobs_engine::{EngineError, JobId, Record};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex};

use crate::{
    again::{Tries, persistently},
    bucket::{Bucket, Value, Written},
    builder::Settings,
    clock::Clock,
    entry::{self, Entry},
    failed::{jetstream, unavailable},
    first::FirstRecords,
    lanes::Lanes,
    names::Lane,
    sweep::Sweeps,
    view::View,
};

/// The bytes of a message beyond its content.
const HEADERS: usize = 512;

/// For a message of at most so many bytes, the server's limit is not asked for: the client tells it with a
/// copy of all that the server has said of itself, which is too much for each write.
const SMALL: usize = 4096;

pub(crate) struct Store {
    handle: Handle,
    client: Client,
    context: Context,
    settings: Settings,
    /// [`SMALL`], or less if the server takes less.
    small: usize,
    lanes: Lanes,
    records: Bucket,
    keys: Bucket,
    clock: Clock,
    /// The jobs that this process holds, as last written, which saves reading them. Another process
    /// may have written since; the revision shows that.
    held: Mutex<HashMap<JobId, (Entry, u64)>>,
    first: FirstRecords,
    pub(crate) view: Arc<AsyncMutex<Option<View>>>,
    pub(crate) sweeps: Sweeps,
}

/// The state of a job in the records.
pub(crate) enum Known {
    Never,
    Forgotten,
    Job(Box<Job>),
}

pub(crate) struct Job {
    pub(crate) entry: Entry,
    pub(crate) output: Vec<u8>,
    pub(crate) revision: u64,
    /// The revision that this one replaced.
    pub(crate) before: Option<u64>,
}

impl Store {
    pub(crate) async fn open(handle: Handle, settings: Settings) -> Result<Self, EngineError> {
        let servers: Result<Vec<ServerAddr>, _> = settings
            .servers
            .split(',')
            .map(|server| server.trim().parse())
            .collect();
        let servers = servers.map_err(EngineError::invalid)?;
        let client = ConnectOptions::new()
            .name("fourway-jobs")
            .request_timeout(Some(settings.timeout))
            .connection_timeout(settings.timeout)
            .connect(servers)
            .await
            .map_err(unavailable)?;
        let context = ContextBuilder::new()
            .timeout(settings.timeout)
            .ack_timeout(settings.timeout)
            // A caller that sends many waits for the answers itself.
            .max_ack_inflight(1 << 20)
            .backpressure_on_inflight(false)
            .build(client.clone());
        let (prefix, replicas) = (&*settings.prefix, settings.replicas);
        let lanes = Lanes::open(
            &context,
            &client,
            &handle,
            prefix,
            replicas,
            settings.lease,
            settings.timeout,
        );
        let lanes = lanes.await?;
        let timeout = settings.timeout;
        let records = Bucket::open(&context, &records(prefix), replicas, 2, timeout).await?;
        let keys = Bucket::open(&context, &keys(prefix), replicas, 1, timeout).await?;
        let store = Self {
            handle,
            small: small(client.server_info().max_payload),
            client,
            context,
            lanes,
            records,
            keys,
            clock: Clock::default(),
            held: Mutex::default(),
            first: FirstRecords::default(),
            view: Arc::default(),
            sweeps: Sweeps::new(settings.sweep_every),
            settings,
        };
        store.clock.refresh(&store.keys).await?;
        Ok(store)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn replicas(&self) -> usize {
        let buckets = [&self.records, &self.keys];
        let replicas = buckets.map(|one| one.stream.cached_info().config.num_replicas);
        replicas.into_iter().fold(self.lanes.replicas(), usize::min)
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn records(&self) -> &Bucket {
        &self.records
    }

    pub(crate) fn keys(&self) -> &Bucket {
        &self.keys
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) async fn tell_time(&self) -> Result<u64, EngineError> {
        self.clock.refresh(&self.keys).await?;
        Ok(self.now())
    }

    pub(crate) async fn remove_all(&self) -> Result<(), EngineError> {
        let prefix = self.prefix();
        let streams = [
            Lanes::name(prefix),
            format!("KV_{}", records(prefix)),
            format!("KV_{}", keys(prefix)),
        ];
        for stream in streams {
            let removed = self.context.delete_stream(stream).await;
            removed.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Reads a job from the leader.
    pub(crate) async fn known(&self, id: JobId) -> Result<Known, EngineError> {
        Known::of(self.records.get(&id.to_string()).await?)
    }

    pub(crate) async fn write(
        &self,
        entry: &Entry,
        output: &[u8],
        revision: u64,
    ) -> Result<Written, EngineError> {
        let bytes = entry::write(entry, output)?;
        self.fits(bytes.len())?;
        let key = entry.life.id().to_string();
        self.records.put(&key, bytes, revision).await
    }

    pub(crate) fn fits(&self, bytes: usize) -> Result<(), EngineError> {
        if bytes + HEADERS <= self.small {
            return Ok(());
        }
        let most = self.client.server_info().max_payload;
        if bytes + HEADERS > most {
            return Err(EngineError::invalid(format!(
                "{bytes} bytes are too many for the server, which takes {most}: keep large data elsewhere, and its name in the job"
            )));
        }
        Ok(())
    }

    /// A job at this moment, after the transitions that are due by now.
    pub(crate) async fn look(&self, id: JobId) -> Result<Option<Box<Job>>, EngineError> {
        let now = self.tell_time().await?;
        let mut tries = self.tries();
        loop {
            let Known::Job(mut job) = self.known(id).await? else {
                return Ok(None);
            };
            if job.entry.life.expire(now) {
                job.output = self.bytes_without_output(&mut job.entry).await?;
                match self.write(&job.entry, &job.output, job.revision).await? {
                    Written::As(revision) => job.revision = revision,
                    Written::Conflict => {
                        tries.again().await?;
                        continue;
                    }
                }
            }
            job.entry.life.promote(now);
            if job.entry.life.forget_at().is_some_and(|at| at <= now) {
                self.forget(id, &job).await?;
                return Ok(None);
            }
            return Ok(Some(job));
        }
    }

    /// Removes the record of a job whose retention has ended.
    pub(crate) async fn forget(&self, id: JobId, job: &Job) -> Result<(), EngineError> {
        // The key first: see `keys`.
        self.release(id, &job.entry.life).await?;
        if self.records.keeps_one() {
            // The mark replaces the only value. If the bucket keeps more by now, the record is
            // deleted with the mark.
            let _ = self.records.remove(&id.to_string(), job.revision).await?;
            return Ok(());
        }
        // Deleted by its revision; otherwise the server would have to search for it.
        if let Some(before) = job.before {
            self.records.delete(before).await?;
        }
        match self.records.remove(&id.to_string(), job.revision).await? {
            Written::As(_) => self.records.delete(job.revision).await,
            // Another process has forgotten it already.
            Written::Conflict => Ok(()),
        }
    }

    pub(crate) fn tries(&self) -> Tries {
        Tries::within(self.settings.timeout)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, (Entry, u64)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(value: Option<Value>) -> Result<Self, EngineError> {
        let Some(value) = value else {
            return Ok(Self::Never);
        };
        let Some(bytes) = value.bytes else {
            return Ok(Self::Forgotten);
        };
        let (entry, output) = entry::read(&bytes)?;
        Ok(Self::Job(Box::new(Job {
            entry,
            output: output.to_vec(),
            revision: value.revision,
            before: value.before,
        })))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Gets the stream of that name, or creates it.
pub(crate) async fn get_or_create(
    context: &Context,
    config: Config,
    timeout: Duration,
) -> Result<Stream, EngineError> {
    let make = || async {
        let made = context.get_or_create_stream(config.clone()).await;
        made.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(error) => jetstream(&error),
            _ => unavailable(error),
        })
    };
    persistently(timeout, make).await
}

/// Which messages the server takes without being asked, if it takes so long ones.
fn small(max_payload: usize) -> usize {
    max_payload.min(SMALL)
}

fn records(prefix: &str) -> String {
    format!("{prefix}-records")
}

fn keys(prefix: &str) -> String {
    format!("{prefix}-keys")
}

/// The lane in which a job waits.
fn lane(record: &Record) -> Lane {
    Lane {
        kind: record.kind.clone(),
        version: record.version,
        priority: record.priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_take_only_short_messages() {
        assert_eq!([100, 1 << 20].map(small), [100, SMALL]);
    }
}
