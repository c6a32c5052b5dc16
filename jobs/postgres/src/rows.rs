//! Jobs as rows of the tables: how a row is read, and how many rows are written by one statement.

use std::time::Duration;

use fourway_jobs_engine::{
    EngineError, JobId,
    columns::{self, stored},
    life::Life,
};
use tokio_postgres::{Row, Statement, types::ToSql};

use crate::db::{Db, failed};

/// How long an unreadable job is left alone.
const UNREADABLE: u64 = 60_000;

/// The life in a row that begins with the [columns of a life](crate::db::life_columns): its text, and the
/// hand-out that followed.
pub(crate) fn life(row: &Row) -> Result<Life, EngineError> {
    let state = i64::from(row.get::<_, i16>(0));
    let mut life = columns::life(row.get(1), state)?;
    if let (Some(at), Some(worker)) = (row.get::<_, Option<i64>>(2), row.get(3)) {
        let until = row.get::<_, Option<i64>>(4).unwrap_or(at);
        let lease = Duration::from_millis(unsigned(until.saturating_sub(at)));
        life.lease(worker, lease, Vec::new(), unsigned(at));
        life.record.state = columns::state(state)?;
    }
    Ok(life)
}

pub(crate) async fn insert(db: &Db, jobs: &[(Life, Vec<u8>)]) -> Result<(), EngineError> {
    let lives = || jobs.iter().map(|(life, _)| life);
    let records = || lives().map(|life| &life.record);
    let ids: Vec<_> = records().map(|job| bytes(&job.id)).collect();
    let kinds: Vec<_> = records().map(|job| job.kind.as_str()).collect();
    let versions: Vec<_> = records().map(|job| i64::from(job.version)).collect();
    let states: Vec<_> = records().map(|job| job.state as i16).collect();
    let ranks: Vec<_> = records().map(|job| -i16::from(job.priority)).collect();
    let due: Vec<_> = records().map(|job| stored(job.due_at)).collect();
    let keys: Vec<_> = records().map(|job| job.unique.as_deref()).collect();
    let until: Vec<_> = lives().map(|life| life.unique_until.map(stored)).collect();
    let written: Vec<_> = lives().map(columns::text).collect::<Result<_, _>>()?;
    let args: Vec<_> = jobs.iter().map(|(_, args)| args.as_slice()).collect();
    let values: [&(dyn ToSql + Sync); 10] = [
        &ids, &kinds, &versions, &states, &ranks, &due, &keys, &until, &written, &args,
    ];
    let insert = db.client.execute(&db.sql.insert, &values);
    insert.await.map(drop).map_err(failed)
}

/// Rows to be written, by columns.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) ids: Vec<Vec<u8>>,
    states: Vec<i16>,
    due: Vec<i64>,
    leases: Vec<Option<i64>>,
    forget: Vec<Option<i64>>,
    lives: Vec<String>,
    outputs: Vec<Option<Vec<u8>>>,
    /// Of hand-outs.
    pub(crate) numbers: Vec<i64>,
}

impl Columns {
    pub(crate) fn push(&mut self, life: &Life, output: Option<Vec<u8>>) -> Result<(), EngineError> {
        let record = &life.record;
        self.ids.push(bytes(&record.id));
        self.states.push(record.state as i16);
        self.due.push(stored(record.due_at));
        self.leases.push(record.lease_until.map(stored));
        self.forget.push(life.forget_at().map(stored));
        self.lives.push(columns::text(life)?);
        self.outputs.push(output);
        Ok(())
    }

    pub(crate) async fn update(self, db: &Db) -> Result<(), EngineError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let values = self.values();
        let update = db.client.execute(&db.sql.update, &values);
        update.await.map(drop).map_err(failed)
    }

    /// Writes those that are as they were handed out, and counts them.
    pub(crate) async fn update_held(self, db: &Db) -> Result<usize, EngineError> {
        if self.ids.is_empty() {
            return Ok(0);
        }
        let [a, b, c, d, e, f, g] = self.values();
        let values: [&(dyn ToSql + Sync); 8] = [a, b, c, d, e, f, g, &self.numbers];
        let rows = db.client.query(&db.sql.update_held, &values).await;
        rows.map(|rows| rows.len()).map_err(failed)
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.ids,
            &self.states,
            &self.due,
            &self.leases,
            &self.forget,
            &self.lives,
            &self.outputs,
        ]
    }
}

/// Rows whose lives cannot be read: perhaps a newer program has written them and can read them.
/// They are left for that program and delay no other job meanwhile.
#[derive(Default)]
pub(crate) struct Unreadable {
    ids: Vec<Vec<u8>>,
    first: Option<EngineError>,
}

impl Unreadable {
    pub(crate) fn push(&mut self, id: Vec<u8>, error: EngineError) {
        self.ids.push(id);
        self.first.get_or_insert(error);
    }

    pub(crate) async fn set_aside(
        self,
        db: &Db,
        sql: &Statement,
        now: u64,
    ) -> Result<Option<EngineError>, EngineError> {
        if self.first.is_some() {
            let until = stored(now.saturating_add(UNREADABLE));
            let values: [&(dyn ToSql + Sync); 2] = [&self.ids, &until];
            db.client.execute(sql, &values).await.map_err(failed)?;
        }
        Ok(self.first)
    }
}

/// Rows, or none without a query.
pub(crate) async fn when(
    so: bool,
    db: &Db,
    sql: &Statement,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if so {
        db.client.query(sql, values).await
    } else {
        Ok(Vec::new())
    }
}

pub(crate) fn bytes(id: &JobId) -> Vec<u8> {
    id.to_bytes().to_vec()
}

pub(crate) fn id(bytes: &[u8]) -> Result<JobId, EngineError> {
    let bytes = bytes.try_into().map_err(|_| {
        EngineError::invalid(format!("the table has an id of {} bytes", bytes.len()))
    })?;
    Ok(JobId::from_bytes(bytes))
}

/// A column's number, unsigned.
pub(crate) fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
