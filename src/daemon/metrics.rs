//! Metrics by HTTP, where the configuration asks for them.

use log::{info, warn};

use crate::config::Config;
use crate::control::Counter;
use crate::metrics;
use crate::os::facts;
use crate::os::metrics::MetricsServer;

use super::report::Report;
use super::{Error, Shared, Thread};

impl Shared {
    /// A port that somebody else has is no reason not to run: whoever scrapes will notice.
    pub(super) fn metrics(&self, config: &Config) -> Result<Option<Thread>, Error> {
        let Some(listen) = config.metrics else { return Ok(None) };
        let server = match MetricsServer::bind(listen) {
            Ok(server) => server,
            Err(error) => {
                warn!("metrics: cannot listen on {listen}: {error}; natttd runs without them");
                return Ok(None);
            }
        };
        info!("metrics: http://{listen}/metrics");
        let (report, stop) = (self.report(config.clone()), self.stop.clone());
        let run = move || {
            let page = || report.metrics();
            server.serve(&page, &*stop).map_err(|e| Error::System("metrics", e))
        };
        self.spawn("metrics", run).map(Some)
    }
}

impl Report {
    fn metrics(&self) -> String {
        let counters = Counter::all(&self.counters);
        metrics::render(&self.status(), &counters, &facts::kernel_queues())
    }
}
