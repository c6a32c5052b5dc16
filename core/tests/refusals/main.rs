//! Programs that do not compile on purpose. Each file in `cases` is a program that the compiler
//! refuses, with a message that contains each text that follows `//~`.
//!
//! The texts are ours where the compiler lets us choose them (`#[must_use]`,
//! `#[diagnostic::on_unimplemented]`). Otherwise they are a few of the compiler's words, or an
//! error number, because the words around them change from version to version.

mod harness;

#[test]
fn each_is_refused_with_words_that_help() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core"]);
}
