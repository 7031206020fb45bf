//! A call whose client is traced gets a span in the client's trace; others get none.

use assay_telemetry::names;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

/// Runs a call in a span whose parent the call's `traceparent` names.
pub(crate) async fn join(request: Request, next: Next) -> Response {
    let given = request.headers().get(assay_proto::client::TRACEPARENT).and_then(|value| value.to_str().ok());
    let Some(parent) = given.map(str::to_owned) else { return next.run(request).await };
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let span = tracing::info_span!(
        names::RPC,
        otel.name = method,
        otel.kind = "server",
        // Filled in where a call makes one.
        assay.matrix = tracing::field::Empty,
    );
    assay_telemetry::propagate::attach_parent(&span, &parent);
    next.run(request).instrument(span).await
}
