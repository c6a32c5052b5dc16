//! Files on every runtime, for sync and async callers.

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use fourway_core::{Call, Runtime};
use fourway_net::fs;
use fourway_testing::{on_every_runtime, run};
use tempfile::tempdir;

on_every_runtime! {
    for_async_callers
    for_sync_callers
    parts_are_written_in_order
    errors_come_at_their_place
    after_the_shutdown
}

fn for_async_callers<R: Runtime>(rt: R) {
    run(&rt, async {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a/b");
        fs::create_dir_all(&rt, path.clone()).await.unwrap();
        let file = path.join("file");
        let text: String = (0..10_000).map(|n| format!("{n}\n")).collect();
        fs::write(&rt, &file, text.clone()).await.unwrap();
        assert_eq!(fs::read(&rt, &file).await.unwrap(), text.as_bytes());
        assert_eq!(fs::read_to_string(&rt, &file).await.unwrap(), text);
        let length = fs::metadata(&rt, &file).await.unwrap().len();
        assert_eq!(length, text.len() as u64);

        let (mut number, mut lines) = (0, fs::lines(&rt, &file));
        while let Some(line) = lines.next().await {
            assert_eq!(line.unwrap(), number.to_string());
            number += 1;
        }
        assert_eq!(number, 10_000);
        let (mut read, mut chunks) = (Vec::new(), fs::chunks(&rt, &file, 1000));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap();
            assert!(chunk.len() == 1000 || read.len() + chunk.len() == text.len());
            read.extend(chunk);
        }
        assert_eq!(read, text.as_bytes());
        let mut whole = fs::chunks(&rt, &file, usize::MAX);
        assert_eq!(whole.next().await.unwrap().unwrap(), text.as_bytes());
        assert!(whole.next().await.is_none());

        let copy = path.join("copy");
        assert_eq!(fs::copy(&rt, &file, &copy).await.unwrap(), length);
        fs::rename(&rt, &copy, path.join("moved")).await.unwrap();
        let (mut names, mut entries) = (Vec::new(), fs::read_dir(&rt, &path));
        while let Some(entry) = entries.next().await {
            names.push(entry.unwrap().file_name());
        }
        names.sort();
        assert_eq!(names, ["file", "moved"]);
        fs::remove_file(&rt, &file).await.unwrap();
        fs::remove_dir_all(&rt, dir.path().join("a")).await.unwrap();
        assert_eq!(fs::read_dir(&rt, dir.path()).next().await.map(drop), None);
    });
}

fn for_sync_callers<R: Runtime>(rt: R) {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&rt, &file, "one\ntwo\r\nthree").wait().unwrap();
    let lines: io::Result<Vec<String>> = fs::lines(&rt, &file).into_iter().collect();
    assert_eq!(lines.unwrap(), ["one", "two", "three"]);
    assert_eq!(fs::read(&rt, &file).wait().unwrap().len(), 14);
    assert_eq!(fs::read_dir(&rt, dir.path()).into_iter().count(), 1);
}

fn parts_are_written_in_order<R: Runtime>(rt: R) {
    let dir = tempdir().unwrap();
    let (file, copy) = (dir.path().join("file"), dir.path().join("copy"));
    let numbers = || (0..10_000).map(|n| Ok(format!("{n}\n")));
    let text: String = numbers().map(Result::unwrap).collect();
    let length = text.len() as u64;
    run(&rt, async {
        // It replaces what was there, which is longer.
        fs::write(&rt, &file, "x".repeat(1 << 20)).await.unwrap();
        let written = fs::write_all_from(&rt, &file, numbers()).await;
        assert_eq!(written.unwrap(), length);
        assert_eq!(fs::read_to_string(&rt, &file).await.unwrap(), text);
        let chunks = fs::chunks(&rt, &file, 1000);
        let written = fs::write_all_from(&rt, &copy, chunks).await;
        assert_eq!(written.unwrap(), length);
        assert_eq!(fs::read_to_string(&rt, &copy).await.unwrap(), text);
        fs::append(&rt, &copy, "more").await.unwrap();
        let appended = fs::read_to_string(&rt, &copy).await.unwrap();
        assert_eq!(appended, format!("{text}more"));
    });
    // For sync callers; an append makes the file.
    let new = dir.path().join("new");
    for part in ["a", "b"] {
        fs::append(&rt, &new, part).wait().unwrap();
    }
    let lines = fs::lines(&rt, &new);
    assert_eq!(fs::write_all_from(&rt, &copy, lines).wait().unwrap(), 2);
    assert_eq!(fs::read_to_string(&rt, &copy).wait().unwrap(), "ab");

    // The error of a part ends it, and what came before is written.
    let parts = ["one", "", "three"].into_iter().map(|part| match part {
        "" => Err(io::Error::from(io::ErrorKind::InvalidData)),
        "three" => panic!("no part is taken after an error"),
        part => Ok(part),
    });
    let error = fs::write_all_from(&rt, &copy, parts).wait().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(fs::read_to_string(&rt, &copy).wait().unwrap(), "one");
    // No part is taken without a file.
    let parts = std::iter::once_with(|| -> io::Result<&str> { panic!("it is taken") });
    let error = fs::write_all_from(&rt, dir.path(), parts)
        .wait()
        .unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::NotFound);
    assert!(fs::append(&rt, dir.path(), "x").wait().is_err());
}

fn errors_come_at_their_place<R: Runtime>(rt: R) {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("missing");
    let kind = |error: io::Error| error.kind();
    assert_eq!(
        fs::read(&rt, &missing).wait().map_err(kind),
        Err(io::ErrorKind::NotFound)
    );
    let lines: Vec<_> = fs::lines(&rt, &missing).into_iter().collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(fs::read_dir(&rt, &missing).into_iter().count(), 1);
    // A directory can be opened, and not read.
    let chunks: Vec<_> = fs::chunks(&rt, dir.path(), 10).into_iter().collect();
    assert!(chunks.len() == 1 && chunks[0].is_err());
    let lines: Vec<_> = fs::lines(&rt, dir.path()).into_iter().take(5).collect();
    assert!(lines.len() == 1 && lines[0].is_err());

    let file = dir.path().join("file");
    let mut it = File::create(&file).unwrap();
    it.write_all(b"one\n\xff\xff\nthree").unwrap();
    let lines: Vec<_> = fs::lines(&rt, &file).into_iter().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1].as_ref().unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    assert_eq!(lines[2].as_deref().unwrap(), "three");
}

fn after_the_shutdown<R: Runtime>(rt: R) {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    rt.shutdown(Duration::from_secs(60)).unwrap();
    fs::write(&rt, &file, "there").wait().unwrap();
    assert_eq!(fs::lines(&rt, &file).into_iter().count(), 1);
}
