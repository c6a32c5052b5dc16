use std::{io, sync::Arc};

use super::{Blocking, Started, WORKERS};

/// A pool that runs closures without a result: a oneshot channel carries the result.
#[derive(Clone)]
pub(crate) struct Oneshot<P>(P);

/// Such a pool.
pub(crate) trait Pool: Clone + Send + Sync + 'static {
    fn run(&self, f: impl FnOnce() + Send + 'static);
}

pub(crate) type Rayon = Arc<rayon::ThreadPool>;
pub(crate) type Threadpool = threadpool::ThreadPool;

pub(crate) fn rayon() -> io::Result<Started<Oneshot<Rayon>>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(WORKERS)
        .build()
        .map_err(io::Error::other)?;
    let peer = Oneshot(Arc::new(pool));
    Ok(Started::new("rayon + oneshot", false, peer, ()))
}

pub(crate) fn threadpool() -> Started<Oneshot<Threadpool>> {
    let peer = Oneshot(threadpool::ThreadPool::new(WORKERS));
    Started::new("threadpool + oneshot", false, peer, ())
}

impl Pool for Rayon {
    #[inline]
    fn run(&self, f: impl FnOnce() + Send + 'static) {
        self.spawn(f);
    }
}

impl Pool for Threadpool {
    #[inline]
    fn run(&self, f: impl FnOnce() + Send + 'static) {
        self.execute(f);
    }
}

impl<P: Pool> Blocking for Oneshot<P> {
    type Join<T: Send + 'static> = oneshot::AsyncReceiver<T>;
    type Handle<T: Send + 'static> = oneshot::Receiver<T>;

    #[inline]
    fn offload<F, T>(&self, f: F) -> Self::Join<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = oneshot::async_channel();
        self.0.run(move || {
            let _ = sender.send(f());
        });
        receiver
    }

    #[inline]
    fn output<T: Send + 'static>(joined: Result<T, oneshot::RecvError>) -> T {
        joined.expect("no closure panics")
    }

    #[inline]
    fn start<F, T>(&self, f: F) -> Self::Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.0.run(move || {
            let _ = sender.send(f());
        });
        receiver
    }

    #[inline]
    fn wait<T: Send + 'static>(&self, handle: Self::Handle<T>) -> T {
        handle.recv().expect("no closure panics")
    }
}
