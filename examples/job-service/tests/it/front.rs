//! The gateway of `examples/gateway` in this process, as the front of one or more services.

use fourway_core::{AnyRuntime, AnyTask, BlockOn, Spawner, Task, cancel::CancellationToken};
use fourway_net::Net;
use gateway::{Gateway, Log, Settings};

pub(crate) struct Front {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    stop: CancellationToken,
    serving: AnyTask<()>,
}

impl Front {
    /// Over the services at these addresses, whatever upstreams the settings name.
    pub(crate) fn over(rt: &AnyRuntime, urls: &[String], settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let listener = rt.block_on(rt.listen_tcp("127.0.0.1:0").into_future());
        let listener = listener.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings {
            upstreams: urls.iter().map(|url| url.replace("http://", "")).collect(),
            ..settings
        };
        let (gateway, stopped) = (
            Gateway::new(rt, settings, Log::none()).unwrap(),
            stop.clone(),
        );
        let serving = rt.spawn(async move {
            gateway.serve(listener, &stopped).await;
        });
        Self { url, stop, serving }
    }

    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.serving.wait().unwrap();
    }
}
