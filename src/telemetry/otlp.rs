//! Sends spans and metrics by OTLP, as the environment says.
//!
//! Exporters wait for a collector in threads of the SDK. Their connections and timers run on a runtime of their own: at
//! the end of a program they must work while the program's runtime is blocked, has only one thread, or is gone.

use std::{env, fmt::Display, sync::OnceLock, time::Duration};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
};
use tokio::runtime::{Handle, Runtime};
use tokio_util::context::TokioContext;

use super::ending;
use crate::startup::{BadSetting, Stop};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Says how long a collector may take where the environment doesn't say it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Names what is sent, and the variables that are about it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
    timeout: &'static str,
    headers: &'static str,
    compression: &'static str,
    /// Further values of the variable `exporter`, which something else than OTLP serves.
    served_otherwise: &'static [&'static str],
}

/// Stands for spans.
pub(super) const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    timeout: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    headers: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    compression: "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    served_otherwise: &[],
};

/// Stands for metrics.
pub(super) const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    timeout: "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    compression: "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    served_otherwise: &["prometheus"],
};

/// Says how a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Holds where and how a signal is sent.
#[derive(Debug, Clone)]
struct Destination {
    /// The variable that has the endpoint.
    setting: &'static str,
    is_https: bool,
    protocol: Protocol,
    timeout: Duration,
}

/// Returns the exporter of spans. `None`: the environment asks for none.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or there is no thread.
pub(super) fn span_exporter() -> Result<Option<SpanExporter>, Stop> {
    exporter(TRACES, |destination| match destination.protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::HttpProtobuf => {
            let builder = SpanExporter::builder().with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
            match http_client(destination)? {
                Client::Plain(client) => builder.with_http_client(client).build(),
                Client::Tls(client) => builder.with_http_client(client).build(),
            }
        }
    })
}

/// Returns the exporter of metrics, for a reader in a thread of its own. `None`: the environment asks for none.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or there is no thread.
pub(super) fn metric_exporter() -> Result<Option<OnRuntime<MetricExporter>>, Stop> {
    let exporter = exporter(METRICS, |destination| match destination.protocol {
        Protocol::Grpc => MetricExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::HttpProtobuf => {
            let builder = MetricExporter::builder().with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
            match http_client(destination)? {
                Client::Plain(client) => builder.with_http_client(client).build(),
                Client::Tls(client) => builder.with_http_client(client).build(),
            }
        }
    })?;
    exporter.map(OnRuntime::new).transpose()
}

fn exporter<E>(
    signal: Signal,
    build: impl FnOnce(&Destination) -> Result<E, ExporterBuildError>,
) -> Result<Option<E>, Stop> {
    let Some(destination) = destination(signal, value)? else { return Ok(None) };
    let _entered = runtime()?.enter();
    match build(&destination) {
        Ok(exporter) => Ok(Some(exporter)),
        Err(error) => Err(BadSetting::new(destination.setting, format!("can't be used: {error}")).into()),
    }
}

/// Wraps an exporter whose connections and timers run on the exporters' runtime, whichever thread it is called in.
///
/// At the end of the program it is cut short.
#[derive(Debug)]
pub(super) struct OnRuntime<E> {
    exporter: E,
    handle: Handle,
}

impl<E> OnRuntime<E> {
    /// Wraps an exporter.
    ///
    /// # Errors
    /// There is no thread for the runtime.
    pub(super) fn new(exporter: E) -> Result<Self, Stop> {
        Ok(Self { exporter, handle: runtime()?.clone() })
    }

    /// Returns the exporter.
    pub(super) fn exporter(&self) -> &E {
        &self.exporter
    }

    /// Returns the exporter, to change it before it is used.
    pub(super) fn exporter_mut(&mut self) -> &mut E {
        &mut self.exporter
    }

    /// Runs an export, to its end or that of the program.
    ///
    /// # Errors
    /// The text of the export's error.
    pub(super) async fn run<R: Display>(&self, export: impl Future<Output = Result<(), R>>) -> Result<(), String> {
        let cut_short = async {
            tokio::select! {
                biased;
                () = ending::time_is_up() => Err("the program ended before the collector answered".to_owned()),
                sent = export => sent.map_err(|error| error.to_string()),
            }
        };
        TokioContext::new(cut_short, self.handle.clone()).await
    }
}

impl PushMetricExporter for OnRuntime<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.run(self.exporter.export(metrics)).await.map_err(opentelemetry_sdk::error::OTelSdkError::InternalFailure)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Returns the exporters' runtime, which lives as long as the process. It has one thread.
fn runtime() -> Result<&'static Handle, Stop> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build();
    let runtime = runtime.map_err(|error| Stop::failed("no thread for the exporter of traces and metrics", error))?;
    Ok(RUNTIME.get_or_init(|| runtime).handle())
}

fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_enabled_roots()
}

/// Holds a client for OTLP over HTTP. Only an `https://` collector needs the system's certificates.
enum Client {
    Plain(HyperClient<HttpConnector>),
    Tls(HyperClient<hyper_rustls::HttpsConnector<HttpConnector>>),
}

