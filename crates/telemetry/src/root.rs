//! The root span of a matrix's trace, made at its end from journaled times, with the ids that every process derives.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assay_domain::{MatrixId, UnixMillis};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanId, TraceId, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::{SCOPE, names};

thread_local! {
    /// The ids of the next span on this thread: set only while a root span is made, which nothing else can come between.
    static DERIVED: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, except for root spans.
#[derive(Debug, Default)]
pub(crate) struct DerivedIds {
    random: RandomIdGenerator,
}

impl IdGenerator for DerivedIds {
    fn new_trace_id(&self) -> TraceId {
        DERIVED.get().map_or_else(|| self.random.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        DERIVED.get().map_or_else(|| self.random.new_span_id(), |(_, span)| span)
    }
}

/// Exports the root span of a matrix that has finished. Without export it does nothing. It is exported at least once: a coordinator that
/// starts does it again for the matrices that ended last, since the one before may have been killed in between; it is the same span then.
pub fn emit_root_span(matrix: &MatrixId, name: &str, start: UnixMillis, end: UnixMillis) {
    let builder = SpanBuilder::from_name(name.to_owned())
        .with_start_time(time(start))
        .with_attributes([KeyValue::new(names::MATRIX, matrix.as_str().to_owned())]);
    let ids = (TraceId::from_bytes(matrix.trace_id()), SpanId::from_bytes(matrix.root_span_id()));
    let tracer = global::tracer(SCOPE);
    DERIVED.set(Some(ids));
    // An empty context: a root has no parent, whatever span is current here.
    let mut span = tracer.build_with_context(builder, &Context::new());
    DERIVED.set(None);
    span.end_with_timestamp(time(end));
}

fn time(at: UnixMillis) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}
