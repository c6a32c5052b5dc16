//! Every method in every way, on every runtime: all give the same.

use std::path::Path;

use fourway_core::{AnyRuntime, Call};
use fourway_testing::{each, run};
use skillkit::{Collection, Skills, asynchronous, blocking};

fn skills(rt: &AnyRuntime) -> Skills {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills");
    Skills::new(rt.clone(), folder).at_once(3)
}

/// A call in all three columns.
macro_rules! columns {
    ($rt:expr, $call:expr) => {{
        let waited = $call.wait();
        let awaited = run($rt, async { $call.await });
        let spawned = run($rt, $call.spawn()).unwrap();
        assert!(waited == awaited && awaited == spawned, stringify!($call));
        waited
    }};
}

/// Errors have no `==`, and texts have.
fn text<T, E: ToString>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

#[test]
fn every_method_in_every_column() {
    each(|rt| {
        let (rt, skills) = (&rt, skills(&rt));
        let paths = columns!(rt, skills.discover().map(text)).unwrap();
        assert_eq!(paths.len(), 72);
        let skill = columns!(rt, skills.parse(&paths[0]));
        assert!(skill.is_ok() || skill.is_err());
        let found = columns!(rt, skills.gather().map(text)).unwrap();
        assert_eq!(found.skills.len(), 56);
        let arguments = ["in.csv", "out.csv"];
        let loaded = columns!(rt, skills.load("csv-cleaner", &arguments).map(text)).unwrap();
        assert!(loaded.contains("dialect of `in.csv`"));
        let error = columns!(rt, skills.load("no-such", &[]).map(text)).unwrap_err();
        assert!(error.contains("no-such"), "{error}");
    });
}

/// As a stream there is each file, in order, and nothing is compared with what came before.
#[test]
fn each_file_as_a_stream() {
    each(|rt| {
        let skills = skills(&rt);
        let parsed: Vec<_> = skills
            .discover()
            .wait()
            .unwrap()
            .iter()
            .map(|path| skills.parse(path).wait())
            .collect();
        assert_eq!(skills.each().into_iter().collect::<Vec<_>>(), parsed);
        assert_eq!(run(&rt, skills.each().collect()), parsed);
        let mut items = skills.each().spawn();
        assert_eq!(run(&rt, items.next()), Some(parsed[0].clone()));
        drop(items);
        let nowhere = Skills::new(rt.clone(), "/nowhere/at/all");
        let problems: Vec<_> = nowhere.each().into_iter().collect();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].is_err());
    });
}

#[test]
fn the_mirrors_give_what_the_library_gives() {
    each(|rt| {
        let library = skills(&rt);
        let expected: Collection = library.gather().wait().unwrap();
        let plain = blocking::Skills::from(library.clone());
        let awaited = asynchronous::Skills::from(plain.clone());
        let arguments = ["in.csv", "out.csv"];
        assert_eq!(plain.gather().unwrap(), expected);
        assert_eq!(plain.discover().unwrap().len(), 72);
        let text = plain.load("csv-cleaner", &arguments).unwrap();
        run(&rt, async {
            assert_eq!(awaited.gather().await.unwrap(), expected);
            assert_eq!(awaited.discover().await.unwrap().len(), 72);
            assert_eq!(awaited.load("csv-cleaner", &arguments).await.unwrap(), text);
            assert_eq!(awaited.each().collect().await.len(), 72);
        });
    });
}
