//! The code in `docs/ADAPTERS.md` must equal code of this repository: each block after a `<!--
//! from: PATH -->` must occur in that file; after a `<!-- from: PATH, shortened -->`, with lines
//! left out.
//!
//! Blocks after a `<!-- file: PATH -->` are the files of the reader's crate, whole or
//! one part after the other. `.ci/outside` makes a crate of them.

use std::{fs, path::Path};

struct Block {
    line: usize,
    language: String,
    from: Option<String>,
    code: String,
}

#[test]
fn code_in_the_guide_is_code_that_is_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = read(&root.join("docs/ADAPTERS.md"));
    let blocks = blocks(&guide);
    let mut checked = 0;
    for block in &blocks {
        let Some(from) = &block.from else {
            assert_ne!(
                block.language, "rust",
                "docs/ADAPTERS.md:{}: Rust code without a `<!-- from: PATH -->` before it",
                block.line
            );
            continue;
        };
        let (from, found) = match from.strip_suffix(", shortened") {
            Some(from) => (from, is_shortened(&block.code, &read(&root.join(from)))),
            None => (from.as_str(), read(&root.join(from)).contains(&block.code)),
        };
        assert!(
            found,
            "docs/ADAPTERS.md:{}: this is not in {from}:\n{}",
            block.line, block.code
        );
        checked += 1;
    }
    assert!(checked > 0, "no block in docs/ADAPTERS.md says its source");
}

/// Are the lines of `code` in `file`, in this order?
fn is_shortened(code: &str, file: &str) -> bool {
    let mut file = file.lines();
    let mut code = code.lines().filter(|line| !line.is_empty());
    code.all(|line| {
        // A call in the file may have more arguments, for recording results.
        let begin = line
            .strip_suffix(");")
            .filter(|line| !line.starts_with(' '));
        file.any(|other| other == line || begin.is_some_and(|begin| other.starts_with(begin)))
    })
}

#[test]
fn a_shortened_block_has_the_lines_in_order() {
    let file = "a\nb\nc!(d; e);\n";
    assert!(is_shortened("a\n\nc!(d);\n", file));
    assert!(is_shortened("b\n", file));
    assert!(!is_shortened("b\na\n", file));
    assert!(!is_shortened("c!(x);\n", file));
}

#[test]
fn blocks_are_found_with_their_source() {
    let found = blocks("a\n<!-- from: x.rs -->\n```rust\nfn a() {}\n```\n\n```toml\nb\n```\n");
    let [first, second] = found.as_slice() else {
        panic!("two blocks, not {}", found.len());
    };
    assert_eq!(first.from.as_deref(), Some("x.rs"));
    assert_eq!((first.line, first.language.as_str()), (3, "rust"));
    assert_eq!(first.code, "fn a() {}\n");
    assert_eq!(
        (second.from.as_deref(), second.code.as_str()),
        (None, "b\n")
    );
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        // A checkout on Windows may have such line ends.
        .replace("\r\n", "\n")
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut from = None;
    for (line, number) in text.lines().zip(1..) {
        if let Some(block) = &mut open {
            if line == "```" {
                blocks.extend(open.take());
            } else {
                block.code += line;
                block.code.push('\n');
            }
        } else if let Some(language) = line.strip_prefix("```") {
            open = Some(Block {
                line: number,
                language: language.to_owned(),
                from: from.take(),
                code: String::new(),
            });
        } else if let Some(path) = line.strip_prefix("<!-- from: ") {
            from = path.strip_suffix(" -->").map(str::to_owned);
        } else if !line.is_empty() {
            // A source belongs to the block right after it.
            from = None;
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}
