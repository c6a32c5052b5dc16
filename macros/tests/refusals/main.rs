//! Mistakes: each file in `cases` is a program that is refused, at the line that it says, with
//! a message in which all of the texts are found that follow `//~`.

#[path = "../../../core/tests/refusals/harness.rs"]
mod harness;

#[test]
fn each_mistake_is_told_at_its_line_with_what_to_write_instead() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core", "macros", "fourway"]);
}
