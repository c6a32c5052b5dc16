//! `docs/BROKEN-RUNTIMES.md`, made from the lists.

use std::{fmt::Write as _, fs, process::ExitCode};

use fourway_conformance::{Entry, rules};

use crate::{UNRELATED, bugs::KNOWN, odd::STRANGE};

/// Does not exist in a published package.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/BROKEN-RUNTIMES.md");

/// Writes it anew.
pub(crate) fn write(of: &Entry) -> ExitCode {
    match fs::write(PATH, text(of)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PATH}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does it agree with the lists?
pub(crate) fn is_current(of: &Entry) -> bool {
    let current = fs::read_to_string(PATH).map_or(true, |found| found == text(of));
    if !current {
        eprintln!(
            "{PATH} is out of date: run `cargo test -p fourway-conformance --test broken -- \
             --document`"
        );
    }
    current
}

fn text(of: &Entry) -> String {
    let exempt: usize = rules::exemptions().iter().map(|(_, ids)| ids.len()).sum();
    let cases = of.cases().len();
    let bugs = KNOWN.iter().filter(|known| !known.caught_by.is_empty());
    let mut text = format!(
        "# Broken runtimes, and odd ones\n\n\
         A suite that has never failed proves nothing, and one that fails what is right is\n\
         worse. Both are checked by `cargo test -p fourway-conformance --test broken`, in\n\
         every run, by means of one small runtime with a switch, and of small nurseries and a small\n\
         door on it with the same switch.\n\n\
         **{} of the {cases} cases are proven able to fail** by one of {} broken runtimes;\n\
         {exempt} carry an exemption, which is written below. The runtime without a bug passes\n\
         all cases.\n\n\
         ## Broken runtimes\n\n\
         Each has one bug, many of them after a real one, and is caught by the cases named\n\
         here; the first of them says the words. A number behind a project's name is an issue\n\
         of its. On each, these cases, which rest on little, are run as well, and pass unless\n\
         they are named here: {}.\n\n\
         | runtime | the bug | caught by | saying | fails also |\n|---|---|---|---|---|\n",
        cases - exempt,
        bugs.clone().count(),
        UNRELATED.join(", "),
    );
    for known in bugs {
        let words = match known.words {
            "" => String::new(),
            words => format!("\"{}\"", words.replace('|', "\\|")),
        };
        let (cases, also) = (known.caught_by.join(", "), known.also.join(", "));
        let (name, model) = (known.name, known.model);
        let _ = writeln!(text, "| `{name}` | {model} | {cases} | {words} | {also} |");
    }
    text += "\n## The rules\n\nWhat the numbers stand for; the words are in [CONTRACT.md](CONTRACT.md).\n\n";
    for rule in rules::all() {
        let _ = writeln!(text, "* {} {}", rule.number, rule.name);
    }
    text += "\n## Odd runtimes\n\n\
             These keep the contract, each in an unusual way, and pass all cases that are not\n\
             stress. Those with a mark do so in every run, the others with `--all`.\n\n\
             | runtime | what is odd | in every run |\n|---|---|---|\n";
    for strange in STRANGE {
        let mark = if strange.always { "yes" } else { "" };
        let _ = writeln!(text, "| `{}` | {} | {mark} |", strange.name, strange.how);
    }
    text += "\n## Cases without a broken runtime\n\n\
             Such a case has failed on no runtime here, or for reasons that have nothing to do\n\
             with what it is about.\n\n\
             | cases | why |\n|---|---|\n";
    for (reason, ids) in rules::exemptions() {
        let _ = writeln!(text, "| {} | {reason} |", ids.join(", "));
    }
    text
}
