//! Small programs that users expect to compile. Each is compiled as it stands, and run on every
//! runtime that is compiled in.
//!
//! The table names each of them, and the test that holds it. Modules beside this one are those of
//! this test.
//!
//! | one writes | held by |
//! |---|---|
//! | one call waited for, awaited and spawned | `callers::wait_await_spawn` |
//! | a call in `join!`, `select!`, `timeout`, `spawn` and a `LocalSet` of Tokio | `neighbours::in_macros_and_functions_of_tokio` |
//! | a call joined, spawned and driven by smol's functions | `neighbours::in_functions_of_smol` |
//! | a call of one runtime driven by another | `neighbours::each_runtime_drives_the_others_calls` |
//! | `rt.block_on(call)`, `rt.spawn(call)`, `rt.timeout(limit, call)` | `callers::a_call_given_to_the_runtimes_own_methods` |
//! | a call sent to another thread or task | `callers::a_call_made_here_and_used_there` |
//! | a callback in sync code under async code | `callers::from_sync_code_inside_of_async_code_inside_of_sync_code` |
//! | `?` on outputs, joins, limits and refusals | `callers::question_marks`, `applications::everything_with_question_marks` |
//! | `?` on a `JoinError` where an `io::Error` is returned | `conversions::a_join_error_is_an_io_error_for_those_who_return_one` |
//! | a task joined from sync code | `applications::everything_with_question_marks`, `applications::a_worker_that_ends_with_its_owner` |
//! | many calls at once, all or a few at a time | `callers::many_at_once` |
//! | the first of several, or a limit in time | `callers::whichever_is_first_and_a_limit_in_time` |
//! | the first that succeeds | `library::the_first_that_works_of_several_sources` |
//! | a `Vec<Box<dyn Task>>`, cancelled | `callers::handles_of_any_type_are_cancelled` |
//! | a `static` that many runtimes share | `callers::statics_that_many_runtimes_share`, `tokio_app` |
//! | functions that are generic over calls | `callers::generic_code_over_calls` |
//! | methods whose calls outlive their arguments, with `use<R>` | `library::methods_that_borrow_their_arguments_only_while_called` |
//! | `impl Into<PathBuf>` as an argument | `library::an_argument_that_turns_into_a_path` |
//! | a library above a library | `library::a_library_above_a_library` |
//! | a type without a type parameter | `library::a_type_without_a_parameter` |
//! | a trait whose method returns a call, as an object | `library::services_as_objects` |
//! | the same in generic code | `library::a_trait_with_a_call_in_it_for_generic_code` |
//! | a value that is there, or else a call | `library::a_value_that_is_there_or_else_is_read` |
//! | calls of several kinds in a `match` and in a `vec!` | `library::one_of_many_kinds_in_a_match` |
//! | calls of several kinds in a field | `library::a_call_in_a_field` |
//! | recursion | `library::recursion_over_a_tree` |
//! | a call tried again | `library::to_try_again` |
//! | a body that is made when the call is used | `calls::nothing_happens_before_a_lazy_call_is_used` |
//! | a reference as the runtime | `library::a_reference_as_the_runtime` |
//! | a runtime as an argument, in each form | `applications::a_runtime_as_an_argument` |
//! | a table of handlers | `applications::a_table_of_handlers` |
//! | threads that borrow the runtime | `applications::threads_that_borrow_the_runtime` |
//! | a loop that is given up | `applications::a_loop_that_can_be_given_up` |
//! | Tokio's `Handle` into `Tokio` into `AnyRuntime` | `conversions::tokios_handle_is_a_runtime`, `conversions::each_runtime_is_any_runtime` |
//! | `shutdown` of `AnyRuntime`, `Compose` and layers | `shutdown::a_composed_runtime_shuts_both_parts_down_through_any_wrapper` |
//! | `local::spawn` deep inside | cases of LO-2, local spawn from anywhere, of the conformance suite |
//! | a sleep that is `Sync` | `adapt/tests/it/auto_traits.rs` |
//!
//! Programs that are refused on purpose, and the messages, are in `core/tests/refusals/cases`:
//!
//! | one writes | refused in |
//! |---|---|
//! | `dyn Call` | `a_dyn_call` |
//! | a body that borrows `self` | `a_body_that_borrows` |
//! | a body that is not `Send` | `a_body_that_is_not_send` |
//! | a call that is used twice | `a_call_that_is_used_twice` |
//! | `Call` implemented by hand | `a_call_of_ones_own` |
//! | a future where a call is asked for | `a_future_is_not_a_call` |
//! | something else where a runtime, a spawner or a handle is | `not_a_runtime`, `not_a_spawner`, `not_a_handle` |
//! | a constructor's `Result` where a runtime is | `a_runtime_in_a_result` |
//! | a call or a task that is dropped unused | `unused_call`, `unused_task` |
//! | `.wait()` where `.await` is meant | `wait_in_place_of_await` |

mod applications;
mod callers;
mod library;
#[cfg(all(feature = "tokio", feature = "smol"))]
mod neighbours;

/// Each row names a test that there is.
#[test]
fn the_table_names_tests_that_there_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let table = include_str!("mod.rs").split("//! Programs that are refused");
    let table = table.into_iter().next().unwrap();
    let mut named = 0;
    for held in table.split('`').filter(|code| code.contains("::")) {
        let Some((module, test)) = held.split_once("::").filter(|(_, test)| {
            test.len() > 12 && test.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        }) else {
            continue;
        };
        let file = [format!("{module}.rs"), format!("programs/{module}.rs")];
        let text = file
            .iter()
            .find_map(|file| std::fs::read_to_string(folder.join(file)).ok());
        let text = text.unwrap_or_else(|| panic!("there is no module {module}"));
        assert!(text.contains(&format!("fn {test}(")), "there is no {held}");
        named += 1;
    }
    assert!(named > 30, "the table was not understood: {named}");
}
