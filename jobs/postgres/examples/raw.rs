//! The speed of the server alone, with the fewest statements that can hand out jobs: `cargo run
//! --release -p fourway-jobs-postgres --example raw [JOBS]`. Compare it with `throughput` of
//! `fourway-jobs-url`, where jobs have leases, attempts, records and results.

use std::{error::Error, time::Instant};

use tokio_postgres::{Client, NoTls};

const AT_A_TIME: usize = 500;
const WORKERS: usize = 8;
/// Together as many as a worker of `throughput` runs at a time.
const EACH: i64 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let jobs = std::env::args().nth(1);
    let jobs: usize = jobs.map_or(Ok(10_000), |arg| arg.parse())?;
    let Some(url) = server() else {
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(&url, jobs))
}

#[cfg(unix)]
fn server() -> Option<String> {
    fourway_servers::postgres_url()
}

#[cfg(not(unix))]
fn server() -> Option<String> {
    std::env::var("FOURWAY_POSTGRES_URL").ok()
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn measure(url: &str, jobs: usize) -> Result<(), Box<dyn Error>> {
    let client = connect(url).await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS raw_job; \
            CREATE TABLE raw_job (id bigserial PRIMARY KEY, state smallint NOT NULL, args bytea); \
            CREATE INDEX ON raw_job (id) WHERE state = 1",
        )
        .await?;
    let start = Instant::now();
    let insert = client
        .prepare("INSERT INTO raw_job (state, args) SELECT 1, unnest($1::bytea[])")
        .await?;
    for from in (0..jobs).step_by(AT_A_TIME) {
        let args = vec![&b"null"[..]; jobs.min(from + AT_A_TIME) - from];
        client.execute(&insert, &[&args]).await?;
    }
    let submitted = start.elapsed();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let client = connect(url).await?;
        workers.push(tokio::spawn(work(client)));
    }
    for worker in workers {
        worker.await??;
    }
    let all = start.elapsed();
    println!(
        "raw statements: {:.0} submitted a second; {:.0} submitted and processed a second",
        jobs as f64 / submitted.as_secs_f64(),
        jobs as f64 / all.as_secs_f64(),
    );
    client.batch_execute("DROP TABLE raw_job").await?;
    Ok(())
}

async fn work(client: Client) -> Result<(), tokio_postgres::Error> {
    let fetch = client
        .prepare(
            "UPDATE raw_job SET state = 2 WHERE id IN (SELECT id FROM raw_job WHERE state = 1 \
            ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, args",
        )
        .await?;
    let complete = client
        .prepare("UPDATE raw_job SET state = 3 WHERE id = ANY($1)")
        .await?;
    loop {
        let rows = client.query(&fetch, &[&EACH]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        client.execute(&complete, &[&ids]).await?;
    }
}
