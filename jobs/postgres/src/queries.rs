//! What is read without the writer: a job, a page of them, and how many there are.

use std::collections::BTreeMap;

use fourway_jobs_engine::{Counts, EngineError, Filter, JobId, JobState, Page, Record, columns};
use futures_util::TryStreamExt;
use tokio_postgres::{Row, types::ToSql};

use crate::{
    ask::Ask,
    db::{Db, failed, life_columns},
    rows::{bytes, id, life, unsigned},
};

/// The result of a read, or the request that the writer must perform first. Due transitions of
/// waiting and ended jobs show without having been written. The end of a lease does not: the worker
/// must have lost the job before any reader is told so.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    So(T),
    After(Ask),
}

pub(crate) async fn status(db: &Db, id: JobId) -> Result<Seen<Option<Record>>, EngineError> {
    let row = db.client.query_opt(&db.sql.status, &[&bytes(&id)]).await;
    let Some(row) = row.map_err(failed)? else {
        return Ok(Seen::So(None));
    };
    let now = unsigned(row.get(5));
    let mut life = life(&row)?;
    if life.expire(now) {
        return Ok(Seen::After(Ask::Expire(id)));
    }
    life.promote(now);
    let forgotten = life.forget_at().is_some_and(|at| at <= now);
    Ok(Seen::So((!forgotten).then_some(life.record)))
}

pub(crate) async fn output(db: &Db, id: JobId) -> Result<Seen<Option<Vec<u8>>>, EngineError> {
    let row = db.client.query_opt(&db.sql.output, &[&bytes(&id)]).await;
    let row = row.map_err(failed)?;
    Ok(Seen::So(row.and_then(|row| row.get(0))))
}

/// The time; or `None` if leases have run out by then.
async fn time(db: &Db) -> Result<Option<i64>, EngineError> {
    let time = db.client.query_one(&db.sql.leases, &[]);
    let time = time.await.map_err(failed)?;
    let (now, first): (i64, Option<i64>) = (time.get(0), time.get(1));
    Ok(first.is_none_or(|first| first > now).then_some(now))
}

pub(crate) async fn list(db: &Db, filter: &Filter) -> Result<Seen<Page>, EngineError> {
    let Some(now) = time(db).await? else {
        return Ok(Seen::After(Ask::Pass));
    };
    let mut values: Vec<Box<dyn ToSql + Send + Sync>> = vec![Box::new(now)];
    let mut others = "(forget_at IS NULL OR forget_at > $1)".to_owned();
    if let Some(kind) = &filter.kind {
        values.push(Box::new(kind.clone()));
        others += &format!(" AND kind = ${}", values.len());
    }
    if let Some(before) = filter.before {
        values.push(Box::new(bytes(&before)));
        others += &format!(" AND id < ${}", values.len());
    }
    let one_more = i64::try_from(filter.limit.saturating_add(1)).unwrap_or(i64::MAX);
    let some = |so: &str| {
        format!(
            "SELECT {}, id, kind, version FROM {}.job WHERE {others}{so} ORDER BY id DESC LIMIT {one_more}",
            life_columns!(),
            db.schema
        )
    };
    let sql = if filter.states.is_empty() {
        some("")
    } else {
        // Each by an index, and all in the order of ids.
        let mut parts = Vec::new();
        let (running, others): (Vec<JobState>, Vec<_>) =
            (filter.states.iter()).partition(|one| **one == JobState::Running);
        if !running.is_empty() {
            parts.push(format!("({})", some(" AND lease_until IS NOT NULL")));
        }
        if !others.is_empty() {
            let states = others.iter().map(|one| (*one as i16).to_string());
            let states = states.collect::<Vec<_>>().join(", ");
            parts.push(format!(
                "({})",
                some(&format!(
                    " AND state <> 2 AND state IN ({states}) AND NOT (state IN (0, 3) AND due_at <= $1)"
                ))
            ));
        }
        if others.contains(&JobState::Queued) {
            parts.push(format!(
                "({})",
                some(" AND state IN (0, 3) AND due_at <= $1")
            ));
        }
        format!(
            "SELECT * FROM ({}) AS job ORDER BY id DESC LIMIT {one_more}",
            parts.join(" UNION ALL ")
        )
    };
    let values = values.iter().map(|value| {
        let value: &(dyn ToSql + Sync) = &**value;
        value
    });
    let rows = db.client.query_raw(&sql, values).await.map_err(failed)?;
    let rows: Vec<Row> = rows.try_collect().await.map_err(failed)?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        let life = life(row).map(|mut life| {
            life.promote(unsigned(now));
            life
        });
        let version = u32::try_from(row.get::<_, i64>(7)).unwrap_or_default();
        let state = row.get::<_, i16>(0).into();
        jobs.push(columns::shown(
            id(row.get(5))?,
            row.get(6),
            version,
            state,
            life,
        ));
    }
    Ok(Seen::So(Page::of(jobs, filter.limit)))
}

pub(crate) async fn counts(db: &Db) -> Result<Seen<Counts>, EngineError> {
    let Some(now) = time(db).await? else {
        return Ok(Seen::After(Ask::Pass));
    };
    let rows = db.client.query(&db.sql.counts, &[&now]).await;
    let mut known = BTreeMap::<i16, i64>::new();
    for row in rows.map_err(failed)? {
        let (of, state, count): (i32, i16, i64) = (row.get(0), row.get(1), row.get(2));
        let sign = if of == 0 { 1 } else { -1 };
        *known.entry(state).or_default() += sign * count;
        if of == 1 {
            *known.entry(JobState::Queued as i16).or_default() += count;
        }
    }
    let mut counts = Counts::default();
    for (state, count) in known {
        let state = columns::shown_state(state.into());
        fourway_jobs_engine::life::count(&mut counts, state, unsigned(count));
    }
    Ok(Seen::So(counts))
}
