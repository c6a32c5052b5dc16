//! Every method in every way, on every runtime: all give the same results.

use std::path::Path;

use fourway_core::{AnyRuntime, Call};
use fourway_testing::{columns, each, items_in_columns, run};
use skillkit::{Collection, Skills, asynchronous, blocking, read};

fn skills(rt: &AnyRuntime) -> Skills {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills");
    Skills::new(rt.clone(), folder).at_once(3)
}

#[test]
fn every_method_in_every_column() {
    each(|rt| {
        let (rt, skills) = (&rt, skills(&rt));
        let paths = columns!(rt, skills.discover()).unwrap();
        assert_eq!(paths.len(), 72);
        for path in &paths {
            let _ = columns!(rt, skills.parse(path));
        }
        let found = columns!(rt, skills.gather()).unwrap();
        assert_eq!(found.skills.len(), 56);
        let arguments = ["in.csv", "out.csv"];
        let loaded = columns!(rt, skills.load("csv-cleaner", &arguments)).unwrap();
        assert!(loaded.contains("dialect of `in.csv`"));
        let error = columns!(rt, skills.load("no-such", &[])).unwrap_err();
        assert!(error.contains("no-such"), "{error}");
        let each = items_in_columns!(rt, skills.each(), |skill| skill);
        assert_eq!(each.len(), 72);
    });
}

/// The stream gives each file, in order, without comparing it to earlier ones.
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

/// Calls every method of both mirrors. A test of `fourway-macros` checks that none is left out.
#[test]
fn the_mirrors_give_what_the_library_gives() {
    each(|rt| {
        let library = skills(&rt);
        let expected: Collection = library.gather().wait().unwrap();
        let plain = blocking::Skills::from(library.clone());
        let awaited = asynchronous::Skills::from(plain.clone());
        macro_rules! both {
            ($method:ident($($argument:expr),*)) => {{
                let waited = plain.$method($($argument),*).map_err(|error| error.to_string());
                let awaited = run(&rt, awaited.$method($($argument),*));
                assert_eq!(waited, awaited.map_err(|error| error.to_string()));
                waited
            }};
        }
        assert_eq!(both!(gather()), Ok(expected.clone()));
        let paths = both!(discover()).unwrap();
        assert_eq!(paths.len(), 72);
        let parsed: Vec<_> = paths.iter().map(|path| both!(parse(path))).collect();
        assert_eq!(parsed.iter().filter(|skill| skill.is_ok()).count(), 57);
        let text = both!(load("csv-cleaner", &["in.csv", "out.csv"])).unwrap();
        assert!(text.contains("dialect of `in.csv`"));
        let error = both!(load("no-such", &[])).unwrap_err();
        assert!(error.contains("no-such"), "{error}");
        let each: Vec<_> = plain.each().into_iter().collect();
        assert_eq!(run(&rt, awaited.each().collect()), each);
        assert_eq!(each.len(), 72);
        // Constructors and builder methods give mirrors too.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills");
        let waited = blocking::Skills::new(rt.clone(), &folder)
            .at_once(1)
            .size_limit(500)
            .reader(read)
            .gather();
        let awaited = asynchronous::Skills::new(rt.clone(), &folder)
            .at_once(1)
            .size_limit(500)
            .reader(read);
        let found = run(&rt, awaited.gather()).unwrap();
        assert_eq!(found, waited.unwrap());
        assert_eq!(found, library.size_limit(500).gather().wait().unwrap());
        assert!(found.problems.len() > expected.problems.len());
    });
}
