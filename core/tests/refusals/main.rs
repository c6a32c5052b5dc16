//! Programs that do not compile on purpose. Each file in `cases` is a program that the compiler
//! refuses, with a message that contains each text that follows `//~`.
//!
//! The texts are ours where the compiler lets us choose them (`#[must_use]`,
//! `#[diagnostic::on_unimplemented]`). Otherwise they are a few of the compiler's words, or an
//! error number, because the words around them change from version to version.

mod harness;

use std::{collections::BTreeSet, fs};

#[test]
fn each_is_refused_with_words_that_help() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core"]);
}

/// The list of what users write, and what becomes of it, is with the programs that compile.
#[test]
fn each_is_in_the_list_of_programs() {
    let core = env!("CARGO_MANIFEST_DIR");
    let list = fs::read_to_string(format!("{core}/../tests/it/programs/mod.rs")).unwrap();
    let (_, refused) = list.split_once("| refused in |").expect("a second table");
    let rows = refused.lines().filter(|line| line.starts_with("//! |"));
    let listed: BTreeSet<&str> = rows
        .filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|names| names.split(", "))
        .filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let cases = fs::read_dir(format!("{core}/tests/refusals/cases")).unwrap();
    let cases: Vec<_> = cases.map(|case| case.unwrap().path()).collect();
    let cases = cases.iter().filter_map(|case| case.file_stem()?.to_str());
    assert_eq!(listed, cases.collect());
}
