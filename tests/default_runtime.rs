//! The rule for the default runtime, each case in a process of its own: the
//! default is per process, and so is the environment.

use std::{env, process::Command};

use fourway::prelude::*;

/// Runs the test `name` of this binary again, alone, with the variable set.
fn in_child(name: &str, variable: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env::current_exe().expect("the path of this test"));
    command
        .args(["--exact", name, "--nocapture"])
        .env("IN_CHILD", "1")
        .env_remove("FOURWAY_RUNTIME");
    if let Some(value) = variable {
        command.env("FOURWAY_RUNTIME", value);
    }
    let output = command.output().expect("this test can be run again");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), text)
}

fn is_child() -> bool {
    env::var_os("IN_CHILD").is_some()
}

#[test]
fn child_prints_its_default() {
    if is_child() {
        let rt = fourway::default_runtime();
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
        println!("default: {}", rt.type_name());
    }
}

fn default_with(variable: Option<&str>) -> (bool, String) {
    in_child("child_prints_its_default", variable)
}

/// The end of the type's name for a runtime's name.
fn type_of(name: &str) -> &'static str {
    match name {
        "tokio" => "Tokio",
        "smol" => "Smol",
        "std-thread" => "StdThread",
        other => panic!("a runtime this test does not know: {other}"),
    }
}

#[test]
fn without_a_variable_it_is_the_first_compiled_in() {
    let Some(first) = fourway::compiled_in().first() else {
        let (ok, text) = default_with(None);
        assert!(!ok && text.contains("no runtime is compiled in"), "{text}");
        return;
    };
    let (ok, text) = default_with(None);
    assert!(ok && text.contains(type_of(first)), "{text}");
}

#[test]
fn the_variable_chooses_among_those_compiled_in() {
    for name in fourway::compiled_in() {
        let (ok, text) = default_with(Some(name));
        assert!(ok && text.contains(type_of(name)), "{name}: {text}");
    }
}

