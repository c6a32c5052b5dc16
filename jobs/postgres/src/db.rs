//! A connection: [`Db`], where it leads: [`Address`], and the tables.

use std::{
    future::poll_fn,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use fourway_jobs_engine::{Changes, EngineError, EngineErrorKind};
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Config, GenericClient, NoTls, Statement, config::SslMode, error::SqlState,
};

/// How long to wait for a server that does not answer, and for rows that another session has
/// locked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// If the start of a session or a small group of requests takes longer, the server stands
/// still.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(10);

/// After how long the server gives up a read. This is before the caller takes the connection as
/// dead.
pub(crate) const SLOW: Duration = Duration::from_secs(4);

/// Counts the changes of the tables. A schema of a newer version is refused.
const VERSION: i32 = 2;

/// State is `JobState as i16`, rank the priority with its sign turned. The rest of a job is in its
/// life, of which `base` is the text. The columns are for queries; where column and life differ, the
/// column counts.
///
/// A hand-out writes no new text: `leased_by` and `leased_at` say what has to be done to `base`, see
/// [`life`](crate::rows::life). `leased_in` is the number of the hand-out, which no other one has. Each later change
/// writes a whole text, and clears the three.
///
/// Half of each page is left for the next version of its rows, of which the log has only the part
/// between the first and the last difference then. So what changes comes before what is long.
///
/// Ids are bytes, which sort like the ids. Texts need not sort so, and are therefore compared as
/// bytes, too.
const TABLES: &str = r#"
CREATE TABLE {schema}.job (
    id bytea PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    state smallint NOT NULL,
    rank smallint NOT NULL,
    due_at bigint NOT NULL,
    lease_until bigint,
    forget_at bigint,
    leased_in bigint,
    leased_at bigint,
    leased_by text,
    unique_key text COLLATE "C",
    unique_until bigint,
    output bytea,
    args bytea NOT NULL,
    base text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX job_queued ON {schema}.job (kind, rank, due_at, id) WHERE state = 1;
CREATE INDEX job_due ON {schema}.job (due_at) WHERE state IN (0, 3);
CREATE INDEX job_leased ON {schema}.job (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX job_ended ON {schema}.job (forget_at) WHERE forget_at IS NOT NULL;
"#;

/// Those of version 2: first the jobs by state, without those that run, which are in `job_leased`: a
/// hand-out writes into one index less. Then those that may have a unique key: until they end, or for a
/// period. Jobs that had it are in none of the two, or behind the time from which a submission looks.
const INDICES: &str = "
CREATE INDEX job_waits_or_ended ON {schema}.job (state, id) WHERE state <> 2;
CREATE INDEX job_holds ON {schema}.job (kind, unique_key)
    WHERE unique_key IS NOT NULL AND unique_until IS NULL AND state IN (0, 1, 2, 3);
CREATE INDEX job_holds_until ON {schema}.job (kind, unique_key, unique_until)
    WHERE unique_until IS NOT NULL;
";

/// From version 1. The column's new name stops the programs that have been running since: they would
/// take a job whose hand-out is in the new columns for one that nobody holds. Their requests fail as
/// unavailable while this runs, and afterwards as
/// [broken](EngineErrorKind::Broken) or, of a new session, as invalid; their jobs go to others when their
/// leases run out.
const FROM_1: &str = "
ALTER TABLE {schema}.job RENAME COLUMN life TO base;
ALTER TABLE {schema}.job ADD COLUMN leased_in bigint, ADD COLUMN leased_at bigint,
    ADD COLUMN leased_by text;
ALTER TABLE {schema}.job SET (fillfactor = 50);
DROP INDEX {schema}.job_unique;
DROP INDEX {schema}.job_state;
UPDATE {schema}.meta SET version = 2;
";

/// How long the tables may take to be made, or to be taken over: the indices of a large table are
/// made from its rows.
const MAKING: Duration = Duration::from_secs(600);

/// The first columns of each row that is read as a life.
macro_rules! life_columns {
    () => {
        "state, base, leased_at, leased_by, lease_until"
    };
}
pub(crate) use life_columns;

/// The server's address, and the schema to use.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    config: Config,
    schema: String,
    relaxed: bool,
}

impl Address {
    /// Reads `postgres://…`, in which `schema` is a parameter of ours.
    pub(crate) fn parse(url: &str) -> Result<Self, EngineError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut schema = "fourway".to_owned();
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|one| !one.is_empty()) {
            match parameter.split_once('=') {
                Some(("schema", name)) => name.clone_into(&mut schema),
                _ => rest.push(parameter),
            }
        }
        let url = if rest.is_empty() {
            place.to_owned()
        } else {
            format!("{place}?{}", rest.join("&"))
        };
        let mut config = Config::from_str(&url).map_err(|error| {
            let message = format!(
                "this is no address of a PostgreSQL server ({error}): it looks like postgres://user:password@host:5432/database?schema=fourway"
            );
            EngineError::new(EngineErrorKind::Invalid, message)
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(EngineError::new(
                EngineErrorKind::Invalid,
                "this engine speaks to PostgreSQL without TLS, and `sslmode=require` wants it: leave that out and connect to a proxy on this machine that speaks TLS to the server, such as PgBouncer or stunnel, or over a private network",
            ));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        // So that a connection that was cut silently is noticed.
        config.tcp_user_timeout(PATIENCE * 2);
        config.keepalives_idle(PATIENCE * 2);
        if config.get_application_name().is_none() {
            config.application_name("fourway-jobs");
        }
        let mut this = Self {
            config,
            schema: String::new(),
            relaxed: false,
        };
        this.set_schema(schema)?;
        Ok(this)
    }

    /// Letters, digits and underscores: it is a part of statements.
    pub(crate) fn set_schema(&mut self, schema: String) -> Result<(), EngineError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if schema.is_empty() || schema.len() > 40 || !schema.chars().all(plain) {
            let message = format!(
                "`{schema}` cannot be the schema: use up to 40 small letters, digits and underscores"
            );
            return Err(EngineError::new(EngineErrorKind::Invalid, message));
        }
        self.schema = schema;
        Ok(())
    }

    pub(crate) fn set_relaxed(&mut self, relaxed: bool) {
        self.relaxed = relaxed;
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// For people: without a password.
    pub(crate) fn hosts(&self) -> String {
        format!("{:?}", self.config.get_hosts())
    }

    /// The channel for notifications of changes.
    pub(crate) fn channel(&self) -> String {
        format!("fourway_jobs_{}", self.schema)
    }

    fn in_schema(&self, sql: &str) -> String {
        sql.replace("{schema}", &format!("\"{}\"", self.schema))
    }
}

/// A connection with its prepared statements.
pub(crate) struct Db {
    pub(crate) client: Client,
    pub(crate) sql: Statements,
    pub(crate) schema: String,
    pub(crate) channel: String,
    line: Line,
    /// How many reads were answered, with a result or an error.
    answers: AtomicU64,
}

/// The task that sends and receives, of one connection.
struct Line {
    /// The connection is over when the sender is gone.
    gone: watch::Receiver<()>,
    task: AbortHandle,
}

impl Db {
    /// Connects. With `heard` it listens for changes by any process.
    pub(crate) async fn open(
        address: &Address,
        heard: Option<Arc<Changes>>,
    ) -> Result<Self, EngineError> {
        let open = async {
            let (client, line) = connect(address, heard.clone()).await?;
            // A client that stands still in a transaction loses the transaction, so that it does
            // not delay other clients.
            let mut set = format!(
                "SET lock_timeout = {0}; SET idle_in_transaction_session_timeout = {0};",
                PATIENCE.as_millis()
            );
            // Every query has an index in the wanted order. The server's planner does not know:
            // without fresh statistics, it would read and sort the whole table for each fetch. (A
            // high estimate also makes it compile the statement, which takes longer than running
            // it.)
            set += "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off;";
            // So it needs to be planned once, and for each row that is named the other rows are not
            // read to be joined.
            set += "SET plan_cache_mode = force_generic_plan;";
            set += "SET enable_hashjoin = off; SET enable_mergejoin = off;";
            if address.relaxed {
                set += "SET synchronous_commit = off;";
            }
            if heard.is_some() {
                set += &format!("LISTEN {};", address.channel());
                set += &format!("SET statement_timeout = {};", SLOW.as_millis());
            }
            client.batch_execute(&set).await.map_err(failed)?;
            let sql = Statements::prepare(&client, address)
                .await
                .map_err(failed)?;
            Ok(Self {
                client,
                sql,
                schema: format!("\"{}\"", address.schema),
                channel: address.channel(),
                line,
                answers: AtomicU64::new(0),
            })
        };
        timeout(STANDSTILL, open).await.unwrap_or_else(|_elapsed| {
            Err(EngineError::unavailable(
                "the server took too long to begin a session",
            ))
        })
    }

    /// Waits until the connection is over.
    pub(crate) async fn closed(&self) {
        let mut gone = self.line.gone.clone();
        // Waits for the error; no value is ever sent.
        while gone.changed().await.is_ok() {}
    }

    /// How many reads were answered so far. A change shows that the server is alive.
    pub(crate) fn heard(&self) -> u64 {
        // Relaxed: no other read depends on it.
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn has_answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// The server does not answer: cuts the connection and tells the waiters.
    pub(crate) fn give_up(&self) {
        self.line.task.abort();
    }
}

async fn connect(
    address: &Address,
    heard: Option<Arc<Changes>>,
) -> Result<(Client, Line), EngineError> {
    let connect = address.config.connect(NoTls);
    let (client, mut connection) = timeout(STANDSTILL, connect)
        .await
        .map_err(|_elapsed| EngineError::unavailable("the server did not answer"))?
        .map_err(failed)?;
    let (alive, gone) = watch::channel(());
    let task = tokio::spawn(async move {
        let _alive = alive;
        let messages = poll_fn(|cx| {
            loop {
                match std::task::ready!(connection.poll_message(cx)) {
                    Some(Ok(AsyncMessage::Notification(_))) => {
                        if let Some(heard) = &heard {
                            heard.tell();
                        }
                    }
                    Some(Ok(_notice)) => {}
                    // The callers on this connection are told.
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        });
        messages.await;
    });
    let task = task.abort_handle();
    Ok((client, Line { gone, task }))
}

/// One process creates the tables, the others find them.
pub(crate) async fn make_tables(address: &Address) -> Result<(), EngineError> {
    let (mut client, line) = connect(address, None).await?;
    let slow = |message: &str| {
        line.task.abort();
        EngineError::unavailable(message)
    };
    // First without the lock, which another process may hold for long, and as a user without the right
    // to create a schema may still use one.
    let look = timeout(STANDSTILL, version(&client, address)).await;
    let look = look.map_err(|_elapsed| slow("the server took too long to show its tables"))?;
    let found = match look.map_err(failed)? {
        Some(found) if found != 1 => found,
        _ => {
            let make = timeout(MAKING, make(&mut client, address)).await;
            let make = make.map_err(|_elapsed| slow("the server took too long to make the tables"));
            make?.map_err(failed)?
        }
    };
    if found > VERSION {
        let message = format!(
            "the schema has tables of version {found}, and this program knows those up to {VERSION}: a newer program has made them"
        );
        return Err(EngineError::new(EngineErrorKind::Invalid, message));
    }
    Ok(())
}

/// Of the tables that are there.
async fn version(
    client: &impl GenericClient,
    address: &Address,
) -> Result<Option<i32>, tokio_postgres::Error> {
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    let job = address.in_schema("{schema}.job");
    if !client.query_one(sql, &[&job]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let sql = address.in_schema("SELECT version FROM {schema}.meta");
    Ok(Some(client.query_one(&sql, &[]).await?.get(0)))
}

/// Makes the tables, or takes them over, unless another process has done so. Gives their version.
async fn make(client: &mut Client, address: &Address) -> Result<i32, tokio_postgres::Error> {
    let all = client.transaction().await?;
    // Of this schema alone; held until the end of the transaction.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7304961825))";
    all.query(lock, &[&address.schema]).await?;
    let make = match version(&all, address).await? {
        Some(1) => format!("{FROM_1} {INDICES}"),
        Some(version) => return Ok(version),
        None => format!(
            "CREATE SCHEMA IF NOT EXISTS {{schema}}; CREATE TABLE {{schema}}.meta (version int NOT NULL); INSERT INTO {{schema}}.meta VALUES ({VERSION}); {TABLES} {INDICES}"
        ),
    };
    all.batch_execute(&address.in_schema(&make)).await?;
    all.commit().await?;
    Ok(VERSION)
}

/// Hands jobs out. Skips rows that other sessions have locked. A kind's share is read from the index
/// in the order of hand-out, so its cost does not depend on how many jobs wait.
const FETCH: &str = "WITH picked AS MATERIALIZED ( \
        SELECT job.id FROM unnest($1::text[], $2::bigint[]) AS known (kind, version) \
        CROSS JOIN LATERAL ( \
            SELECT rank, due_at, id FROM {schema}.job \
            WHERE state = 1 AND kind = known.kind AND version <= known.version \
            ORDER BY rank, due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED \
        ) AS job \
        ORDER BY job.rank, job.due_at, job.id LIMIT $3 \
    ) \
    UPDATE {schema}.job AS job SET state = 2, lease_until = $4, leased_in = $5, leased_at = $6, \
        leased_by = $7 \
    FROM picked WHERE job.id = picked.id \
    RETURNING job.base, job.args, job.id, job.rank, job.due_at";

/// The server's clock.
const CLOCK: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// All jobs by state; jobs that have become due, which count as queued; and jobs that must be
/// forgotten. By indices: the cost depends only on the transitions not written yet.
const COUNTS: &str = "SELECT 0, state, count(*) FROM {schema}.job WHERE state <> 2 GROUP BY state \
    UNION ALL SELECT 0, 2::smallint, count(*) FROM {schema}.job WHERE lease_until IS NOT NULL \
    UNION ALL SELECT 1, state, count(*) FROM {schema}.job \
        WHERE state IN (0, 3) AND due_at <= $1 GROUP BY state \
    UNION ALL SELECT 2, state, count(*) FROM {schema}.job \
        WHERE forget_at <= $1 GROUP BY state";

/// Writes whole lives.
macro_rules! update {
    () => {
        "UPDATE {schema}.job AS job SET state = new.state, due_at = new.due_at, \
        lease_until = new.lease_until, forget_at = new.forget_at, base = new.base, \
        output = COALESCE(new.output, job.output), \
        leased_in = NULL, leased_at = NULL, leased_by = NULL \
        FROM unnest($1::bytea[], $2::smallint[], $3::bigint[], $4::bigint[], \
            $5::bigint[], $6::text[], $7::bytea[]) WITH ORDINALITY \
            AS new (id, state, due_at, lease_until, forget_at, base, output, n)"
    };
}

/// The jobs that have one of these keys, at the time `$3`.
const WITH_KEYS: &str = concat!(
    "SELECT ",
    life_columns!(),
    " FROM {schema}.job \
    WHERE (kind, unique_key) IN (SELECT * FROM unnest($1::text[], $2::text[])) \
    AND unique_key IS NOT NULL AND unique_until IS NULL AND state IN (0, 1, 2, 3) \
    UNION ALL SELECT ",
    life_columns!(),
    " FROM {schema}.job \
    WHERE (kind, unique_key) IN (SELECT * FROM unnest($1::text[], $2::text[])) \
    AND unique_until > $3"
);

/// The prepared statements.
pub(crate) struct Statements {
    pub(crate) now: Statement,
    pub(crate) leases: Statement,
    pub(crate) lock: Statement,
    pub(crate) update: Statement,
    pub(crate) update_held: Statement,
    pub(crate) insert: Statement,
    pub(crate) lock_keys: Statement,
    pub(crate) with_keys: Statement,
    pub(crate) known: Statement,
    pub(crate) fetch: Statement,
    pub(crate) promote: Statement,
    pub(crate) expired: Statement,
    pub(crate) forget: Statement,
    pub(crate) set_aside_queued: Statement,
    pub(crate) set_aside_held: Statement,
    pub(crate) notify: Statement,
    pub(crate) status: Statement,
    pub(crate) output: Statement,
    pub(crate) counts: Statement,
}

impl Statements {
    async fn prepare(client: &Client, address: &Address) -> Result<Self, tokio_postgres::Error> {
        let prepare = async |sql: &str| client.prepare(&address.in_schema(sql)).await;
        Ok(Self {
            // The time, and when the next transition is due.
            now: prepare(&format!(
                "SELECT {CLOCK}, LEAST(\
                (SELECT min(due_at) FROM {{schema}}.job WHERE state IN (0, 3)), \
                (SELECT min(lease_until) FROM {{schema}}.job WHERE lease_until IS NOT NULL), \
                (SELECT min(forget_at) FROM {{schema}}.job WHERE forget_at IS NOT NULL))"
            ))
            .await?,
            // The time, and when the first lease runs out.
            leases: prepare(&format!(
                "SELECT {CLOCK}, \
                (SELECT min(lease_until) FROM {{schema}}.job WHERE lease_until IS NOT NULL)"
            ))
            .await?,
            // In a fixed order, so that no two transactions deadlock.
            lock: prepare(concat!(
                "SELECT ",
                life_columns!(),
                " FROM {schema}.job WHERE id = ANY($1) ORDER BY id FOR UPDATE"
            ))
            .await?,
            update: prepare(concat!(update!(), " WHERE job.id = new.id")).await?,
            // Only what is as it was handed out.
            update_held: prepare(concat!(
                update!(),
                " WHERE job.id = new.id AND job.leased_in = ($8::bigint[])[new.n::int] RETURNING job.id"
            ))
            .await?,
            insert: prepare(
                "INSERT INTO {schema}.job \
                (id, kind, version, state, rank, due_at, unique_key, unique_until, base, args) \
                SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::smallint[], \
                    $5::smallint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], \
                    $10::bytea[]) \
                ON CONFLICT (id) DO NOTHING",
            )
            .await?,
            // Sorted by the caller, for the same reason.
            lock_keys: prepare(
                "SELECT pg_advisory_xact_lock(hashtextextended(key, 7304961825)) \
                FROM unnest($1::text[]) AS key",
            )
            .await?,
            with_keys: prepare(WITH_KEYS).await?,
            known: prepare("SELECT id FROM {schema}.job WHERE id = ANY($1)").await?,
            fetch: prepare(FETCH).await?,
            promote: prepare(
                "UPDATE {schema}.job SET state = 1 WHERE id IN (\
                SELECT id FROM {schema}.job WHERE state IN (0, 3) AND due_at <= $1 \
                ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .await?,
            expired: prepare(concat!(
                "SELECT ",
                life_columns!(),
                ", id FROM {schema}.job WHERE lease_until <= $1 \
                ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED"
            ))
            .await?,
            forget: prepare(
                "DELETE FROM {schema}.job WHERE id IN (\
                SELECT id FROM {schema}.job WHERE forget_at <= $1 \
                LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .await?,
            // Until then they delay no other job: where column and life differ, the column counts.
            set_aside_queued: prepare(
                "UPDATE {schema}.job SET state = 0, due_at = $2, lease_until = NULL, \
                leased_in = NULL, leased_at = NULL, leased_by = NULL WHERE id = ANY($1)",
            )
            .await?,
            set_aside_held: prepare("UPDATE {schema}.job SET lease_until = $2 WHERE id = ANY($1)")
                .await?,
            notify: prepare("SELECT pg_notify($1, '')").await?,
            status: prepare(&format!(
                "SELECT {}, {CLOCK} FROM {{schema}}.job WHERE id = $1",
                life_columns!()
            ))
            .await?,
            output: prepare(&format!(
                "SELECT output FROM {{schema}}.job \
                WHERE id = $1 AND (forget_at IS NULL OR forget_at > {CLOCK})"
            ))
            .await?,
            counts: prepare(COUNTS).await?,
        })
    }
}

/// Converts an error of the server or the connection to the engine's. It decides whether the
/// request may work later, and whether the error concerns the request.
pub(crate) fn failed(error: tokio_postgres::Error) -> EngineError {
    let text = match error.as_db_error() {
        Some(said) => format!("{}: {}", said.severity(), said.message()),
        None => {
            // The error's own text only names its kind, so its source is added.
            let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
            format!("{error}{}", why.unwrap_or_default())
        }
    };
    if is_passing(&error) {
        EngineError::unavailable(text)
    } else if is_refusal(&error) {
        EngineError::invalid(text)
    } else {
        // For example, the user has lost its rights, or a table is missing.
        EngineError::broken(text)
    }
}

/// Does the server or the client refuse the values of the request?
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return true;
    };
    // Data, constraints, and program limits.
    let classes = ["22", "23", "54"];
    classes.contains(&code.code().get(..2).unwrap_or_default())
}

fn is_passing(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        // The connection is closed, cut or refused. A value that cannot be encoded is another
        // error.
        let text = error.to_string();
        return !text.starts_with("error serializing")
            && !text.starts_with("invalid configuration");
    };
    // Connections, deadlocks, resources (a full disk is one), operators, and the system.
    let classes = ["08", "40", "53", "57", "58"];
    let class = code.code().get(..2).unwrap_or_default();
    classes.contains(&class)
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // A standby server, until it is promoted.
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ]
        .contains(code)
}

#[cfg(all(test, unix))]
mod tests {
    use fourway_core::{AnyRuntime, Call};
    use fourway_jobs_engine::{Engine, NewJob, next_id};
    use fourway_testing::{any, run};
    use tokio_postgres::types::ToSql;

    use super::*;
    use crate::{PostgresEngine, own_runtime::own};

    #[test]
    fn tls_is_refused_with_what_to_do_instead() {
        let address = Address::parse("postgres://host/database?sslmode=require");
        let error = address.expect_err("there is no TLS");
        assert_eq!(error.kind(), EngineErrorKind::Invalid);
        assert!(error.to_string().contains("proxy"), "{error}");
        for mode in ["disable", "prefer"] {
            let url = format!("postgres://host/database?sslmode={mode}");
            assert!(Address::parse(&url).is_ok());
        }
    }

    /// The statement's plan, and what it has read: before the server has statistics of the table, and
    /// with them.
    async fn plans(address: &Address, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<String> {
        let db = Db::open(address, None).await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}");
        let explain = address.in_schema(&explain);
        let mut plans = Vec::new();
        for counted in [false, true] {
            if counted {
                let analyze = address.in_schema("ANALYZE {schema}.job");
                db.client.batch_execute(&analyze).await.unwrap();
            }
            let rows = db.client.query(&explain, values).await.unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            println!("{}\n", lines.join("\n"));
            plans.push(lines.join("\n"));
        }
        plans
    }

    /// Opens an engine in a separate schema.
    fn open(name: &str) -> Option<(AnyRuntime, Address, PostgresEngine)> {
        let url = fourway_servers::postgres_url()?;
        let schema = format!("{name}_{}", next_id().to_string().to_lowercase());
        let url = format!("{url}?schema={schema}");
        let rt = any();
        let engine = PostgresEngine::builder(&rt, &*url).relaxed(true);
        let engine = engine.open().wait().unwrap();
        Some((rt, Address::parse(&url).unwrap(), engine))
    }

    /// A fetch among many jobs reads only the jobs that it hands out, also before the server has
    /// statistics of the table.
    #[test]
    fn a_fetch_among_many_goes_by_the_index() {
        let Some((rt, address, engine)) = open("plans") else {
            return;
        };
        for kind in ["one", "two"] {
            for _ in 0..10 {
                let jobs = (0..1000).map(|_| NewJob::new(kind, 1, ""));
                run(&rt, engine.submit(jobs.collect())).unwrap();
            }
        }
        let plans = own().unwrap().spawn(async move {
            let (kinds, versions) = (vec!["one", "two"], vec![1_i64, 1]);
            let values: [&(dyn ToSql + Sync); 7] =
                [&kinds, &versions, &50_i64, &0_i64, &0_i64, &0_i64, &"test"];
            plans(&address, FETCH, &values).await
        });
        for plan in run(&rt, plans).unwrap() {
            // PostgreSQL 18 writes `rows=50.00`.
            let wanted = ["Index Scan using job_queued", "rows=50", "loops=2"];
            let by_index = |line: &str| wanted.iter().all(|part| line.contains(part));
            assert!(plan.lines().any(by_index), "{plan}");
            // And those that it hands out are found by their ids.
            assert!(plan.contains("Index Scan using job_pkey"), "{plan}");
            assert!(!plan.contains("Removed by"), "{plan}");
        }
    }

    /// Jobs that had the key are not looked at, however many are known.
    #[test]
    fn a_key_that_many_had_is_found_by_the_index() {
        let Some((rt, address, _engine)) = open("keys") else {
            return;
        };
        let plans = own().unwrap().spawn(async move {
            let db = Db::open(&address, None).await.unwrap();
            let ended = "INSERT INTO {schema}.job (id, kind, version, state, rank, due_at, \
                unique_key, unique_until, base, args) \
                SELECT int8send(n), 'kind', 1, 4, 0, 0, 'key', NULLIF(n % 2, 0) * n, '', '' \
                FROM generate_series(1, 20000) AS n";
            let ended = address.in_schema(ended);
            db.client.batch_execute(&ended).await.unwrap();
            let (kinds, keys) = (vec!["kind", "kind"], vec!["key", "other"]);
            plans(&address, WITH_KEYS, &[&kinds, &keys, &19_998_i64]).await
        });
        for plan in run(&rt, plans).unwrap() {
            assert!(plan.contains("Index Scan using job_holds "), "{plan}");
            assert!(plan.contains("Index Scan using job_holds_until"), "{plan}");
            // The one whose period is not over.
            assert!(plan.lines().next().unwrap().contains("rows=1"), "{plan}");
            assert!(!plan.contains("Removed by"), "{plan}");
        }
    }
}
