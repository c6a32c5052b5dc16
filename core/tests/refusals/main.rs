//! What does not compile on purpose, and says why: each file in `cases` is a program that the
//! compiler refuses, with a message in which all of the texts are found that follow `//~`.
//!
//! The texts are ours where the compiler lets us have a say (`#[must_use]`,
//! `#[diagnostic::on_unimplemented]`), and a few words or an error's number where the words are
//! its own: those around them change from version to version.

mod harness;

#[test]
fn each_is_refused_with_words_that_help() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core"]);
}
