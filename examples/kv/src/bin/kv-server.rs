//! An axum server on a plain Tokio runtime: handlers await the store, which blocks on the pool of
//! the current runtime.
//!
//! `kv-server FILE [ADDRESS]`: GET, PUT and DELETE of `/KEY`.

use std::{env, error::Error, io};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use fourway::Ambient;
use kv::Store;

type Answer<T = StatusCode> = Result<T, (StatusCode, String)>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!("usage: kv-server FILE [ADDRESS]");
        std::process::exit(2);
    };
    let address = arguments.next();
    let address = address.unwrap_or_else(|| String::from("127.0.0.1:8080"));
    let listener = tokio::net::TcpListener::bind(&address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    println!("listening on {}", listener.local_addr()?);
    let app = Router::new()
        .route("/{key}", get(read).put(write).delete(remove))
        .with_state(Store::new(Ambient, file));
    Ok(axum::serve(listener, app).await?)
}

async fn read(State(store): State<Store<Ambient>>, Path(key): Path<String>) -> Answer<String> {
    let value = store.get(&key).await.map_err(failed)?;
    value.ok_or((StatusCode::NOT_FOUND, String::new()))
}

async fn write(
    State(store): State<Store<Ambient>>,
    Path(key): Path<String>,
    value: String,
) -> Answer {
    store.put(&key, &value).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(store): State<Store<Ambient>>, Path(key): Path<String>) -> Answer {
    Ok(match store.delete(&key).await.map_err(failed)? {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    })
}

fn failed(error: kv::Error) -> (StatusCode, String) {
    let status = if error.is_busy() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (status, error.to_string())
}
