//! What is told to the outside beside files: an OTLP receiver that keeps the bytes it is sent, and the logs of coordinator and agent
//! in this process, as detailed as there are.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use tracing_subscriber::fmt::MakeWriter;

type Kept = Arc<Mutex<Vec<u8>>>;

static LOGS: LazyLock<Kept> = LazyLock::new(Kept::default);

/// Receives for as long as the test runs.
pub(crate) struct Receiver {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) endpoint: String,
    sent: Kept,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let sent = Kept::default();
        let app = Router::new()
            .route("/v1/traces", post(keep))
            .route("/v1/metrics", post(keep))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&sent));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { endpoint, sent }
    }

    /// All bytes of all that was sent: texts stand in protobuf as they are.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }
}

async fn keep(State(sent): State<Kept>, body: Bytes) -> Vec<u8> {
    sent.lock().unwrap().extend_from_slice(&body);
    Vec::new()
}

/// Keeps what our code in this process logs from now on, of any level. Other tests of the process may be in it too.
pub(crate) fn keep_logs() {
    let ours = "assay_agent=trace,assay_artifacts=trace,assay_coordinator=trace,assay_proto=trace";
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(ours).with_ansi(false).with_writer(Lines).finish();
    // Set before by another test: then they are kept as well.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The logs so far.
pub(crate) fn logs() -> Vec<u8> {
    LOGS.lock().unwrap().clone()
}

struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
