//! What must happen before a process that exports ends.

use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::export::Exporting;

/// Telemetry as long as the process lives. Shut it down as the last thing in `main`.
#[must_use = "spans that were not exported are lost without a shutdown"]
pub struct Guard {
    exporting: Exporting,
}

impl Guard {
    pub(crate) fn new(exporting: Exporting) -> Self {
        Self { exporting }
    }

    /// Whether anything is exported.
    pub fn is_exporting(&self) -> bool {
        self.exporting.traces.is_some() || self.exporting.metrics.is_some()
    }

    /// Exports what waits, `deadline` at most. On the blocking pool: exporting blocks, and may need the runtime that it would block.
    pub async fn shutdown(self, deadline: Duration) {
        if !self.is_exporting() {
            return;
        }
        let Exporting { traces, metrics } = self.exporting;
        let flush = tokio::task::spawn_blocking(move || {
            let traces =
                traces.as_ref().map(|traces: &SdkTracerProvider| traces.shutdown_with_timeout(deadline));
            report("traces", traces);
            let metrics =
                metrics.as_ref().map(|metrics: &SdkMeterProvider| metrics.shutdown_with_timeout(deadline));
            report("metrics", metrics);
        });
        if tokio::time::timeout(deadline, flush).await.is_err() {
            tracing::warn!(deadline_ms = deadline.as_millis(), "telemetry was not flushed in time");
        }
    }
}

fn report(what: &str, outcome: Option<OTelSdkResult>) {
    if let Some(Err(error)) = outcome {
        tracing::warn!(what, %error, "telemetry was not flushed");
    }
}
