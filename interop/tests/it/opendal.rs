//! opendal works on every runtime, with its service in memory.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_core::Runtime;
use fourway_interop::opendal::OpenDal;
use opendal_core::{Execute as _, Executor, Operator, services::Memory};

on_every_runtime!(
    reads_concurrently,
    spawns_on_the_runtime,
    limits_in_time_if_asked
);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
const MUST: Duration = Duration::from_secs(60);

fn operator(executor: Executor) -> Operator {
    let operator = Operator::new(Memory::default()).unwrap().finish();
    operator.update_executor(|_| executor);
    operator
}

fn reads_concurrently(rt: impl Runtime) {
    let operator = operator(Executor::with(OpenDal::new(rt.clone())));
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 16).collect();
    rt.block_on(async {
        operator.write("file", bytes.clone()).await.unwrap();
        // Without an executor, each of these panics.
        let reader = operator.reader_with("file").concurrent(4).gap(1);
        let reader = reader.await.unwrap();
        let ranges: Vec<_> = (0..16).map(|n| n * 4000..n * 4000 + 1000).collect();
        let parts = rt.timeout(MUST, reader.fetch(ranges.clone())).await;
        let parts = parts.expect("the tasks run").unwrap();
        for (part, range) in parts.iter().zip(ranges) {
            assert_eq!(
                part.to_vec(),
                bytes[range.start as usize..range.end as usize]
            );
        }
        let reader = operator.reader_with("file").concurrent(4).chunk(1000);
        let reader = reader.await.unwrap();
        let whole = rt.timeout(MUST, reader.read(..)).await;
        let whole = whole.expect("the tasks run");
        assert_eq!(whole.unwrap().to_vec(), bytes);
    });
}

fn spawns_on_the_runtime(rt: impl Runtime) {
    let executor = Executor::with(OpenDal::new(rt.clone())).into_inner();
    let (send, receive) = mpsc::channel();
    executor.execute(Box::pin(async move {
        let context = fourway_core::context::current();
        send.send(context).unwrap();
    }));
    let context = receive.recv_timeout(MUST).expect("the task runs");
    assert_eq!(context, fourway_core::context::Context::Async);
}

fn limits_in_time_if_asked(rt: impl Runtime) {
    let none = OpenDal::new(rt.clone());
    assert!(none.timeout().is_none());
    let soon = none.clone().with_timeout(Duration::from_millis(1));
    let soon = Arc::new(soon).timeout().unwrap();
    let expired = rt.block_on(async { rt.timeout(MUST, soon).await });
    expired.expect("the timer fires");
    let late = none.with_timeout(LONG).timeout().unwrap();
    assert_eq!(poll_once(pin!(late)), Poll::Pending);
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
