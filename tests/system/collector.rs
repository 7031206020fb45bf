//! An OTLP receiver over HTTP in this process: it keeps the spans that it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::runtime::Runtime;

/// A span, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    /// Milliseconds since 1970.
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    /// Those that are texts.
    pub(crate) attributes: BTreeMap<String, String>,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// Receives until it is dropped.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: Spans,
    _runtime: Runtime,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let spans = Spans::default();
        let app = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(async || Vec::<u8>::new()))
            .with_state(Arc::clone(&spans));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { endpoint, spans, _runtime: runtime }
    }

    /// All that have come.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

async fn traces(State(spans): State<Spans>, body: Bytes) -> Vec<u8> {
    for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let about = texts(resource.resource.unwrap().attributes);
        let came = resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
            service: about["service.name"].clone(),
            name: span.name,
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent_span_id,
            from_ms: span.start_time_unix_nano / 1_000_000,
            to_ms: span.end_time_unix_nano / 1_000_000,
            attributes: texts(span.attributes),
        });
        spans.lock().unwrap().extend(came);
    }
    Vec::new()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let Value::StringValue(text) = attribute.value?.value? else { return None };
        Some((attribute.key, text))
    };
    attributes.into_iter().filter_map(text).collect()
}
