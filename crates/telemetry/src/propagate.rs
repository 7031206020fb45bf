//! W3C trace context between processes: in gRPC metadata, in leases as text, and derived from the matrix's id.
//!
//! All ids of a matrix's trace derive from its id, so that every process joins the same trace without asking, across restarts.

use assay_domain::MatrixId;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The metadata key and lease field of W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The `traceparent` that all processes derive for a matrix: its trace, its root span, sampled.
pub fn traceparent_of(matrix: &MatrixId) -> String {
    format_context(&SpanContext::new(
        TraceId::from_bytes(matrix.trace_id()),
        SpanId::from_bytes(matrix.root_span_id()),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

/// The `traceparent` of the current span; none when nothing is traced.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| format_context(&span))
}

/// Makes `span` a child of the span that `traceparent` names. A text that is no trace context changes nothing. Call it before the span
/// is entered.
pub fn attach_parent(span: &Span, traceparent: &str) {
    let Some(parent) = parse(traceparent) else { return };
    let context = opentelemetry::Context::new().with_remote_span_context(parent);
    // Fails when nothing is exported: then there is nothing to join.
    let _ = span.set_parent(context);
}

/// Adds the current span's `traceparent` to a call's metadata.
pub fn inject(metadata: &mut MetadataMap) {
    let value = current_traceparent().and_then(|text| text.parse().ok());
    if let Some(value) = value {
        metadata.insert(TRACEPARENT, value);
    }
}

/// The `traceparent` of a call's metadata, for [`attach_parent`].
pub fn extract(metadata: &MetadataMap) -> Option<String> {
    metadata.get(TRACEPARENT)?.to_str().ok().map(str::to_owned)
}

fn format_context(span: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_always_has_the_same_traceparent() {
        let matrix = MatrixId::new("m-4k2j9x0c7q1f");
        let text = traceparent_of(&matrix);
        assert_eq!(text, traceparent_of(&matrix.clone()));
        let parsed = parse(&text).unwrap();
        assert_eq!(parsed.trace_id().to_bytes(), matrix.trace_id());
        assert_eq!(parsed.span_id().to_bytes(), matrix.root_span_id());
        assert!(parsed.is_sampled());
    }

    #[test]
    fn what_is_no_trace_context_is_passed_over() {
        let zero = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
        for bad in ["", "00", "00-1-2-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &zero] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        attach_parent(&tracing::info_span!("untraced"), "nonsense");
        assert_eq!(current_traceparent(), None);
    }
}