#[test]
fn an_unknown_name_is_a_clear_error() {
    let (ok, text) = default_with(Some("tikio"));
    assert!(!ok, "{text}");
    assert!(text.contains("there is no runtime `tikio` "), "{text}");
    for name in fourway::compiled_in() {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_name_that_is_not_compiled_in_says_what_to_add() {
    for name in ["tokio", "smol", "std-thread", "STD_THREAD"] {
        let feature = name.to_lowercase().replace('_', "-");
        if !fourway::compiled_in().contains(&&*feature) {
            let (ok, text) = default_with(Some(name));
            let advice = format!("add `features = [\"{feature}\"]` to the dependency on `fourway`");
            assert!(!ok && text.contains(&advice), "{text}");
        }
    }
}

#[test]
fn an_empty_variable_is_no_variable() {
    assert_eq!(default_with(Some("")).0, default_with(None).0);
}

#[test]
fn names_give_runtimes_and_others_errors() {
    for name in fourway::compiled_in() {
        let rt = fourway::runtime_named(name).expect("it is compiled in");
        assert!(rt.type_name().ends_with(type_of(name)));
        // As shells and configuration files spell it.
        let spelled = name.to_uppercase().replace('-', "_");
        let same = fourway::runtime_named(&spelled).expect("the same name");
        assert_eq!(same.type_name(), rt.type_name());
        assert_eq!(rt.block_on(async { 2 }), 2);
    }
    let error = fourway::runtime_named("nope").unwrap_err();
    assert!(error.is_missing());
}

#[test]
fn inside_a_runtime_the_default_is_that_runtime() {
    for name in fourway::compiled_in() {
        let rt = fourway::runtime_named(name).expect("it is compiled in");
        let inside = rt.block_on(rt.spawn(async { fourway::default_runtime().type_name() }));
        assert_eq!(inside.unwrap(), rt.type_name());
        let inside = rt.block_on(rt.offload(|| fourway::default_runtime().type_name()));
        assert_eq!(inside.unwrap(), rt.type_name());
    }
    assert!(fourway::current().is_none(), "a plain thread is in none");
}

#[test]
fn child_sets_its_default() {
    if is_child() {
        let Some(last) = fourway::compiled_in().last() else {
            return;
        };
        let rt = fourway::runtime_named(last).expect("it is compiled in");
        let name = rt.type_name();
        fourway::set_default_runtime(rt.clone()).expect("the first to set it");
        assert_eq!(fourway::default_runtime().type_name(), name);
        let again = fourway::set_default_runtime(rt).expect_err("only once");
        assert_eq!(again.type_name(), name);
    }
}

/// The threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("Linux lists the threads of a process")
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn child_waits_and_starts_nothing() {
    if is_child() {
        let rt = fourway::Ambient;
        let before = threads();
        assert_eq!(rt.call_blocking(|| 1).wait(), 1);
        assert_eq!(rt.block_in_place(|| 2).unwrap(), 2);
        let _ = rt.now();
        assert_eq!(threads(), before, "a plain call started a thread");
        // The control: work that needs a runtime gets one.
        if !fourway::compiled_in().is_empty() {
            assert_eq!(rt.block_on(rt.spawn(async { 3 })).unwrap(), 3);
            assert!(threads() > before, "a task runs on a thread of its runtime");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_ambient_runtime_starts_nothing_before_it_is_needed() {
    for name in fourway::compiled_in().iter().map(Some).chain([None]) {
        let (ok, text) = in_child("child_waits_and_starts_nothing", name.copied());
        assert!(ok, "{name:?}: {text}");
    }
}

#[test]
fn an_ambient_runtime_is_the_one_it_is_used_in() {
    let ambient = fourway::Ambient;
    for name in fourway::compiled_in() {
        let rt = fourway::runtime_named(name).expect("it is compiled in");
        // Each of these runs on the runtime that is current where it is called.
        let inside = rt.block_on(async move {
            let name = || fourway::current().map(|rt| rt.type_name());
            let task = ambient.spawn(async move { name() }).await.unwrap();
            let closure = ambient.offload(name).await.unwrap();
            ambient.sleep(std::time::Duration::ZERO).await;
            assert!(ambient.try_block_on(async {}).unwrap_err().is_nested());
            [task, closure]
        });
        assert_eq!(inside, [Some(rt.type_name()); 2], "{name}");
    }
}

#[test]
fn a_default_can_be_set_once() {
    let (ok, text) = in_child("child_sets_its_default", None);
    assert!(ok, "{text}");
}

#[test]
fn child_blocks_on_a_default_with_a_layer() {
    if is_child() {
        let Some(last) = fourway::compiled_in().last() else {
            return;
        };
        let rt = fourway::runtime_named(last).expect("it is compiled in");
        let layered = fourway::layer::Propagate::new(rt);
        fourway::set_default_runtime(layered).expect("the first to set it");
        let name = || fourway::current().expect("it is in one").type_name();
        let inside = fourway::Ambient.block_on(async move { name() });
        assert!(inside.contains("Propagate"), "{inside}");
    }
}

#[test]
fn an_ambient_runtime_blocks_in_the_layers_of_the_default() {
    let (ok, text) = in_child("child_blocks_on_a_default_with_a_layer", None);
    assert!(ok, "{text}");
}

#[test]
fn child_is_refused_a_default_that_looks_itself_up() {
    if is_child() {
        let Some(&name) = fourway::compiled_in().last() else {
            return;
        };
        let ambient = fourway::Ambient;
        assert!(fourway::set_default_runtime(ambient).is_err());
        let layered = fourway::layer::Propagate::new(ambient);
        assert!(fourway::set_default_runtime(layered).is_err());
        let pool = fourway::runtime_named(name).expect("it is compiled in");
        let composed = fourway::Compose::new(ambient, pool);
        assert!(fourway::set_default_runtime(composed).is_err());
        let erased = fourway::AnyRuntime::from(ambient);
        let back = fourway::set_default_runtime(erased).unwrap_err();
        // None was started, nor is one set.
        assert!(!back.is_shutdown());
        let rt = fourway::runtime_named(name).expect("it is compiled in");
        fourway::set_default_runtime(rt).expect("the first one that is one");
        assert_eq!(ambient.spawn(async { 1 }).wait().unwrap(), 1);
    }
}

/// It would ask for the default, which is itself, without end.
#[test]
fn an_ambient_runtime_cannot_be_the_default() {
    let (ok, text) = in_child("child_is_refused_a_default_that_looks_itself_up", None);
    assert!(ok, "{text}");
}

#[test]
fn child_has_mains_that_fail() {
    if is_child() {
        let Some(&name) = fourway::compiled_in().last() else {
            return;
        };
        // The name as shells spell it.
        let named: &'static str = name.to_uppercase().replace('-', "_").leak();
        let main = move || fourway::entry::Main::new().runtime(named);
        let fails = |f: &mut dyn FnMut()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err()
        };
        let outside = || std::thread::spawn(fourway::default_runtime).join().unwrap();

        // Refused, and never started.
        let rt = fourway::runtime_named(name).expect("it is compiled in");
        assert!(fails(&mut || rt.block_on(async { main().run(async {}) })));

        let mut failed = None;
        assert!(fails(&mut || main().run(async {
            failed = Some(outside());
            panic!("on purpose");
        })));
        assert!(failed.expect("it has run").is_shutdown());

        main().run(async {
            let current = fourway::current().expect("it is in one");
            assert_eq!(outside().runtime_id(), current.runtime_id());
        });

        // One that fails, and has begun beside another one, whose runtime stays.
        let (begins, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel();
        let (first, beside) = main().run(async move {
            let beside = std::thread::spawn(move || {
                main().run(async {
                    begins.send(()).expect("it is waited for");
                    ended.recv().expect("the other one ends");
                    panic!("on purpose");
                });
            });
            begun.recv().expect("it begins");
            (outside(), beside)
        });
        end.send(()).expect("it is waited for");
        assert!(beside.join().is_err());
        assert_eq!(outside().runtime_id(), first.runtime_id());
    }
}

#[test]
fn a_main_that_fails_does_not_stay_the_default() {
    let (ok, text) = in_child("child_has_mains_that_fail", None);
    assert!(ok, "{text}");
}
