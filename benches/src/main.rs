//! fourway side by side with what it stands on, in one process.
//!
//! See `benches/README.md`.

use std::{
    fs,
    future::Future,
    hint::black_box,
    io,
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use fourway_core::{AnyRuntime, Call, Runtime, Spawner, context, yield_now};
use fourway_smol::Smol;
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;
use serde::Serialize;

/// Measures what fourway costs on top of the runtimes it stands on.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only operations whose name contains this.
    filter: Option<String>,
    /// Rounds; in each, all contenders of an operation run in turn.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exits with 1 if a promised ratio is missed.
    #[arg(long)]
    check: bool,
}

/// One thing to be done, in several ways.
struct Operation {
    name: &'static str,
    /// How often a contender does it in one round.
    times: u32,
    /// The first is the one that the others are compared with.
    contenders: Vec<Contender>,
}

struct Contender {
    name: &'static str,
    /// The promised ratio to the first contender.
    at_most: Option<f64>,
    /// The promised time, in nanoseconds.
    under: Option<f64>,
    /// Does it so many times.
    run: Box<dyn FnMut(u32)>,
}

fn contender(name: &'static str, run: impl FnMut(u32) + 'static) -> Contender {
    Contender {
        name,
        at_most: None,
        under: None,
        run: Box::new(run),
    }
}

impl Contender {
    fn at_most(mut self, ratio: f64) -> Self {
        self.at_most = Some(ratio);
        self
    }

    fn promised(mut self, ratio: Option<f64>) -> Self {
        self.at_most = ratio;
        self
    }

    fn under(mut self, nanoseconds: f64) -> Self {
        self.under = Some(nanoseconds);
        self
    }
}

#[derive(Serialize)]
struct Figure {
    operation: &'static str,
    contender: &'static str,
    /// Nanoseconds an operation: median, lower and upper quartile over the rounds.
    median: f64,
    lower: f64,
    upper: f64,
    /// To the first contender: the median of the rounds' ratios.
    ratio: f64,
    at_most: Option<f64>,
    under: Option<f64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<bool> {
    let mut figures = Vec::new();
    let mut take = |operations: Vec<Operation>| {
        for operation in operations {
            let wanted = arguments.filter.as_deref();
            if wanted.is_none_or(|filter| operation.name.contains(filter)) {
                eprintln!("{} …", operation.name);
                figures.extend(measure(operation, arguments.rounds));
            }
        }
    };
    // Before there is any Tokio.
    let first = on_this_thread("block on a ready future", "call a blocking body", Some(3.0))?;
    take(first.into());
    take(operations()?);
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "operation",
        "contender",
        "median ns",
        "quartiles",
        "ratio",
        "promised",
    ]);
    let mut missed = Vec::new();
    for figure in &figures {
        let promised = match (figure.at_most, figure.under) {
            (Some(ratio), _) => format!("≤ {ratio:.2}×"),
            (_, Some(ns)) => format!("< {ns} ns"),
            _ => String::new(),
        };
        table.add_row([
            figure.operation.to_owned(),
            figure.contender.to_owned(),
            format!("{:.1}", figure.median),
            format!("{:.1} – {:.1}", figure.lower, figure.upper),
            format!("{:.2}×", figure.ratio),
            promised,
        ]);
        if figure.at_most.is_some_and(|at_most| figure.ratio > at_most)
            || figure.under.is_some_and(|ns| figure.median >= ns)
        {
            missed.push(format!(
                "{}, {}: {:.2}×, {:.1} ns",
                figure.operation, figure.contender, figure.ratio, figure.median
            ));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&figures)?)?;
    }
    for line in &missed {
        eprintln!("missed: {line}");
    }
    Ok(!arguments.check || missed.is_empty())
}

/// All contenders in turn within each round, so that a machine that slows down
/// slows down all of them alike.
fn measure(mut operation: Operation, rounds: u32) -> Vec<Figure> {
    let times = operation.times;
    let mut samples: Vec<Vec<f64>> = operation.contenders.iter().map(|_| Vec::new()).collect();
    // One round is not counted: threads start, caches fill.
    for round in 0..=rounds {
        for (contender, samples) in operation.contenders.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            (contender.run)(times);
            let time = start.elapsed().as_nanos() as f64 / f64::from(times);
            if round > 0 {
                samples.push(time);
            }
        }
    }
    let first = samples[0].clone();
    let figure = |(contender, samples): (Contender, Vec<f64>)| {
        let ratios = samples.iter().zip(&first).map(|(time, first)| time / first);
        Figure {
            operation: operation.name,
            contender: contender.name,
            median: quantile(samples.clone(), 0.5),
            lower: quantile(samples.clone(), 0.25),
            upper: quantile(samples.clone(), 0.75),
            ratio: quantile(ratios.collect(), 0.5),
            at_most: contender.at_most,
            under: contender.under,
        }
    };
    operation
        .contenders
        .into_iter()
        .zip(samples)
        .map(figure)
        .collect()
}

