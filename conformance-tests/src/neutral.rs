//! For library authors: does a library name a runtime?
//!
//! A library on `fourway-core` leaves the choice of a runtime to its caller. It loses that as soon
//! as a dependency brings a runtime along, which happens by accident: a default feature is enough.
//! A test keeps it out, with this crate as a dev-dependency:
//!
//! ```no_run
//! # /*
//! #[test]
//! # */
//! fn names_no_runtime() {
//!     fourway_conformance::neutral::assert_neutral(env!("CARGO_MANIFEST_DIR"));
//! }
//! ```
//!
//! # What is looked at
//!
//! The crate's normal dependencies and theirs, with the features that cargo resolves by default,
//! for all platforms. Dev-dependencies, build-dependencies and the dependencies of procedural
//! macros do not count: they are not part of the program that uses the library. The check goes by
//! the names of packages, see [`EXECUTORS`].
//!
//! # Limits
//!
//! * Features that are off are not checked: a library may offer an adapter behind one.
//! * Cargo resolves the features of a whole workspace together, including those of
//!   dev-dependencies. An optional dependency counts as soon as one of them turns it on.
//! * A name does not show how much of a crate is used. A library that needs only `tokio::sync` is
//!   refused as well; `async-lock` and `futures-channel` offer the same without an executor.
//! * The check does not find an executor that is not on the list, or that a library has copied into
//!   its own source.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    env, fmt, io,
    path::Path,
    process::Command,
};

use serde::Deserialize;

/// A package that a neutral library must not depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executor {
    /// The package's name.
    pub name: &'static str,
    /// Why it is on the list.
    pub reason: &'static str,
}

impl Executor {
    const fn new(name: &'static str, reason: &'static str) -> Self {
        Self { name, reason }
    }
}

/// The packages that [`check`] looks for: executors, and crates that work only inside one.
///
/// Crates that work on any executor are not here: `futures-core`, `futures-util`, `async-io`,
/// `async-lock` and similar ones. `futures-executor` is not here either: the default features of
/// `futures` include it, and without its feature `thread-pool` it only drives a future on the
/// calling thread.
pub const EXECUTORS: &[Executor] = &[
    Executor::new("tokio", "its timers and I/O work in a Tokio runtime only"),
    Executor::new("smol", "it runs tasks on an executor of the whole process"),
    Executor::new(
        "async-std",
        "it runs tasks on an executor of the whole process",
    ),
    Executor::new("async-executor", "it is an executor"),
    Executor::new(
        "async-global-executor",
        "it is an executor of the whole process",
    ),
    Executor::new("actix-rt", "it is a Tokio runtime for each thread"),
    Executor::new("compio", "it is a runtime of its own"),
    Executor::new("compio-runtime", "it is a runtime of its own"),
    Executor::new("glommio", "it is a runtime of its own"),
    Executor::new("monoio", "it is a runtime of its own"),
    Executor::new("tokio-uring", "it is a Tokio runtime of its own"),
    Executor::new("embassy-executor", "it is an executor"),
    Executor::new("bastion-executor", "it is an executor of the whole process"),
    Executor::new("fourway-tokio", "it is an adapter: the caller chooses one"),
    Executor::new("fourway-smol", "it is an adapter: the caller chooses one"),
    Executor::new(
        "fourway-std-thread",
        "it is an adapter: the caller chooses one",
    ),
];

/// Asserts that the crate in `manifest_dir` names no runtime, as [`check`] does.
///
/// # Panics
///
/// At the caller's line, with the text of the error.
///
/// # Examples
///
/// ```no_run
/// fourway_conformance::neutral::assert_neutral(env!("CARGO_MANIFEST_DIR"));
/// ```
#[track_caller]
pub fn assert_neutral(manifest_dir: impl AsRef<Path>) {
    if let Err(error) = check(manifest_dir) {
        panic!("{error}");
    }
}

