//! Programs that do not compile on purpose. Each file in the folder `cases` of a crate's refusals
//! is a program that the compiler refuses. The message must contain each text that follows `//~`.
//! After `//~ line N`, it must point at line N. A text that follows `//~ once` must occur once,
//! because one mistake should give one message.
//!
//! They are the programs of one package, so that Cargo runs once and compiles several at a time.
//! Cargo's planning takes longer than the compiler takes for one program.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A program that must compile: a fault here would make the compiler refuse all the cases.
const GOOD: (&str, &str) = (
    "good_program",
    "fn main() { let _ = fourway_core::context::current(); }",
);

/// Checks the cases of the crate in the folder `krate`; its programs use the crates in `uses`,
/// each a folder beside the core, and `fourway` the facade, with its attributes.
pub(crate) fn check(krate: &str, uses: &[&str]) {
    let krate = Path::new(krate);
    let mut programs = BTreeMap::new();
    for case in fs::read_dir(krate.join("tests/refusals/cases")).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        programs.insert(name, fs::read_to_string(&case).unwrap());
    }
    assert!(!programs.is_empty(), "there are no cases");
    let refused = Package::new(krate, uses, &programs).check();
    let mut complaints = Vec::new();
    for (name, text) in &programs {
        match refused.get(name) {
            None => complaints.push(format!("{name}: it compiles")),
            Some(message) => complaints.extend(missing(name, text, message).map(|missing| {
                format!("{name}: `{missing}` is not said. What is said is:\n{message}")
            })),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

/// The expected texts that are not in the message.
fn missing<'a>(name: &'a str, case: &'a str, message: &'a str) -> impl Iterator<Item = &'a str> {
    // The compiler breaks long lines where it likes, behind a margin.
    let words = |text: &str| {
        let words = text.split_whitespace().filter(|word| *word != "|");
        words.collect::<Vec<_>>().join(" ")
    };
    let said = words(message);
    let expected = case.lines().filter_map(|line| line.strip_prefix("//~ "));
    expected.filter(move |text| {
        if let Some(line) = text.strip_prefix("line ") {
            !said.contains(&format!("src/bin/{name}.rs:{line}:"))
        } else if let Some(text) = text.strip_prefix("once ") {
            said.matches(&words(text)).count() != 1
        } else {
            !said.contains(&words(text))
        }
    })
}

/// A package of all programs, beside this crate.
struct Package {
    folder: PathBuf,
}

impl Package {
    fn new(krate: &Path, uses: &[&str], programs: &BTreeMap<String, String>) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals");
        let bin = folder.join("src/bin");
        // The folder may hold a program that is no case any more.
        match fs::remove_dir_all(folder.join("src")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => fs::create_dir_all(&bin).unwrap(),
        }
        let root = krate.parent().unwrap();
        let uses = uses.iter().map(|name| {
            let path = root.join(name);
            match *name {
                "fourway" => format!("fourway = {{ path = {root:?}, features = [\"macros\"] }}\n"),
                name => format!("fourway-{name} = {{ path = {path:?} }}\n"),
            }
        });
        let manifest = format!(
            "[package]\nname = \"refused\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{}\n[workspace]\n",
            uses.collect::<String>()
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        let good = std::iter::once(GOOD);
        let programs = programs.iter().map(|(name, text)| (&**name, &**text));
        for (name, text) in programs.chain(good) {
            fs::write(bin.join(name).with_extension("rs"), text).unwrap();
        }
        // The versions that are there already, so that nothing has to be fetched.
        match fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => Self { folder },
        }
    }

    /// The compiler's messages for the refused programs, by name.
    fn check(&self) -> BTreeMap<String, String> {
        let output = Command::new(env!("CARGO"))
            .args(["check", "--bins", "--keep-going", "--quiet", "--offline"])
            .arg("--message-format=json")
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            // A test may be run with flags that are meant for its subject.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap();
        let mut said = BTreeMap::<String, String>::new();
        let (mut refused, mut is_good_built) = (Vec::new(), false);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let Some(name) = line["target"]["name"].as_str() else {
                continue;
            };
            let message = &line["message"];
            if let Some(text) = message["rendered"].as_str() {
                said.entry(name.to_owned()).or_default().push_str(text);
                if message["level"] == "error" {
                    refused.push(name.to_owned());
                }
            } else if line["reason"] == "compiler-artifact" {
                is_good_built |= name == GOOD.0;
            }
        }
        // Otherwise all programs share a fault.
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            is_good_built,
            "a good program is refused: {errors}\n{said:?}"
        );
        said.retain(|name, _| refused.contains(name));
        said
    }
}
