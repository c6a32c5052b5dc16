//! Every wrapper of the project passes every method of the traits on, those that a trait gains later
//! included.
//!
//! A provided method that is not passed on falls back to the trait's own without a word. Where a
//! wrapper is written, clippy's `missing_trait_methods` says so; but only if the wrapper denies it,
//! and only where clippy runs. This reads the sources instead: each implementation in the project
//! that is not a runtime's own, and not one that denies the lint alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The traits, and where they are.
const TRAITS: &[(&str, &str)] = &[
    ("Spawner", "spawn.rs"),
    ("BlockOn", "block_on.rs"),
    ("Offload", "offload.rs"),
    ("Timer", "time/timer.rs"),
    ("Sleep", "time/sleep.rs"),
    ("Shutdown", "shutdown.rs"),
];

/// Who implements them, and wraps nothing. They may leave methods to the traits.
const RUNTIMES: &[&str] = &[
    "StdThread",
    "Compute",
    "Tokio",
    "Smol",
    "Sim",
    "Adapter<E>",
    "Timers",
    // The adapters' timers.
    "Sleep",
    // These implement hyper's traits of the same names.
    "Hyper<R>",
    "HyperSleep<S>",
    // Of tests.
    "Clock",
    "Never",
    "NeverReady",
    "Once",
    "Passed",
    "Threads",
];

#[test]
fn every_wrapper_passes_every_method_on() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: &Path| code(&fs::read_to_string(path).expect("a source"));
    let macros = read(&core.join("forward.rs"));
    let traits: BTreeMap<&str, BTreeSet<String>> = TRAITS
        .iter()
        .map(|(name, file)| {
            let text = read(&core.join(file));
            let start = text.find(&format!("pub trait {name}")).expect("the trait");
            (*name, methods(block(&text[start..]), &macros))
        })
        .collect();
    assert!(traits.values().map(BTreeSet::len).sum::<usize>() > 30);

    let (mut wrappers, mut missing) = (0, Vec::new());
    let mut folders = vec![core.join("../..")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || matches!(&*name, "target" | "tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                for (what, names) in implementations(&read(&path), &macros) {
                    wrappers += 1;
                    let (of, _) = what.split_once(' ').expect("TRAIT for TYPE");
                    let left_out = traits[of].difference(&names);
                    missing.extend(left_out.map(|name| format!("{what}: {name}")));
                }
            }
        }
    }
    assert!(wrappers > 25, "the sources were not understood: {wrappers}");
    assert!(missing.is_empty(), "not passed on:\n{}", missing.join("\n"));
}

/// That the reading of sources finds a method that is left out, in each form of an implementation.
#[test]
fn a_method_that_is_left_out_is_found() {
    let macros = code(
        "macro_rules! forward { (provided Spawner) => { fn spawn() {} $crate::__more!(); }; }\n\
         macro_rules! __more { () => { fn layers() {} }; }",
    );
    let of_trait = code("pub trait Spawner: Sized { fn spawn(); fn spawn_with(); fn layers() {} }");
    let all = methods(block(&of_trait), &macros);
    for (text, left_out) in [
        (
            "impl<R: Spawner> Spawner for Layer<R> { forward!(provided Spawner); fn spawn_with() { fn x() {} } }",
            None,
        ),
        (
            "impl Spawner for Layer { fn spawn() { x() } fn layers() {} }",
            Some("spawn_with"),
        ),
        (
            "impl crate::Spawner for Layer { fn spawn() {}\n// fn layers\nfn spawn_with() {} }",
            Some("layers"),
        ),
        (
            "($a:tt) => { impl<$($a)*> $crate::Spawner for $type { fn spawn_with() {} $crate::__more!(); } };",
            Some("spawn"),
        ),
    ] {
        let [(what, names)] = &implementations(&code(text), &macros)[..] else {
            panic!("{text}: one implementation");
        };
        assert!(what.starts_with("Spawner for "), "{what}");
        let found: Vec<_> = all.difference(names).map(String::as_str).collect();
        assert_eq!(found, Vec::from_iter(left_out), "{text}");
    }
    let own = code("impl Spawner for Tokio { fn spawn_with() {} }");
    assert!(implementations(&own, &macros).is_empty());
}

/// The wrappers' implementations of the traits, as `TRAIT for TYPE`, with their methods.
fn implementations(text: &str, macros: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("impl") {
        let rest = &text[at..];
        let whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let header = rest.split(['{', ';']).next().expect("some text");
        let Some((before, of_type)) = header.split_once(" for ") else {
            continue;
        };
        // Behind the last path separator or generic parameter stands the trait.
        let name = before.rsplit([' ', ':']).next().expect("some text");
        if !whole || !TRAITS.iter().any(|(of, _)| *of == name) {
            continue;
        }
        let of_type = of_type.split(" where").next().expect("some text");
        let of_type = of_type.split("\nwhere").next().expect("some text").trim();
        if !RUNTIMES.contains(&of_type) {
            let names = methods(block(rest), macros);
            found.push((format!("{name} for {of_type}"), names));
        }
    }
    found
}

/// The functions at the top of a block, and those that macros write there.
fn methods(body: &str, macros: &str) -> BTreeSet<String> {
    let mut depth = 0_usize;
    let mut top = String::new();
    for c in body.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => top.push(c),
            _ => {}
        }
    }
    let mut names: BTreeSet<String> = top
        .match_indices("fn ")
        .filter(|(at, _)| !top[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| identifier(&top[at + 3..]))
        .collect();
    for (at, _) in top.match_indices("forward!(provided ") {
        let arm = identifier(&top[at + "forward!(provided ".len()..]);
        let start = macros.find(&format!("(provided {arm}) =>"));
        let arm = &macros[start.expect("an arm of `forward!`")..];
        names.extend(methods(block(arm), macros));
    }
    for (at, _) in top.match_indices("$crate::__") {
        let name = identifier(&top[at + "$crate::".len()..]);
        if !top[at + "$crate::".len() + name.len()..].starts_with('!') {
            continue;
        }
        // The first of each is the one with `std`.
        let start = macros.find(&format!("macro_rules! {name}"));
        let rules = &macros[start.expect("a macro of forward.rs")..];
        let arm = rules.find("=>").expect("an arm");
        names.extend(methods(block(&rules[arm..]), macros));
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// What is between the first brace and its partner.
fn block(text: &str) -> &str {
    let start = text.find('{').expect("a block") + 1;
    let mut depth = 1_usize;
    for (at, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[start..start + at];
        }
    }
    panic!("a block without an end")
}

/// The text without comments.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}
