//! The cost of handing the lines of a file to another thread, with the standard library alone. It
//! is the floor under `.next().await` of a blocking iterator: see *What is not to be had* in
//! docs/DESIGN.md.
//!
//! ```text
//! cargo run --release -p fourway-streams --example hand_over                 # as the system likes
//! chrt -f 1 target/release/examples/hand_over                                # a processor each
//! taskset -c 0 target/release/examples/hand_over                             # one for both
//! ```
//!
//! With a number behind it, that many lines.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Instant,
};

const LINES: usize = 1_000_000;
const ROUNDS: usize = 5;

type Batch = Vec<io::Result<String>>;
type Way = (&'static str, fn(&Path));

const WAYS: &[Way] = &[
    ("a plain loop", |file| consume(lines(file))),
    ("the same thread, batches of 64", |file| in_place(file, 64)),
    ("the same thread, batches of 1024", |file| {
        in_place(file, 1024)
    }),
    ("at the same time, batches of 1024", |file| {
        at_once(file, 1024)
    }),
    ("at the same time, batches of 8192", |file| {
        at_once(file, 8192)
    }),
    ("at the same time, 1024, freed by the producer", |file| {
        given_back(file, 1024)
    }),
    ("in turns, batches of 1024", |file| in_turns(file, 1024)),
    ("in turns, batches of 8192", |file| in_turns(file, 8192)),
];

fn main() -> io::Result<()> {
    let count = std::env::args().nth(1);
    let count: usize = count.map_or(LINES, |count| count.parse().expect("how many lines"));
    let file = std::env::temp_dir().join(format!("hand-over-{}", std::process::id()));
    let mut to = BufWriter::new(File::create(&file)?);
    for number in 0..count {
        writeln!(to, "{number}: a line of a log, as long as such lines are")?;
    }
    to.flush()?;
    let mut taken = vec![Vec::new(); WAYS.len()];
    // The ways alternate, so that a machine that slows down slows down all of them.
    for _ in 0..ROUNDS {
        for ((_, way), taken) in WAYS.iter().zip(&mut taken) {
            let from = Instant::now();
            way(&file);
            taken.push(from.elapsed().as_secs_f64() * 1e9 / count as f64);
        }
    }
    fs::remove_file(&file)?;
    let medians = taken.iter_mut().map(|taken| {
        taken.sort_by(f64::total_cmp);
        taken[ROUNDS / 2]
    });
    let medians: Vec<f64> = medians.collect();
    for ((name, _), median) in WAYS.iter().zip(&medians) {
        println!("{name:46} {median:6.1} ns  {:.2}×", median / medians[0]);
    }
    Ok(())
}

fn lines(file: &Path) -> impl Iterator<Item = io::Result<String>> + use<> {
    BufReader::new(File::open(file).expect("it has been made")).lines()
}

fn consume(items: impl IntoIterator<Item = io::Result<String>>) {
    let sizes = items
        .into_iter()
        .map(|line| line.map_or(0, |line| line.len()));
    black_box(sizes.sum::<usize>());
}

/// No hand-over: the cost of the batches alone.
fn in_place(file: &Path, size: usize) {
    let mut lines = lines(file);
    let mut batch = Batch::with_capacity(size);
    loop {
        batch.extend(lines.by_ref().take(size));
        if batch.is_empty() {
            return;
        }
        consume(batch.drain(..));
    }
}

/// The producer reads the next batch while the consumer has one.
fn at_once(file: &Path, size: usize) {
    let (to, from) = mpsc::sync_channel::<Batch>(1);
    let producer = producing(file, size, to, |_| Some(Batch::new()));
    from.into_iter().for_each(consume);
    producer.join().expect("it does not panic");
}

/// As [`at_once`], but the thread that has allocated the lines frees them.
fn given_back(file: &Path, size: usize) {
    let (to, from) = mpsc::sync_channel::<Batch>(1);
    let (back, spent) = mpsc::channel::<Batch>();
    let producer = producing(file, size, to, move |_| {
        Some(spent.try_recv().unwrap_or_default())
    });
    for batch in from {
        let sizes = batch
            .iter()
            .map(|line| line.as_ref().map_or(0, String::len));
        black_box(sizes.sum::<usize>());
        // The producer may have ended.
        let _ = back.send(batch);
    }
    producer.join().expect("it does not panic");
}

/// The producer waits while the consumer has a batch.
fn in_turns(file: &Path, size: usize) {
    let (to, from) = mpsc::sync_channel::<Batch>(1);
    let (back, spent) = mpsc::channel::<Batch>();
    let producer = producing(file, size, to, move |number| match number {
        0 => Some(Batch::new()),
        _ => spent.recv().ok(),
    });
    for mut batch in from {
        consume(batch.drain(..));
        // The producer may have ended.
        let _ = back.send(batch);
    }
    producer.join().expect("it does not panic");
}

fn producing(
    file: &Path,
    size: usize,
    to: mpsc::SyncSender<Batch>,
    next: impl Fn(usize) -> Option<Batch> + Send + 'static,
) -> thread::JoinHandle<()> {
    let file = PathBuf::from(file);
    thread::spawn(move || {
        let mut lines = lines(&file);
        for number in 0.. {
            let Some(mut batch) = next(number) else {
                return;
            };
            batch.clear();
            batch.reserve(size);
            batch.extend(lines.by_ref().take(size));
            if batch.is_empty() || to.send(batch).is_err() {
                return;
            }
        }
    })
}
