//! tower's stack on every runtime, without glue: limits and retries are tower's; timers and tasks
//! are the runtime's.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fourway_core::{Runtime, Timer};
use futures_util::future::join_all;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, buffer::Buffer, layer::layer_fn,
    load_shed::error::Overloaded, retry::Policy, service_fn,
};

on_every_runtime!(
    a_stack_with_time_of_the_runtime,
    too_late_is_an_error,
    a_buffer_in_a_task,
    too_many_are_shed
);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Like tower's own `Timeout`, which needs Tokio's timers: a time limit by any runtime's timers.
#[derive(Clone)]
struct Limited<R, S> {
    rt: R,
    time: Duration,
    inner: S,
}

impl<R, S, Q> Service<Q> for Limited<R, S>
where
    R: Timer + Clone + Send + 'static,
    S: Service<Q, Future: Send + 'static>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Boxed<Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let call = self.inner.call(request);
        let (rt, time) = (self.rt.clone(), self.time);
        Box::pin(async move { rt.timeout(time, call).await?.map_err(Into::into) })
    }
}

/// Retries this often, with a pause by the runtime's timer before each.
#[derive(Clone)]
struct Again<R> {
    rt: R,
    left: u32,
}

impl<R: Timer + Clone + Send + 'static> Policy<u64, u64, BoxError> for Again<R> {
    type Future = Boxed<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, BoxError>) -> Option<Boxed<()>> {
        result.as_ref().err()?;
        self.left = self.left.checked_sub(1)?;
        let rt = self.rt.clone();
        Some(Box::pin(async move {
            rt.sleep(Duration::from_millis(1)).await;
        }))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn a_stack_with_time_of_the_runtime(rt: impl Runtime) {
    let attempts = Arc::new(AtomicU32::new(0));
    let square = {
        let (rt, attempts) = (rt.clone(), attempts.clone());
        service_fn(move |n: u64| {
            let fails = attempts.fetch_add(1, Ordering::Relaxed) % 2 == 0;
            // A service may block, in an offloaded closure.
            let square = rt.offload(move || n * n);
            async move {
                let square = square.await?;
                if fails {
                    return Err("not this time".into());
                }
                Ok::<_, BoxError>(square)
            }
        })
    };
    let again = Again {
        rt: rt.clone(),
        left: 3,
    };
    let stack = ServiceBuilder::new()
        .concurrency_limit(1)
        .retry(again)
        .layer(layer_fn(|inner| Limited {
            rt: rt.clone(),
            time: Duration::from_secs(60),
            inner,
        }))
        .service(square);
    let squares = (0..5).map(|n| stack.clone().oneshot(n));
    let squares: Vec<_> = rt.block_on(join_all(squares));
    let squares: Vec<_> = squares.into_iter().map(Result::unwrap).collect();
    assert_eq!(squares, [0, 1, 4, 9, 16]);
    // One request at a time; each fails once.
    assert_eq!(attempts.load(Ordering::Relaxed), 10);
}

fn too_late_is_an_error(rt: impl Runtime) {
    let stack = Limited {
        rt: rt.clone(),
        time: Duration::from_millis(1),
        inner: service_fn(async |_: u64| {
            std::future::pending::<()>().await;
            Ok::<_, BoxError>(0)
        }),
    };
    let late = rt.block_on(stack.oneshot(1)).unwrap_err();
    assert!(late.is::<fourway_core::time::Elapsed>(), "{late}");
}

fn a_buffer_in_a_task(rt: impl Runtime) {
    let double = service_fn(async |n: u64| Ok::<_, BoxError>(2 * n));
    let (buffer, worker) = Buffer::pair(double, 4);
    rt.spawn_detached(worker);
    let doubled = (0..50).map(|n| buffer.clone().oneshot(n));
    let doubled = rt.block_on(join_all(doubled));
    let sum: u64 = doubled.into_iter().map(Result::unwrap).sum();
    assert_eq!(sum, 2450);
}

fn too_many_are_shed(rt: impl Runtime) {
    let never = service_fn(async |_: u64| {
        std::future::pending::<()>().await;
        Ok::<_, BoxError>(0)
    });
    let stack = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(1)
        .service(never);
    let (mut first, second) = (stack.clone(), stack);
    rt.block_on(async {
        let running = first.ready().await.unwrap().call(1);
        let shed = second.oneshot(2).await.unwrap_err();
        assert!(shed.is::<Overloaded>(), "{shed}");
        drop(running);
    });
}