/// Checks that no package of [`EXECUTORS`] is among the normal dependencies of
/// the crate in `manifest_dir`, or among theirs.
///
/// Runs `cargo metadata`, with the cargo that the environment variable `CARGO` names, as it does in
/// a test. It needs the same as a build: if the index has not been fetched yet, cargo fetches it.
///
/// # Errors
///
/// If there is one ([`NeutralError::is_not_neutral`]), with the path to it; or if the check is
/// impossible, because cargo fails or there is no package.
///
/// # Examples
///
/// ```no_run
/// use fourway_conformance::neutral;
///
/// match neutral::check(env!("CARGO_MANIFEST_DIR")) {
///     Ok(()) => println!("names no runtime"),
///     Err(error) => println!("{error}"),
/// }
/// ```
pub fn check(manifest_dir: impl AsRef<Path>) -> Result<(), NeutralError> {
    let manifest = manifest_dir.as_ref().join("Cargo.toml");
    judge(&metadata(&manifest)?)
}

/// Why [`check`] fails.
pub struct NeutralError(Reason);

enum Reason {
    /// One for each executor that is reached, by the shortest path.
    NotNeutral(Vec<Found>),
    Cargo(io::Error),
    Refused(String),
    Unreadable(serde_json::Error),
    NoPackage,
}

struct Found {
    executor: Executor,
    /// Name and version of each package, from the crate to the executor.
    path: Vec<String>,
}

impl NeutralError {
    /// Is an executor among the dependencies? If not, the check was impossible.
    #[must_use]
    pub fn is_not_neutral(&self) -> bool {
        !self.found().is_empty()
    }

    /// The executors that were reached, the nearest first.
    pub fn executors(&self) -> impl Iterator<Item = Executor> + '_ {
        self.found().iter().map(|found| found.executor)
    }

    /// The packages from the crate to the executor of that name, each as `name
    /// version`; nothing if it was not reached.
    #[must_use]
    pub fn path_to(&self, executor: &str) -> &[String] {
        let found = self.found().iter();
        let mut found = found.filter(|found| found.executor.name == executor);
        found.next().map_or(&[], |found| found.path.as_slice())
    }

    fn found(&self) -> &[Found] {
        match &self.0 {
            Reason::NotNeutral(found) => found,
            _ => &[],
        }
    }
}

impl fmt::Display for NeutralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::NotNeutral(found) => {
                write!(
                    f,
                    "the crate names a runtime: its callers cannot choose one any more"
                )?;
                for Found { executor, path } in found {
                    writeln!(f, "\n")?;
                    for (depth, package) in path.iter().enumerate() {
                        writeln!(f, "{:indent$}{package}", "", indent = 2 * depth + 2)?;
                    }
                    write!(f, "  `{}`: {}", executor.name, executor.reason)?;
                }
                write!(
                    f,
                    "\n\nTake a runtime from the caller instead (`fourway_core::Runtime`). Where a \
                     dependency brings it, turn off the feature that does, or make the dependency \
                     optional; for tests, make it a dev-dependency. `cargo tree --edges normal \
                     --invert NAME` shows all ways to a package."
                )
            }
            Reason::Cargo(error) => write!(f, "cargo cannot be run: {error}"),
            Reason::Refused(text) => write!(f, "`cargo metadata` fails: {text}"),
            Reason::Unreadable(error) => {
                write!(f, "the output of `cargo metadata` cannot be read: {error}")
            }
            Reason::NoPackage => f.write_str(
                "there is no package here, only a workspace: give the folder of a member",
            ),
        }
    }
}

/// As [`Display`](fmt::Display), so that `unwrap` and `main` show readable text.
impl fmt::Debug for NeutralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NeutralError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Reason::Cargo(error) => Some(error),
            Reason::Unreadable(error) => Some(error),
            Reason::NotNeutral(_) | Reason::Refused(_) | Reason::NoPackage => None,
        }
    }
}

fn metadata(manifest: &Path) -> Result<String, NeutralError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|error| NeutralError(Reason::Cargo(error)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(NeutralError(Reason::Refused(text)));
    }
    // A path in it need not be UTF-8; the names of packages are.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn judge(metadata: &str) -> Result<(), NeutralError> {
    let metadata: Metadata =
        serde_json::from_str(metadata).map_err(|error| NeutralError(Reason::Unreadable(error)))?;
    let resolve = metadata.resolve.as_ref();
    let root = resolve.and_then(|resolve| resolve.root.as_deref());
    let (Some(resolve), Some(root)) = (resolve, root) else {
        return Err(NeutralError(Reason::NoPackage));
    };
    let found = Graph::new(&metadata.packages, &resolve.nodes).executors(root);
    if found.is_empty() {
        Ok(())
    } else {
        Err(NeutralError(Reason::NotNeutral(found)))
    }
}

