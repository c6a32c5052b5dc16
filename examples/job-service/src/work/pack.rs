//! Compresses and hashes files: how large a folder would be, and its digest.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use fourway_core::{BoxCall, Call, Runtime, cancel};
use serde::Serialize;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::{Error, Progress, Toolbox, several, share};

/// A packed folder. The archive is only measured, not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pack {
    /// How many files there are.
    pub files: u64,
    /// How large they are together.
    pub bytes: u64,
    /// How large they are together when each is compressed.
    pub compressed: u64,
    /// SHA-256 over the names and the SHA-256 of all files, in the order of the names.
    pub digest: String,
}

/// The most bytes that one job packs.
const SIZE_LIMIT: u64 = 1 << 30;

const CHUNK: usize = 64 * 1024;

impl<R: Runtime> Toolbox<R> {
    /// Packs one file after another. Its body blocks.
    pub fn pack(&self, folder: String, progress: impl Progress) -> BoxCall<Result<Pack, Error>> {
        let root = self.root.clone();
        let call = self.rt.call_blocking(move || {
            let folder = root.resolve(&folder)?;
            let files = list(&folder)?;
            let mut all = All::new(&files, progress);
            for file in &files {
                all.add(file, &pack_file(file)?);
            }
            Ok(all.finish())
        });
        call.boxed()
    }

    /// Packs several files at once. Its body is async.
    pub fn pack_async(
        &self,
        folder: String,
        progress: impl Progress,
    ) -> BoxCall<Result<Pack, Error>> {
        let (rt, root) = (self.rt.clone(), self.root.clone());
        let call = self.rt.call_with(async move || {
            let files = rt.call_blocking(move || list(&root.resolve(&folder)?));
            let files = files.await?;
            let mut all = All::new(&files, progress);
            let start = |file: &Source| {
                let file = file.clone();
                rt.call_blocking(move || pack_file(&file))
            };
            let packed = |file: Source, packed: Result<Packed, Error>| {
                all.add(&file, &packed?);
                Ok(())
            };
            several(files, start, packed).await?;
            Ok(all.finish())
        });
        call.boxed()
    }
}

#[derive(Clone)]
struct Source {
    path: PathBuf,
    /// Below the folder that is packed.
    name: PathBuf,
    bytes: u64,
}

struct Packed {
    bytes: u64,
    compressed: u64,
    hash: [u8; 32],
}

/// All files below the folder, by name. Links are not followed.
fn list(folder: &Path) -> Result<Vec<Source>, Error> {
    let mut files = Vec::new();
    let mut total = 0_u64;
    for entry in WalkDir::new(folder).sort_by_file_name() {
        cancel::check()?;
        let failed = |error: walkdir::Error| {
            let path = error.path().unwrap_or(folder).to_owned();
            Error::Read(path, error.into())
        };
        let entry = entry.map_err(failed)?;
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes = entry.metadata().map_err(failed)?.len();
        total = total.saturating_add(bytes);
        if total > SIZE_LIMIT {
            return Err(Error::TooLarge(SIZE_LIMIT));
        }
        let path = entry.into_path();
        let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
        files.push(Source { path, name, bytes });
    }
    Ok(files)
}

/// Reads the file a piece at a time, and checks for cancellation in between.
fn pack_file(file: &Source) -> Result<Packed, Error> {
    let failed = |error| Error::read(&file.name, error);
    let mut from = File::open(&file.path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut gzip = GzEncoder::new(Counted::default(), Compression::default());
    let (mut bytes, mut chunk) = (0_u64, vec![0; CHUNK]);
    loop {
        cancel::check()?;
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        bytes += read as u64;
        // It was smaller when it was listed: a growing log, or a pipe.
        if bytes > SIZE_LIMIT {
            return Err(Error::TooLarge(SIZE_LIMIT));
        }
        hash.update(&chunk[..read]);
        gzip.write_all(&chunk[..read]).map_err(failed)?;
    }
    Ok(Packed {
        bytes,
        compressed: gzip.finish().map_err(failed)?.0,
        hash: hash.finalize().into(),
    })
}

/// Counts the written bytes, and keeps nothing.
#[derive(Default)]
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct All<P> {
    pack: Pack,
    hash: Sha256,
    expected: u64,
    progress: P,
}

impl<P: Progress> All<P> {
    fn new(files: &[Source], progress: P) -> Self {
        let expected = files.iter().map(|file| file.bytes).sum();
        progress.message(&format!("{} files, {expected} bytes", files.len()));
        Self {
            pack: Pack {
                files: 0,
                bytes: 0,
                compressed: 0,
                digest: String::new(),
            },
            hash: Sha256::new(),
            expected,
            progress,
        }
    }

    fn add(&mut self, file: &Source, packed: &Packed) {
        self.pack.files += 1;
        self.pack.bytes += packed.bytes;
        self.pack.compressed += packed.compressed;
        // With its length, so that no other names give the same bytes.
        let name = file.name.as_os_str().as_encoded_bytes();
        self.hash.update((name.len() as u64).to_le_bytes());
        self.hash.update(name);
        self.hash.update(packed.hash);
        self.progress.count("files", 1);
        self.progress.count("bytes", packed.bytes);
        self.progress
            .fraction(share(self.pack.bytes, self.expected).min(1.0));
    }

    fn finish(mut self) -> Pack {
        for byte in self.hash.finalize() {
            let _ = write!(self.pack.digest, "{byte:02x}"); // a `String` takes all
        }
        self.progress.fraction(1.0);
        self.pack
    }
}
