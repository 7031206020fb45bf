//! OTLP export as the standard `OTEL_*` variables say; the SDK itself reads endpoints, headers, time-outs and sampling from them.

use std::env;

use opentelemetry::global;
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::TelemetryError;
use crate::root::DerivedIds;

/// The exporters of this process; none where nothing asks for them.
#[derive(Default)]
pub(crate) struct Exporting {
    pub(crate) traces: Option<SdkTracerProvider>,
    pub(crate) metrics: Option<SdkMeterProvider>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Grpc,
    Http,
}

impl Exporting {
    pub(crate) fn from_environment(service: &'static str) -> Result<Self, TelemetryError> {
        let mut exporting = Self::default();
        if let Some(transport) = wanted("TRACES", variable)? {
            exporting.traces = Some(traces(transport, service)?);
        }
        if let Some(transport) = wanted("METRICS", variable)? {
            exporting.metrics = Some(metrics(transport, service)?);
        }
        Ok(exporting)
    }

    /// Makes them what the rest of the process uses.
    pub(crate) fn install(&self) {
        if let Some(traces) = &self.traces {
            global::set_tracer_provider(traces.clone());
        }
        if let Some(metrics) = &self.metrics {
            global::set_meter_provider(metrics.clone());
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// How a signal is exported; none when no endpoint is set, or the standard switches turn it off.
fn wanted(
    signal: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Transport>, TelemetryError> {
    let own_or_common = |name: &str| {
        variable(&format!("OTEL_EXPORTER_OTLP_{signal}_{name}"))
            .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let off = variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value != "otlp");
    if disabled || off || own_or_common("ENDPOINT").is_none() {
        return Ok(None);
    }
    match own_or_common("PROTOCOL").as_deref() {
        Some("grpc") => Ok(Some(Transport::Grpc)),
        None | Some("http/protobuf") => Ok(Some(Transport::Http)),
        Some(given) => Err(TelemetryError::Protocol { given: given.to_owned() }),
    }
}

fn traces(transport: Transport, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = match transport {
        Transport::Grpc => SpanExporter::builder().with_tonic().build()?,
        Transport::Http => SpanExporter::builder().with_http().build()?,
    };
    Ok(SdkTracerProvider::builder()
        .with_resource(resource(service))
        .with_id_generator(DerivedIds::default())
        .with_batch_exporter(exporter)
        .build())
}

fn metrics(transport: Transport, service: &'static str) -> Result<SdkMeterProvider, TelemetryError> {
    let exporter = match transport {
        Transport::Grpc => MetricExporter::builder().with_tonic().build()?,
        Transport::Http => MetricExporter::builder().with_http().build()?,
    };
    Ok(SdkMeterProvider::builder().with_resource(resource(service)).with_periodic_exporter(exporter).build())
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` still win over the name of the binary.
fn resource(service: &'static str) -> Resource {
    let builder = Resource::builder();
    let named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|value| value.contains("service.name="));
    if named { builder.build() } else { builder.with_service_name(service).build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_asks_for_it() {
        assert_eq!(wanted("TRACES", with(&[])).unwrap(), None);
        assert_eq!(wanted("TRACES", with(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])).unwrap(), None);
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(
            wanted("TRACES", |name| with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x")])(name)).unwrap(),
            Some(Transport::Http)
        );
        let off = move |name: &str| match name {
            "OTEL_TRACES_EXPORTER" => Some(String::from("none")),
            name if name == endpoint.0 => Some(endpoint.1.to_owned()),
            _ => None,
        };
        assert_eq!(wanted("TRACES", off).unwrap(), None);
        assert_eq!(wanted("METRICS", off).unwrap(), Some(Transport::Http));
    }

    #[test]
    fn a_signal_may_have_its_own_endpoint_and_protocol() {
        let own = with(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ]);
        assert_eq!(wanted("TRACES", &own).unwrap(), Some(Transport::Grpc));
        assert_eq!(wanted("METRICS", &own).unwrap(), None);
        let odd = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")]);
        assert!(wanted("TRACES", odd).unwrap_err().to_string().contains("`pigeon`"));
    }
}
