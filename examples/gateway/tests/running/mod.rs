//! A gateway that runs, with its counts and its log.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, AnyTask, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::Drain;
use fourway_net::Net;
use fourway_testing::AGES;
use gateway::{Gateway, Log, Metrics, Settings};

use crate::shown::Shown;

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    metrics: Arc<Metrics>,
    log: Log,
    shown: Shown,
    stop: CancellationToken,
    task: AnyTask<Drain>,
}

impl Running {
    pub(crate) async fn new(rt: &AnyRuntime, settings: Settings) -> Self {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, shown) = (CancellationToken::new(), Shown::default());
        let log = Log::new(rt, shown.clone());
        let gateway = Gateway::new(rt, settings, log.clone()).unwrap();
        let metrics = gateway.metrics();
        let stopped = stop.clone();
        let task = rt.spawn(async move { gateway.serve(listener, &stopped).await });
        Self {
            address,
            metrics,
            log,
            shown,
            stop,
            task,
        }
    }

    /// Waits until the metrics have this text.
    pub(crate) async fn until(&self, rt: &AnyRuntime, metric: &str) {
        // `run` has a deadline.
        while !self.metrics.to_string().contains(metric) {
            rt.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the log has this text.
    #[allow(dead_code, reason = "not each test needs it")]
    pub(crate) async fn until_logged(&self, rt: &AnyRuntime, text: &str) {
        while !self.shown.text().contains(text) {
            rt.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops the gateway. Returns what became of its connections, and the log.
    pub(crate) async fn stop(self, rt: &AnyRuntime) -> (Drain, String) {
        self.stop.cancel();
        let drain = self.task.await.unwrap();
        assert!(self.log.flush(rt, AGES).await);
        (drain, self.shown.text())
    }
}
