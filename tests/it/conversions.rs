//! Conversions, on every runtime.

use std::{io, time::Duration};

use fourway::{
    AnyRuntime, BlockOnError, Compose, Elapsed, JoinError, ParkHooks, ShutdownError, Task,
    TryOffloadError,
    layer::{Parked, Propagate},
    prelude::*,
};

fn every(check: impl Fn(AnyRuntime)) {
    for name in fourway::compiled_in() {
        check(fourway::runtime_named(name).unwrap());
    }
}

#[test]
fn handles_of_different_types_are_cancelled_alike() {
    every(|rt| {
        let tasks: Vec<Box<dyn Task<u8>>> = vec![
            Box::new(rt.spawn(std::future::pending())),
            Box::new(rt.offload(|| 1)),
        ];
        let [pending, closure]: [_; 2] = tasks.try_into().ok().unwrap();
        assert!(rt.block_on(pending.cancel()).unwrap_err().is_cancelled());
        // It may have run already.
        match rt.block_on(closure.cancel()) {
            Ok(output) => assert_eq!(output, 1),
            Err(error) => assert!(error.is_cancelled()),
        }
        let boxed: Box<dyn Task<u8>> = Box::new(rt.spawn(async { 2 }));
        assert_eq!(rt.block_on(boxed).unwrap(), 2);
        let detached: Box<dyn Task<u8>> = Box::new(rt.spawn(async { 3 }));
        detached.detach();
    });
}

#[test]
fn a_join_error_is_an_io_error_for_those_who_return_one() {
    fn join(rt: &AnyRuntime) -> io::Result<()> {
        let task = rt.spawn(std::future::pending::<()>());
        task.abort();
        rt.block_on(task)?;
        Ok(())
    }
    every(|rt| {
        let error = join(&rt).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
        let inside = error.get_ref().and_then(|error| error.downcast_ref());
        assert!(inside.is_some_and(JoinError::is_cancelled), "{error:?}");
    });
}

#[test]
fn what_a_runtime_refuses_is_an_io_error_for_those_who_return_one() {
    fn too_slow(rt: &AnyRuntime) -> io::Result<()> {
        let never = std::future::pending::<()>();
        rt.block_on(rt.timeout(Duration::from_millis(1), never))?;
        Ok(())
    }
    fn nested(rt: &AnyRuntime) -> io::Result<()> {
        Ok(rt.block_on(async { rt.try_block_on(async {}) })?)
    }
    fn shut_down_within(rt: &AnyRuntime) -> io::Result<()> {
        rt.block_on(async { rt.shutdown(Duration::ZERO) })?;
        Ok(())
    }
    fn late(rt: &AnyRuntime) -> io::Result<()> {
        rt.shutdown(Duration::MAX)?;
        rt.try_offload(|| ())?.detach();
        Ok(())
    }
    every(|rt| {
        let error = too_slow(&rt).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.get_ref().is_some_and(|error| error.is::<Elapsed>()));

        let error = nested(&rt).unwrap_err();
        let inside = error.get_ref().and_then(|error| error.downcast_ref());
        assert!(inside.is_some_and(BlockOnError::is_nested), "{error:?}");

        let error = shut_down_within(&rt).unwrap_err();
        assert!(
            error
                .get_ref()
                .is_some_and(|error| error.is::<ShutdownError>())
        );
    });
    // On a runtime that no other test has.
    let rt = fourway::std_thread::StdThread::builder().build().unwrap();
    let error = late(&rt.into()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
    let inside = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(inside.is_some_and(TryOffloadError::<()>::is_shutdown));
    let full = io::Error::from(TryOffloadError::full(|| ()));
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn each_runtime_is_any_runtime() {
    let rt: AnyRuntime = fourway::std_thread::StdThread::new().unwrap().into();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    let layered: [AnyRuntime; 3] = [
        Propagate::new(rt.clone()).into(),
        Parked::new(rt.clone(), ParkHooks::new(|| (), drop)).into(),
        Compose::new(rt.clone(), rt.clone()).into(),
    ];
    for rt in layered {
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
    #[cfg(feature = "smol")]
    {
        let rt: AnyRuntime = fourway::smol::Smol::global().into();
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
        let rt: AnyRuntime = fourway::smol::Smol::new().unwrap().into();
        assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
    }
}

/// A library that holds an `AnyRuntime` can be in a `static` that many runtimes share.
#[test]
fn the_ambient_runtime_is_any_runtime_and_bound_to_none() {
    let ambient: AnyRuntime = fourway::Ambient.into();
    for name in ["first", "second"] {
        let rt = fourway::std_thread::StdThread::builder();
        let rt = rt.thread_name(name).build().unwrap();
        let thread = || std::thread::current().name().map(String::from);
        let ambient = ambient.clone();
        let thread = rt.block_on(async move { ambient.spawn(async move { thread() }).await });
        let thread = thread.unwrap().unwrap();
        assert!(thread.starts_with(name), "{thread}");
        // The next round's runtime is another one.
        rt.shutdown(Duration::from_secs(60)).unwrap();
    }
}

#[cfg(feature = "tokio")]
#[test]
fn tokios_handle_is_a_runtime() {
    let native = tokio::runtime::Runtime::new().unwrap();
    let rt = fourway::tokio::Tokio::from(native.handle().clone());
    let rt: AnyRuntime = rt.into();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_of_ones_own_is_any_runtime() {
    let rt: AnyRuntime = fourway::tokio::Tokio::new().unwrap().into();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}

#[test]
fn an_adapter_of_ten_lines_is_any_runtime() {
    #[derive(Clone)]
    struct ThreadEach;
    impl fourway_adapt::Execute for ThreadEach {
        fn execute(&self, future: fourway_adapt::BoxFuture) {
            std::thread::spawn(move || fourway_adapt::run(future));
        }
    }
    let rt: AnyRuntime = fourway_adapt::Adapter::new(ThreadEach).into();
    assert_eq!(rt.block_on(rt.spawn(async { 1 })).unwrap(), 1);
}
