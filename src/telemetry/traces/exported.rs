//! Spans, made and queued by OpenTelemetry's SDK.

use std::env;

use axum::http::{Request, StatusCode};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tokio::task::spawn_blocking;

use super::collector::Collector;

/// Clones share the queue.
#[derive(Clone)]
pub struct Traces(Option<Exporting>);

#[derive(Clone)]
struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Dropped before there is an answer, it says how long the caller had patience.
pub struct RequestSpan(Option<Span>);

const NAME: &str = "freshet";

impl Traces {
    /// Within a runtime, which then sends the spans. A variable that makes no sense is logged, and nothing is traced.
    pub fn from_environment() -> Traces {
        if !is_wanted(|variable| env::var(variable).ok()) {
            return Traces(None);
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Collector::new()).build();
        let exporting = exporter.map(Exporting::to).inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "requests are not traced: mend the OTEL_… variables"
            );
        });
        Traces(exporting.ok())
    }

    /// Of a request that has just come; `id` is the one that its log lines have.
    pub fn begin<B>(&self, request: &Request<B>, route: &str, id: &str) -> RequestSpan {
        RequestSpan(self.0.as_ref().map(|exporting| exporting.begin(request, route, id)))
    }

    /// Sends what is queued, for some seconds at most; what ends later is lost.
    pub async fn stop(self) {
        let Some(Exporting { provider, .. }) = self.0 else { return };
        let stopped = spawn_blocking(move || provider.shutdown()).await.expect("a shutdown does not panic");
        if let Err(error) = stopped {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last spans may be lost");
        }
    }
}

impl RequestSpan {
    pub fn answered(self, status: StatusCode) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Exporting {
    fn to(exporter: SpanExporter) -> Exporting {
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        Exporting { tracer: provider.tracer(NAME), provider }
    }

    /// Neither path nor query is told, only the route: they may hold what is nobody's business.
    fn begin<B>(&self, request: &Request<B>, route: &str, id: &str) -> Span {
        let headers = HeaderExtractor(request.headers());
        let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        let attributes = [
            KeyValue::new("http.request.method", request.method().to_string()),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("freshet.request_id", id.to_owned()),
        ];
        let span = self.tracer.span_builder(format!("{} {route}", request.method()));
        span.with_kind(SpanKind::Server).with_attributes(attributes).start_with_context(&self.tracer, &caller)
    }
}

/// The default endpoint of OpenTelemetry, localhost, is not tried: a build that can trace need not do it.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let endpoints =
        [opentelemetry_otlp::OTEL_EXPORTER_OTLP_ENDPOINT, opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT];
    let is = |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    endpoints.iter().any(|name| variable(name).is_some_and(|it| !it.is_empty()))
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

/// Who sends the spans.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let own = Resource::builder_empty().with_service_name(NAME).with_attribute(version);
    let whole = own.with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => whole.with_service_name(name).build(),
        _ => whole.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(variables: &[(&str, &str)]) -> bool {
        is_wanted(|name| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn requests_are_traced_where_a_collector_is_named_and_tracing_is_not_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")]));
        assert!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")]));
        assert!(!wanted(&[]) && !wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "True")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
    }
}
