//! What is counted. Without export every call does nothing.

use opentelemetry::{KeyValue, global};

use crate::{SCOPE, names};

/// An attempt ended on this worker after `seconds`; `outcome` is `succeeded`, `lost` or a failure class.
pub fn attempt_ended(kind: &'static str, outcome: &'static str, seconds: f64) {
    let labels = [KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)];
    let meter = global::meter(SCOPE);
    meter.u64_counter(names::ATTEMPTS).build().add(1, &labels);
    meter.f64_histogram(names::ATTEMPT_SECONDS).with_unit("s").build().record(seconds, &labels);
}

/// Tokens passed through the main phase of a job.
pub fn tokens(kind: &'static str, count: u64) {
    let counter = global::meter(SCOPE).u64_counter(names::TOKENS).build();
    counter.add(count, &[KeyValue::new("kind", kind)]);
}

/// A coordinator took a backup by itself, or could not; `outcome` is `taken` or `failed`.
pub fn backup(outcome: &'static str) {
    let counter = global::meter(SCOPE).u64_counter(names::BACKUPS).build();
    counter.add(1, &[KeyValue::new("outcome", outcome)]);
}
