//! Messages for a file's author: the line in the file, and what to write.

use std::path::Path;

use skillkit::{Problem, Skill, parse_bytes};

fn parse(yaml: &str) -> Result<Skill, Problem> {
    let text = format!("---\n{yaml}\n---\nBody.\n");
    parse_bytes(Path::new("x/SKILL.md"), text.as_bytes())
}

#[test]
fn each_reason_says_what_is_wanted() {
    let cases = [
        (
            "- a\n- list",
            2,
            "it must be lines such as `name: code-review`",
        ),
        (
            "only words",
            2,
            "it must be lines such as `name: code-review`",
        ),
        ("name: [a, b]", 2, "a text is wanted here"),
        ("name: x\ndescription:\n  a: b", 4, "a text is wanted here"),
        ("name: x\nname: y", 3, "the key `name` is there twice"),
        (
            "name: x\nallowed-tools: {a: b}",
            3,
            "a list of tools, or their names in one text",
        ),
        (
            "name: x\nallowed-tools: 5",
            3,
            "a list of tools, or their names in one text",
        ),
        ("name: x\nallowed-tools: [[a]]", 3, "a text is wanted here"),
    ];
    for (yaml, line, words) in cases {
        let problem = parse(yaml).unwrap_err();
        assert!(problem.reason.contains(words), "{yaml:?}: {problem}");
        assert_eq!(problem.line, line, "{yaml:?}: {problem}");
    }
}

/// A document of a few lines, each of which names the one before it ten times.
fn bomb() -> String {
    let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]");
    for level in 1..9 {
        let names = [format!("*a{}", level - 1).as_str(); 10].join(", ");
        yaml += &format!("\na{level}: &a{level} [{names}]");
    }
    yaml
}

#[test]
fn a_document_that_grows_beyond_all_limits_is_too_large() {
    let problem = parse(&bomb()).unwrap_err();
    assert!(
        problem.reason.contains("too large or too deep"),
        "{problem}"
    );
}

#[test]
fn the_parsers_own_words_stay_with_it() {
    let deep = "[".repeat(5000);
    let many = format!(
        "a: &a [{}]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]",
        "x, ".repeat(5000)
    );
    let bomb = bomb();
    let yamls = [
        "name: \"open",
        "- a\n- list",
        "name: x\nname: y",
        "a: [1",
        "a: ]",
        "a: {b",
        "a: *b",
        "name: !!binary x",
        "name: ~",
        "allowed-tools: ~",
        "a: b: c",
        "\ta: b",
        "? a",
        "a: |\nb",
        "%TAG",
        "a: \"\\q\"",
        "a: &a [*a]",
        "---\na: b",
        "...\na: b",
        "name: !x y",
        &deep,
        &many,
        &bomb,
        "<<: 5",
        "name: \n  - x",
        "&a",
        "!!map",
        "{}",
        "a: 'b",
        "@a",
        "`a`",
        "a: \u{7}",
    ];
    let mut wrong = Vec::new();
    for yaml in yamls {
        let start: String = yaml.chars().take(40).collect();
        match parse(yaml) {
            Ok(_) => wrong.push(format!("{start:?} is in order")),
            Err(problem) => {
                let is_there = |word: &&&str| problem.reason.contains(**word);
                if let Some(word) = WORDS.iter().find(is_there) {
                    wrong.push(format!("{start:?}: `{word}` in: {problem}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words that do not help a file's author.
const WORDS: &[&str] = &[
    "at line",
    "Options",
    "Config",
    "::",
    "deserialize",
    "enum",
    "untagged",
    "scalar",
    "event",
    "mapping start",
    "Budget",
    "breach",
    "internal",
    "replay",
    "limits",
    "nodes",
];