struct Graph<'a> {
    packages: HashMap<&'a str, &'a Package>,
    edges: HashMap<&'a str, &'a [Dep]>,
}

impl<'a> Graph<'a> {
    fn new(packages: &'a [Package], nodes: &'a [Node]) -> Self {
        let packages = packages.iter();
        let nodes = nodes.iter();
        Self {
            packages: packages.map(|one| (one.id.as_str(), one)).collect(),
            edges: nodes
                .map(|one| (one.id.as_str(), one.deps.as_slice()))
                .collect(),
        }
    }

    /// The executors that are reached from `root`, the nearest first. Breadth first, so that the
    /// path to each is a shortest one.
    fn executors(&self, root: &'a str) -> Vec<Found> {
        let mut found = Vec::new();
        let mut came_from: HashMap<&str, &str> = HashMap::new();
        let mut seen = HashSet::from([root]);
        let mut queue = VecDeque::from([root]);
        while let Some(at) = queue.pop_front() {
            // The crate itself may be an adapter: only its dependencies count.
            if let Some(executor) = self.executor(at).filter(|_| at != root) {
                // Without the executor's own dependencies.
                let path = self.path(&came_from, at);
                found.push(Found { executor, path });
                continue;
            }
            for dep in self.edges.get(at).copied().unwrap_or_default() {
                let next = dep.pkg.as_str();
                if dep.is_normal() && !self.is_macro(next) && seen.insert(next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        found
    }

    fn executor(&self, id: &str) -> Option<Executor> {
        let package = self.packages.get(id)?;
        let mut executors = EXECUTORS.iter().copied();
        executors.find(|executor| executor.name == package.name)
    }

    /// Is it run by the compiler, and not part of the program?
    fn is_macro(&self, id: &str) -> bool {
        self.packages.get(id).is_some_and(|package| {
            let mut kinds = package.targets.iter().flat_map(|target| &target.kind);
            kinds.any(|kind| kind == "proc-macro")
        })
    }

    fn path(&self, came_from: &HashMap<&str, &str>, to: &str) -> Vec<String> {
        let mut path: Vec<String> =
            std::iter::successors(Some(to), |at| came_from.get(at).copied())
                .map(|id| match self.packages.get(id) {
                    Some(package) => format!("{} {}", package.name, package.version),
                    None => id.to_owned(),
                })
                .collect();
        path.reverse();
        path
    }
}

// The needed part of the output of `cargo metadata`, format version 1.

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    /// `None` in the folder of a workspace that is not a package.
    root: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

impl Dep {
    /// A package may be a normal dependency and one for tests at the same time.
    fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

#[derive(Deserialize)]
struct DepKind {
    /// `null` for a normal one; `dev`; `build`.
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Metadata with `lib` as the root: each edge as from, to, kind.
    fn graph(edges: &[(&str, &str, Option<&str>)]) -> Value {
        let mut names: Vec<&str> = edges.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
        names.push("lib");
        names.sort_unstable();
        names.dedup();
        let package = |name: &&str| {
            let kind = if name.ends_with("-macros") {
                "proc-macro"
            } else {
                "lib"
            };
            json!({ "id": id(name), "name": name, "version": "1.2.3",
                    "targets": [{ "kind": [kind] }] })
        };
        let node = |name: &&str| {
            let deps = edges.iter().filter(|(from, _, _)| from == name);
            let deps: Vec<Value> = deps
                .map(|(_, to, kind)| json!({ "pkg": id(to), "dep_kinds": [{ "kind": kind }] }))
                .collect();
            json!({ "id": id(name), "deps": deps })
        };
        json!({
            "packages": names.iter().map(package).collect::<Vec<_>>(),
            "resolve": {
                "root": id("lib"),
                "nodes": names.iter().map(node).collect::<Vec<_>>(),
            },
        })
    }

    fn id(name: &str) -> String {
        format!("registry#{name}@1.2.3")
    }

    fn judged(edges: &[(&str, &str, Option<&str>)]) -> Result<(), NeutralError> {
        judge(&graph(edges).to_string())
    }

    #[test]
    fn no_dependencies_are_neutral() {
        judged(&[]).unwrap();
    }

    #[test]
    fn what_runs_anywhere_is_neutral() {
        judged(&[
            ("lib", "futures-util", None),
            ("futures-util", "futures-core", None),
            ("lib", "fourway-core", None),
        ])
        .unwrap();
    }

    #[test]
    fn the_way_to_an_executor_is_shown_line_by_line() {
        let error = judged(&[
            ("lib", "client", None),
            ("client", "pool", None),
            ("pool", "tokio", None),
        ])
        .unwrap_err();
        assert!(error.is_not_neutral());
        assert_eq!(
            error.path_to("tokio"),
            ["lib 1.2.3", "client 1.2.3", "pool 1.2.3", "tokio 1.2.3"]
        );
        let text = error.to_string();
        assert!(
            text.contains(
                "\n  lib 1.2.3\n    client 1.2.3\n      pool 1.2.3\n        tokio 1.2.3\n"
            ),
            "{text}"
        );
        assert!(text.contains("instead"), "{text}");
        assert_eq!(format!("{error:?}"), text);
    }

    #[test]
    fn the_shortest_way_is_shown() {
        let error = judged(&[
            ("lib", "a", None),
            ("a", "b", None),
            ("b", "smol", None),
            ("lib", "z", None),
            ("z", "smol", None),
        ])
        .unwrap_err();
        assert_eq!(
            error.path_to("smol"),
            ["lib 1.2.3", "z 1.2.3", "smol 1.2.3"]
        );
    }

    #[test]
    fn each_executor_is_named_but_not_what_it_is_made_of() {
        let error = judged(&[
            ("lib", "client", None),
            ("client", "smol", None),
            ("smol", "async-executor", None),
            ("lib", "tokio", None),
        ])
        .unwrap_err();
        let names: Vec<_> = error.executors().map(|executor| executor.name).collect();
        assert_eq!(names, ["tokio", "smol"]);
        assert!(error.path_to("async-executor").is_empty());
    }

    #[test]
    fn tests_and_build_scripts_may_use_one() {
        judged(&[
            ("lib", "tokio", Some("dev")),
            ("lib", "client", None),
            ("client", "smol", Some("build")),
        ])
        .unwrap();
    }

    #[test]
    fn a_dependency_that_is_both_is_a_normal_one() {
        let mut graph = graph(&[("lib", "tokio", Some("dev"))]);
        let nodes = graph["resolve"]["nodes"].as_array_mut().unwrap();
        let lib = nodes
            .iter_mut()
            .find(|node| node["id"] == id("lib"))
            .unwrap();
        lib["deps"][0]["dep_kinds"] = json!([{ "kind": "dev" }, { "kind": null }]);
        assert!(judge(&graph.to_string()).unwrap_err().is_not_neutral());
    }

    #[test]
    fn what_a_macro_is_built_from_does_not_count() {
        judged(&[("lib", "our-macros", None), ("our-macros", "tokio", None)]).unwrap();
    }

    #[test]
    fn other_members_of_the_workspace_do_not_count() {
        judged(&[("lib", "client", None), ("app", "tokio", None)]).unwrap();
    }

    #[test]
    fn an_adapter_may_be_asked_itself() {
        let text = graph(&[("lib", "client", None)])
            .to_string()
            .replace("\"lib\"", "\"fourway-tokio\"");
        judge(&text).unwrap();
    }

    #[test]
    fn a_workspace_without_a_package_is_an_error() {
        let mut graph = graph(&[]);
        graph["resolve"]["root"] = Value::Null;
        let error = judge(&graph.to_string()).unwrap_err();
        assert!(!error.is_not_neutral());
        assert!(error.to_string().contains("folder of a member"), "{error}");
    }

    #[test]
    fn what_is_not_metadata_is_an_error() {
        let error = judge("{}").unwrap_err();
        assert!(!error.is_not_neutral());
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn the_list_has_no_name_twice() {
        let names: HashSet<_> = EXECUTORS.iter().map(|executor| executor.name).collect();
        assert_eq!(names.len(), EXECUTORS.len());
    }
}
