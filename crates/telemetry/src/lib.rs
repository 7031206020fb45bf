//! Traces, logs and metrics: set up in `main`, and nothing changes without them. The only place that knows OpenTelemetry.
//!
//! Logs go to standard error. Traces and metrics go to an OTLP receiver when the standard `OTEL_*` endpoint variables name one;
//! otherwise nothing is connected.

pub use guard::Guard;
pub use root::emit_root_span;

mod export;
mod guard;
pub mod metrics;
pub mod names;
pub mod propagate;
mod root;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::TracerProvider as _;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// The name under which our spans and metrics are recorded.
pub(crate) const SCOPE: &str = "assay";

static TRACES_LEAVE: AtomicBool = AtomicBool::new(false);

/// Whether this process sends its spans anywhere: where it does not, those that no log line shows need not be made.
pub fn sends_traces() -> bool {
    TRACES_LEAVE.load(Ordering::Relaxed)
}

/// Why telemetry is not as it was asked for. The process can go on without.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `ASSAY_LOG` or `RUST_LOG` is no filter.
    #[error("{variable}=`{given}` is not a log filter: write such as `info` or `warn,assay_agent=debug`")]
    Filter {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        given: String,
        /// Why it cannot be read.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be made.
    #[error("OTLP export cannot be set up from the OTEL_* variables")]
    Export(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The protocol asked for is not built in.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL=`{given}` is not spoken here: use `grpc` or `http/protobuf`")]
    Protocol {
        /// What was asked for.
        given: String,
    },
    /// Telemetry was set up before in this process.
    #[error("telemetry is set up already")]
    Twice,
}

/// Sets up logs, and export when `OTEL_*` asks for it. Call it once, inside the tokio runtime, first thing in `main`.
pub fn init(service: &'static str) -> Result<Guard, TelemetryError> {
    let exporting = export::Exporting::from_environment(service)?;
    let traces = exporting.traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // Our own spans only: those of the exporter's own transport would be exported for ever.
            .with_filter(ours())
    });
    let logs = fmt::layer()
        .compact()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(log_filter()?);
    let registry = tracing_subscriber::registry().with(traces).with(logs);
    registry.try_init().map_err(|_| TelemetryError::Twice)?;
    exporting.install();
    TRACES_LEAVE.store(exporting.traces.is_some(), Ordering::Relaxed);
    Ok(Guard::new(exporting))
}

fn ours() -> Targets {
    Targets::new().with_target("assay", LevelFilter::INFO)
}

fn log_filter() -> Result<EnvFilter, TelemetryError> {
    for variable in ["ASSAY_LOG", "RUST_LOG"] {
        let Ok(given) = std::env::var(variable) else { continue };
        if given.is_empty() {
            continue;
        }
        return EnvFilter::builder().parse(&given).map_err(|source| TelemetryError::Filter {
            variable,
            given,
            source,
        });
    }
    Ok(EnvFilter::new("info"))
}