fn quantile(mut samples: Vec<f64>, at: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() - 1) as f64 * at).round() as usize]
}

/// From inside a task, one at a time.
fn spawn_join<R: Runtime>(runtime: &R, times: u32) {
    let inner = runtime.clone();
    let task = runtime.spawn(async move {
        for _ in 0..times {
            black_box(inner.spawn(async { black_box(1_u64) }).await.is_ok());
        }
    });
    runtime.block_on(task).expect("it does not panic");
}

/// From inside a task, all and then all.
fn spawn_many<R: Runtime>(runtime: &R, times: u32) {
    let inner = runtime.clone();
    let task = runtime.spawn(async move {
        let tasks: Vec<_> = (0..times)
            .map(|_| inner.spawn(async { black_box(1_u64) }))
            .collect();
        for task in tasks {
            black_box(task.await.is_ok());
        }
    });
    runtime.block_on(task).expect("it does not panic");
}

fn yields<R: Runtime>(runtime: &R, times: u32) {
    let task = runtime.spawn(async move {
        for _ in 0..times {
            yield_now().await;
        }
    });
    runtime.block_on(task).expect("it does not panic");
}

fn offloads<R: Runtime>(runtime: &R, times: u32) {
    runtime.block_on(async {
        for _ in 0..times {
            black_box(runtime.offload(|| black_box(1_u64)).await.is_ok());
        }
    });
}

async fn native_tokio(times: u32) {
    for _ in 0..times {
        black_box(tokio::spawn(async { black_box(1_u64) }).await.is_ok());
    }
}

/// Ready at its first poll, which the compiler cannot know.
async fn ready() -> u64 {
    struct Opaque;
    impl Future for Opaque {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            black_box(cx);
            black_box(Poll::Ready(()))
        }
    }
    Opaque.await;
    black_box(1)
}

/// What takes no other thread. Each look at the context asks Tokio as well, once
/// the process has used the Tokio adapter; the ratio to `pollster` is promised for
/// processes that have not.
fn on_this_thread(
    block_on: &'static str,
    call: &'static str,
    promised: Option<f64>,
) -> io::Result<[Operation; 2]> {
    let threads = StdThread::builder().build()?;
    // A reference that lives long enough is a runtime as well, and needs no counting
    // of references. (Called on it directly, methods would be those of the handle.)
    let leaked: &'static StdThread = Box::leak(Box::new(threads.clone()));
    let other = threads.clone();
    let block_on = Operation {
        name: block_on,
        times: 1_000_000,
        contenders: vec![
            contender("pollster", |n| {
                for _ in 0..n {
                    black_box(pollster::block_on(ready()));
                }
            }),
            contender("futures-lite", |n| {
                for _ in 0..n {
                    black_box(futures_lite::future::block_on(ready()));
                }
            }),
            contender(".wait(), over a reference", move |n| {
                for _ in 0..n {
                    black_box(Runtime::call(&leaked, ready()).wait());
                }
            })
            .promised(promised),
            contender(".wait(), over a handle", move |n| {
                for _ in 0..n {
                    black_box(threads.call(ready()).wait());
                }
            })
            .promised(promised),
            // With everything in sight, nothing is left of `pollster` but the number.
            contender("pollster, seen through", |n| {
                for _ in 0..n {
                    black_box(pollster::block_on(async { black_box(1_u64) }));
                }
            }),
            contender(".wait(), seen through", move |n| {
                for _ in 0..n {
                    black_box(other.call(async { black_box(1_u64) }).wait());
                }
            }),
        ],
    };
    let call = Operation {
        name: call,
        times: 1_000_000,
        contenders: vec![
            contender("a plain call", |n| {
                for _ in 0..n {
                    black_box((black_box(|| 1_u64))());
                }
            }),
            contender(".wait() of a blocking call", move |n| {
                for _ in 0..n {
                    black_box(Runtime::call_blocking(&leaked, || black_box(1_u64)).wait());
                }
            }),
            contender("context::current()", |n| {
                for _ in 0..n {
                    black_box(context::current());
                }
            })
            .under(5.0),
        ],
    };
    Ok([block_on, call])
}