fn http_client(destination: &Destination) -> Result<Client, ExporterBuildError> {
    if !destination.is_https {
        return Ok(Client::Plain(HyperClient::with_default_connector(destination.timeout, None)));
    }
    let no_roots = |error| {
        ExporterBuildError::InternalFailure(format!("the certificates that the system trusts can't be read: {error}"))
    };
    let connector =
        HttpsConnectorBuilder::new().with_native_roots().map_err(no_roots)?.https_only().enable_http1().build();
    Ok(Client::Tls(HyperClient::new(connector, destination.timeout, None)))
}

/// Reads where and how a signal is sent. `None`: nowhere. `value` returns a variable that isn't empty.
fn destination(signal: Signal, value: impl Fn(&str) -> Option<String>) -> Result<Option<Destination>, BadSetting> {
    if value("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    if let Some(exporters) = value(signal.exporter) {
        let mut wanted = false;
        for exporter in exporters.split(',').map(str::trim) {
            match exporter {
                "otlp" => wanted = true,
                "none" => {}
                other if signal.served_otherwise.contains(&other) => {}
                _ => return Err(BadSetting::new(signal.exporter, "can only be otlp or none")),
            }
        }
        if !wanted {
            return Ok(None);
        }
    }
    // The variable of the signal wins.
    let first = |specific: &'static str, general: &'static str| {
        [specific, general].into_iter().find_map(|name| Some((name, value(name)?)))
    };
    let Some((setting, endpoint)) = first(signal.endpoint, ENDPOINT) else { return Ok(None) };
    let protocol = match first(signal.protocol, "OTEL_EXPORTER_OTLP_PROTOCOL") {
        None => Protocol::Grpc,
        Some((name, protocol)) => match &*protocol {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::HttpProtobuf,
            _ => return Err(BadSetting::new(name, "can only be grpc or http/protobuf")),
        },
    };
    let timeout = match first(signal.timeout, "OTEL_EXPORTER_OTLP_TIMEOUT") {
        None => TIMEOUT,
        Some((name, milliseconds)) => match milliseconds.parse() {
            Ok(milliseconds @ 1..=3_600_000) => Duration::from_millis(milliseconds),
            _ => return Err(BadSetting::new(name, "is not a number of milliseconds from 1 to 3600000")),
        },
    };
    if let Some((name, _)) =
        first(signal.compression, "OTEL_EXPORTER_OTLP_COMPRESSION").filter(|(_, how)| how != "none")
    {
        return Err(BadSetting::new(name, "can only be none"));
    }
    if let Some((name, headers)) = first(signal.headers, "OTEL_EXPORTER_OTLP_HEADERS") {
        let is_pair =
            |pair: &str| pair.split_once('=').is_some_and(|(key, _)| key.trim().parse::<http::HeaderName>().is_ok());
        // The values may be secret.
        if !headers.split(',').filter(|pair| !pair.trim().is_empty()).all(is_pair) {
            return Err(BadSetting::new(name, "is not a list of name=value, separated by commas"));
        }
    }
    let is_https = endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    Ok(Some(Destination { setting, is_https, protocol, timeout }))
}

/// Returns the value of a variable. For OpenTelemetry an empty variable is unset.
pub(super) fn value(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(signal: Signal, variables: &[(&str, &str)]) -> Result<Option<Destination>, String> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        destination(signal, |name| variables.get(name).map(|value| (*value).to_owned())).map_err(|bad| bad.to_string())
    }

    const URL: (&str, &str) = (ENDPOINT, "http://collector:4317");

    #[test]
    fn nothing_is_sent_without_an_endpoint_or_where_it_is_switched_off() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4317")],
            &[URL, ("OTEL_SDK_DISABLED", "TRUE")],
            &[URL, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(TRACES, variables).unwrap().is_none(), "{variables:?}");
        }
        assert!(read(METRICS, &[URL, ("OTEL_METRICS_EXPORTER", "prometheus")]).unwrap().is_none());
        assert!(read(METRICS, &[URL, ("OTEL_METRICS_EXPORTER", "prometheus,otlp")]).unwrap().is_some());
    }

    #[test]
    fn the_variable_of_the_signal_wins() {
        let sent = read(
            TRACES,
            &[
                URL,
                (TRACES.endpoint, "HTTPS://traces"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                (TRACES.protocol, "http/protobuf"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
                (TRACES.timeout, "250"),
            ],
        );
        let sent = sent.unwrap().unwrap();
        assert_eq!((sent.setting, sent.is_https), (TRACES.endpoint, true));
        assert_eq!((sent.protocol, sent.timeout), (Protocol::HttpProtobuf, Duration::from_millis(250)));
        let sent = read(METRICS, &[URL]).unwrap().unwrap();
        assert_eq!((sent.setting, sent.is_https), (ENDPOINT, false));
        assert_eq!((sent.protocol, sent.timeout), (Protocol::Grpc, TIMEOUT));
    }

    #[test]
    fn a_value_that_nobody_serves_is_a_bad_setting_by_its_name() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=1,b c=2"),
        ] {
            let refused = read(TRACES, &[URL, (name, value)]).unwrap_err();
            assert!(refused.starts_with(&format!("{name} ")), "{name}={value}: {refused}");
        }
        let headers = read(TRACES, &[URL, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]).unwrap_err();
        assert!(!headers.contains("hunter2"), "{headers}");
        assert!(
            read(TRACES, &[URL, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, b=2,")]).unwrap().is_some()
        );
    }
}
