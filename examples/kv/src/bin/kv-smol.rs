//! A smol program: puts the lines of its input, `KEY VALUE`, into the store, many at once.
//!
//! `kv-smol FILE < LINES`

use std::{env, error::Error};

use fourway::{prelude::*, smol::Smol};
use kv::Store;
use smol::{Unblock, io::AsyncBufReadExt, io::BufReader, stream::StreamExt};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(file) = env::args().nth(1) else {
        eprintln!("usage: kv-smol FILE < LINES");
        std::process::exit(2);
    };
    smol::block_on(async {
        // The executor on which `smol::spawn` spawns as well.
        let store = Store::new(Smol::global(), file);
        let mut lines = BufReader::new(Unblock::new(std::io::stdin())).lines();
        let mut puts = Vec::new();
        while let Some(line) = lines.next().await {
            let line = line?;
            let (key, value) = line.split_once(' ').unwrap_or((&line, ""));
            puts.push(store.put(key, value).spawn());
        }
        let count = puts.len();
        for put in puts {
            put.await??;
        }
        println!("{count} put");
        Ok(())
    })
}