#[allow(clippy::too_many_lines, reason = "a list of what is measured")]
fn operations() -> io::Result<Vec<Operation>> {
    let native = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()?,
    );
    let current = Arc::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?,
    );
    // The wrapped contender runs on the same runtime as the native one: what is
    // compared is the wrapper.
    let wrapped = Tokio::from_handle(native.handle().clone());
    let wrapped_current = Tokio::from_handle(current.handle().clone());
    let global = Smol::global();
    let threads = StdThread::builder().worker_threads(2).build()?;
    let mut operations = Vec::new();

    operations.push(Operation {
        name: "spawn + join, Tokio multi-thread",
        times: 20_000,
        contenders: vec![
            contender("native", {
                let rt = native.clone();
                move |n| rt.block_on(rt.spawn(native_tokio(n))).expect("no panic")
            }),
            contender("fourway", {
                let rt = wrapped.clone();
                move |n| spawn_join(&rt, n)
            })
            .at_most(1.05),
            contender("AnyRuntime", {
                let rt = AnyRuntime::new(wrapped.clone());
                move |n| spawn_join(&rt, n)
            })
            .at_most(1.3),
        ],
    });
    operations.push(Operation {
        name: "spawn + join, Tokio current-thread",
        times: 20_000,
        contenders: vec![
            contender("native", {
                let rt = current.clone();
                move |n| rt.block_on(native_tokio(n))
            }),
            contender("fourway", {
                let (rt, wrapped) = (current.clone(), wrapped_current.clone());
                move |n| {
                    rt.block_on(async {
                        for _ in 0..n {
                            black_box(wrapped.spawn(async { black_box(1_u64) }).await.is_ok());
                        }
                    });
                }
            })
            .at_most(1.05),
            contender("AnyRuntime", {
                let (rt, any) = (current.clone(), AnyRuntime::new(wrapped_current.clone()));
                move |n| {
                    rt.block_on(async {
                        for _ in 0..n {
                            black_box(any.spawn(async { black_box(1_u64) }).await.is_ok());
                        }
                    });
                }
            })
            .at_most(1.3),
        ],
    });
    operations.push(Operation {
        name: "spawn + join, smol global",
        times: 20_000,
        contenders: vec![
            contender("native", |n| {
                smol::block_on(smol::spawn(async move {
                    for _ in 0..n {
                        black_box(smol::spawn(async { black_box(1_u64) }).await);
                    }
                }));
            }),
            contender("fourway", {
                let rt = global.clone();
                move |n| spawn_join(&rt, n)
            })
            .at_most(1.05),
            contender("AnyRuntime", {
                let rt = AnyRuntime::new(global.clone());
                move |n| spawn_join(&rt, n)
            })
            .at_most(1.3),
        ],
    });
    operations.push(Operation {
        name: "spawn + join, std-thread",
        times: 10_000,
        contenders: vec![
            contender("fourway", {
                let rt = threads.clone();
                move |n| spawn_join(&rt, n)
            }),
            contender("AnyRuntime", {
                let rt = AnyRuntime::new(threads.clone());
                move |n| spawn_join(&rt, n)
            })
            .at_most(1.3),
        ],
    });
    operations.push(Operation {
        name: "spawn 10k, join all",
        times: 10_000,
        contenders: vec![
            contender("fourway on Tokio", {
                let rt = wrapped.clone();
                move |n| spawn_many(&rt, n)
            }),
            contender("fourway on smol", {
                let rt = global.clone();
                move |n| spawn_many(&rt, n)
            }),
            contender("fourway on threads", {
                let rt = threads.clone();
                move |n| spawn_many(&rt, n)
            }),
        ],
    });
    operations.push(Operation {
        name: "yield",
        times: 50_000,
        contenders: vec![
            contender("fourway on Tokio", {
                let rt = wrapped.clone();
                move |n| yields(&rt, n)
            }),
            contender("fourway on smol", {
                let rt = global.clone();
                move |n| yields(&rt, n)
            }),
            contender("fourway on threads", {
                let rt = threads.clone();
                move |n| yields(&rt, n)
            }),
        ],
    });
    operations.extend(on_this_thread(
        "block on a ready future, Tokio in use",
        "call a blocking body, Tokio in use",
        None,
    )?);
    operations.push(Operation {
        name: "offload, from block_on",
        times: 500,
        contenders: vec![
            contender("spawn_blocking", {
                let rt = native.clone();
                move |n| {
                    rt.block_on(async {
                        for _ in 0..n {
                            black_box(
                                tokio::task::spawn_blocking(|| black_box(1_u64))
                                    .await
                                    .is_ok(),
                            );
                        }
                    });
                }
            }),
            contender("unblock", |n| {
                smol::block_on(async {
                    for _ in 0..n {
                        black_box(smol::unblock(|| black_box(1_u64)).await);
                    }
                });
            }),
            contender("fourway on Tokio", {
                let rt = wrapped.clone();
                move |n| offloads(&rt, n)
            }),
            contender("fourway on smol", {
                let rt = global.clone();
                move |n| offloads(&rt, n)
            }),
            contender("fourway on threads", {
                let rt = threads.clone();
                move |n| offloads(&rt, n)
            }),
        ],
    });
    Ok(operations)
}
