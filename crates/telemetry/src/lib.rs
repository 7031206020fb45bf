//! Traces, logs and metrics: set up in `main`, and nothing changes without them. The only place that knows OpenTelemetry.

pub mod names;
pub mod propagate;
