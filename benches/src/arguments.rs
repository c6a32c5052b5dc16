//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::report::ROUNDS;

/// Measures fourway side by side with its peers.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Only operations whose name, or the name of whose section, contains this.
    pub(crate) filter: Option<String>,
    /// Rounds; in each, all contenders of an operation run in turn. Long operations
    /// take fewer and say so.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// A tenth of the work a round, for a look. The figures mean little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Reads the figures from such a JSON file and measures nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["filter", "rounds", "quick"])]
    pub(crate) from: Option<PathBuf>,
    /// Writes plots, one SVG file a section.
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,
    /// Writes the results as a page of Markdown. With `--svg`, it shows the plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) page: Option<PathBuf>,
    /// Exits with 1 if a promised ratio is missed.
    #[arg(long)]
    pub(crate) check: bool,
    /// Lists the operations and measures nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// The Python that has SmartAsync (`pip install smartasync`).
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Has one contender do the first operation that the filter finds, and measures and
    /// prints nothing: for profilers.
    #[arg(long, value_name = "CONTENDER", requires = "filter")]
    pub(crate) profile: Option<String>,
    /// How often, with `--profile`.
    #[arg(long, default_value_t = 10_000, requires = "profile")]
    pub(crate) times: u32,
    /// What a child process of the benches is to measure.
    #[arg(long, hide = true, value_name = "WHAT")]
    pub(crate) child: Option<String>,
}
