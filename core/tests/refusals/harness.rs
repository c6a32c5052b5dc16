//! Programs that do not compile on purpose: each file in the folder `cases` of a crate's refusals
//! is one that the compiler refuses, with a message in which all of the texts are found that
//! follow `//~`; and which, after `//~ line N`, points at line N.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Checks the cases of the crate in the folder `krate`; its programs use the crates in `uses`,
/// each a folder beside the core, and `fourway` the facade, with its attributes.
pub(crate) fn check(krate: &str, uses: &[&str]) {
    let krate = Path::new(krate);
    let cases = krate.join("tests/refusals/cases");
    let program = Package::new(krate, uses);
    // What all of them need to compile: else each would be refused for the lack of it.
    let good = "fn main() { let _ = fourway_core::context::current(); }";
    if let Err(message) = program.check(good) {
        panic!("a good program is refused: {message}");
    }
    let mut complaints = Vec::new();
    let mut found = 0;
    for case in fs::read_dir(cases)
        .unwrap()
        .map(|case| case.unwrap().path())
    {
        found += 1;
        let text = fs::read_to_string(&case).unwrap();
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        match program.check(&text) {
            Ok(()) => complaints.push(format!("{name}: it compiles")),
            Err(message) => complaints.extend(missing(&text, &message).map(|missing| {
                format!("{name}: `{missing}` is not said. What is said is:\n{message}")
            })),
        }
    }
    assert!(found > 0, "there are no cases");
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

/// Those of the expected texts that are not in the message.
fn missing<'a>(case: &'a str, message: &'a str) -> impl Iterator<Item = &'a str> {
    // The compiler breaks long lines where it likes, behind a margin.
    let words = |text: &str| {
        let words = text.split_whitespace().filter(|word| *word != "|");
        words.collect::<Vec<_>>().join(" ")
    };
    let said = words(message);
    let expected = case.lines().filter_map(|line| line.strip_prefix("//~ "));
    expected.filter(move |text| match text.strip_prefix("line ") {
        Some(line) => !said.contains(&format!("src/main.rs:{line}:")),
        None => !said.contains(&words(text)),
    })
}

/// A package with one program, beside this crate.
struct Package {
    folder: PathBuf,
}

impl Package {
    fn new(krate: &Path, uses: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals");
        fs::create_dir_all(folder.join("src")).unwrap();
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
        // The versions that are there already, so that nothing has to be fetched.
        match fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => Self { folder },
        }
    }

    fn check(&self, program: &str) -> Result<(), String> {
        fs::write(self.folder.join("src/main.rs"), program).unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--offline", "--color=never"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            // A test may be run with flags that are meant for what it tests.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}
