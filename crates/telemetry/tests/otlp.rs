//! What other processes see: spans of two processes and the root share one trace at a real OTLP receiver, and without `OTEL_*`
//! nothing is connected. The processes are this test binary again, told by a variable what to be.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails the test")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_domain::{MatrixId, UnixMillis};
use assay_telemetry::{emit_root_span, init, metrics, propagate};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const ROLE: &str = "ASSAY_TELEMETRY_TEST_ROLE";
const MATRIX: &str = "m-0123456789ab";
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<(String, Span)>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

impl Received {
    fn traces(&self, request: ExportTraceServiceRequest) {
        for resource in request.resource_spans {
            let service = service_name(resource.resource.unwrap().attributes);
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
    }

    fn named(&self, name: &str) -> (String, Span) {
        let spans = self.spans.lock().unwrap();
        let found = spans.iter().find(|(_, span)| span.name == name);
        found.unwrap_or_else(|| panic!("no span `{name}` in {spans:?}")).clone()
    }
}

fn service_name(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> String {
    let found = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
    format!("{:?}", found.value.unwrap().value.unwrap())
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn http_traces(State(received): State<Received>, body: Bytes) -> Vec<u8> {
    received.traces(ExportTraceServiceRequest::decode(body).unwrap());
    Vec::new()
}

async fn http_metrics(State(received): State<Received>, body: Bytes) -> Vec<u8> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
    received.metrics.lock().unwrap().extend(names);
    Vec::new()
}

async fn serve_http(received: &Received) -> String {
    let app = Router::new()
        .route("/v1/traces", post(http_traces))
        .route("/v1/metrics", post(http_metrics))
        .with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn serve_grpc(received: &Received) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(received.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// Runs `role` below as a process of its own and returns what it wrote to standard error.
async fn process(role: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_of_its_own", "--nocapture"]).env(ROLE, role);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_") || name.ends_with("_LOG"))
    {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{role}: {errors}");
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let matrix = MatrixId::new(MATRIX);
    let service = if role == "worker" { "assay-worker" } else { "assay-coordinator" };
    let guard = init(service).unwrap();
    assert_eq!(guard.is_exporting(), role != "alone");
    if role == "worker" {
        let span = tracing::info_span!(target: "assay_test", "attempt");
        propagate::attach_parent(&span, &propagate::traceparent_of(&matrix));
        span.in_scope(|| {
            tracing::info_span!(target: "assay_test", "run")
                .in_scope(|| tracing::info!(target: "assay_test", "working"));
            let mut metadata = tonic::metadata::MetadataMap::new();
            propagate::inject(&mut metadata);
            let sent = propagate::extract(&metadata).unwrap();
            assert!(sent.starts_with(&propagate::traceparent_of(&matrix)[..35]), "{sent}");
        });
        metrics::attempt_ended("train", "succeeded", 1.5);
    } else {
        tracing::info_span!(target: "assay_test", "plan").in_scope(|| {
            emit_root_span(&matrix, "matrix philosophy", UnixMillis(1_000), UnixMillis(61_000));
        });
    }
    guard.shutdown(DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_and_the_root_share_the_matrix_s_trace() {
    let received = Received::default();
    let (http, grpc) = (serve_http(&received).await, serve_grpc(&received).await);
    let log = process("worker", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &http)]).await;
    assert!(log.contains("working"), "{log}");
    process(
        "coordinator",
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &grpc), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
    )
    .await;
    let matrix = MatrixId::new(MATRIX);
    let (service, attempt) = received.named("attempt");
    assert!(service.contains("assay-worker"), "{service}");
    assert_eq!(attempt.trace_id, matrix.trace_id());
    assert_eq!(attempt.parent_span_id, matrix.root_span_id());
    let (_, run) = received.named("run");
    assert_eq!((run.trace_id, run.parent_span_id), (attempt.trace_id.clone(), attempt.span_id));
    let (service, root) = received.named("matrix philosophy");
    assert!(service.contains("assay-coordinator"), "{service}");
    assert_eq!((root.trace_id, root.span_id), (attempt.trace_id, attempt.parent_span_id));
    assert!(root.parent_span_id.is_empty());
    assert_eq!((root.start_time_unix_nano, root.end_time_unix_nano), (1_000_000_000, 61_000_000_000));
    let (_, plan) = received.named("plan");
    assert_ne!(plan.trace_id, matrix.trace_id(), "derived ids are for root spans only");
    assert!(received.metrics.lock().unwrap().iter().any(|name| name == "assay.attempts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_endpoints_nothing_is_connected_and_the_filter_counts() {
    let received = Received::default();
    let endpoint = serve_http(&received).await;
    process("alone", &[("RUST_LOG", "info")]).await;
    process("alone", &[("OTEL_SDK_DISABLED", "true"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert!(received.spans.lock().unwrap().is_empty());
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("ASSAY_LOG", "warn")];
    let quiet = process("worker", &endpoint).await;
    assert!(!quiet.contains("working"), "{quiet}");
    assert_eq!(received.named("run").0, received.named("attempt").0, "the log's filter is not the trace's");
}
