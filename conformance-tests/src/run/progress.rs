//! A bar on a terminal, a line a case elsewhere.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{CaseReport, Status};

pub(super) enum Progress {
    Bar(ProgressBar),
    Lines,
    Quiet,
}

impl Progress {
    pub(super) fn new(total: usize, shown: bool) -> Self {
        if !shown {
            return Self::Quiet;
        }
        if !stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    pub(super) fn done(&self, subject: &str, case: &CaseReport) {
        let line = || {
            format!(
                "{} {subject}::{} {}",
                case.status.name(),
                case.id,
                case.title
            )
        };
        match self {
            Self::Bar(bar) => {
                bar.inc(1);
                bar.set_message(format!("{subject}::{}", case.id));
                if !matches!(case.status, Status::Pass | Status::Unsupported) {
                    bar.println(line());
                }
            }
            Self::Lines => eprintln!("{}", line()),
            Self::Quiet => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
