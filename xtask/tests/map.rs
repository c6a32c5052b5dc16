//! The map in `ARCHITECTURE.md` is that of the tree: each file and folder that it names is there, and
//! each file and folder of the crates that it describes is named.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Files that are in many crates, for the same. (Tests beside the code end with `_tests.rs`.)
const EVERYWHERE: &[&str] = &["lib.rs", "sync.rs"];

/// Adapters have one section together.
const ADAPTERS: &[&str] = &[
    "adapters/std-thread",
    "adapters/tokio",
    "adapters/smol",
    "adapters/sim",
];

#[test]
fn the_map_is_that_of_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let crates = folders(&map);
    let mut wrong = Vec::new();
    for (folder, _) in &crates {
        if !root.join(folder).is_dir() {
            wrong.push(format!("there is no folder {folder}"));
        }
    }
    let mut sections = 0;
    for part in map.split("\n### Inside ").skip(1) {
        let (title, text) = part.split_once('\n').expect("a section has lines");
        // Up to the next heading.
        let text = text.split("\n## ").next().expect("there is a first part");
        let folders = match title {
            "the core" => vec!["core"],
            "the suite" => vec!["conformance-tests"],
            "an adapter" => ADAPTERS.to_vec(),
            _ => {
                let named = crates.iter().find(|(_, name)| *name == title);
                vec![named.expect("the crate has a folder").0]
            }
        };
        sections += 1;
        let sources: Vec<PathBuf> = folders
            .iter()
            .map(|one| root.join(one).join("src"))
            .collect();
        let named = names(text);
        wrong.extend(compare(title, &named, &sources));
    }
    assert!(sections > 8, "only {sections} sections were found");
    assert!(wrong.is_empty(), "ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// The folders of the first table, each with its crate as the map writes it.
fn folders(map: &str) -> Vec<(&str, &str)> {
    let rows = map.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let folder = cells.next()?.strip_suffix("/`")?;
        let name = cells.next()?;
        (name.starts_with("`fourway") || name == "unpublished").then_some((folder, name))
    });
    rows.collect()
}

/// What is named as a file or a folder.
fn names(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| {
        let of_path = |c: char| c.is_ascii_lowercase() || "_-/.".contains(c);
        (name.ends_with(".rs") || name.ends_with('/')) && name.chars().all(of_path)
    };
    quoted.filter(is_name).collect()
}

/// What is named and not there, or there and not named.
fn compare(title: &str, named: &BTreeSet<&str>, sources: &[PathBuf]) -> Vec<String> {
    let mut there = BTreeSet::new();
    let mut deep = Vec::new();
    for source in sources {
        for entry in fs::read_dir(source).expect("the sources") {
            let entry = entry.expect("an entry");
            let mut name = entry.file_name().into_string().expect("a name in ASCII");
            if entry.path().is_dir() {
                deep.extend(files(&entry.path()));
                name.push('/');
            }
            if name.ends_with(".rs") || name.ends_with('/') {
                there.insert(name);
            }
        }
    }
    let is_there = |name: &str| {
        let below = |file: &PathBuf| file.ends_with(name);
        there.contains(name)
            || sources.iter().any(|source| source.join(name).exists())
            || sources
                .iter()
                .any(|source| source.join("..").join(name).exists())
            || deep.iter().any(below)
    };
    let lost = named.iter().filter(|name| !is_there(name));
    let lost = lost.map(|name| format!("Inside {title}: there is no {name}"));
    let is_named = |name: &str| {
        EVERYWHERE.contains(&name)
            || name.ends_with("_tests.rs")
            || named.contains(name)
            || (name.ends_with('/') && named.iter().any(|one| one.starts_with(name)))
    };
    let missing = there.iter().filter(|name| !is_named(name));
    let missing = missing.map(|name| format!("Inside {title}: {name} is not named"));
    lost.chain(missing).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
