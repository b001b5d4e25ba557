//! Each request as a span of OpenTelemetry, in the trace of its caller (`traceparent`), sent to a collector as OTLP over
//! HTTP: with the cargo feature `otel`, and where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. Otherwise nothing.
//!
//! A request waits for none of it: spans that have ended go into a bounded queue, and are lost where it is full; a
//! thread sends them in batches. Sampler, queue, batches and headers are what OpenTelemetry's variables say.
//!
//! Spans are made with OpenTelemetry's own interface and not out of those of `tracing`: else `FRESHET_LOG` would decide
//! what is traced, and the kind and name of a span would have to be in each line of the log.

#[cfg(not(feature = "otel"))]
mod absent;
#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod exported;

#[cfg(not(feature = "otel"))]
pub use absent::{RequestSpan, Traces};
#[cfg(feature = "otel")]
pub use exported::{RequestSpan, Traces};
