//! Mistakes: each file in `cases` is a program that is refused, at the line that it states, with a
//! message that contains all texts after `//~`.

#[path = "../../../core/tests/refusals/harness.rs"]
mod harness;

#[test]
fn each_mistake_is_told_at_its_line_with_what_to_write_instead() {
    harness::check(env!("CARGO_MANIFEST_DIR"), &["core", "macros", "fourway"]);
}
