//! Sends spans and metrics by OTLP, as the environment says.
//!
//! Exporters wait for a collector in threads of the SDK. Their connections and timers run on a runtime of their own: at
//! the end of a program they must work while the program's runtime is blocked, has only one thread, or is gone.

use std::{env, fmt::Display, sync::OnceLock, time::Duration};

use http::{HeaderMap, HeaderValue, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
};
use tokio::runtime::{Handle, Runtime};
use tokio_util::context::TokioContext;
use url::Url;

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
    insecure: &'static str,
    /// Where a request is posted, by protocol.
    paths: [&'static str; 2],
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
    insecure: "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    paths: ["/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces"],
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
    insecure: "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    paths: ["/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/v1/metrics"],
    served_otherwise: &["prometheus"],
};

/// Says how a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// Holds where and how a signal is sent.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// The variable that has the endpoint.
    pub(super) setting: &'static str,
    pub(super) is_https: bool,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    /// Where a request is posted.
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
}

/// Returns the exporter of metrics, for a reader in a thread of its own. `None`: the environment asks for none.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or there is no thread.
pub(super) fn metric_exporter() -> Result<Option<OnRuntime<MetricExporter>>, Stop> {
    let Some(destination) = destination(METRICS, value)? else { return Ok(None) };
    let _entered = runtime()?.enter();
    let exporter = match destination.protocol {
        Protocol::Grpc => MetricExporter::builder().with_tonic().with_tls_config(tls()).build(),
        Protocol::HttpProtobuf => {
            let builder = MetricExporter::builder().with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
            match http_client(&destination) {
                Ok(Client::Plain(client)) => builder.with_http_client(client).build(),
                Ok(Client::Tls(client)) => builder.with_http_client(client).build(),
                Err(error) => Err(error),
            }
        }
    };
    match exporter {
        Ok(exporter) => Ok(Some(OnRuntime::new(exporter)?)),
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
    fn new(exporter: E) -> Result<Self, Stop> {
        Ok(Self { exporter, handle: runtime()?.clone() })
    }

    /// Runs an export, to its end or that of the program.
    ///
    /// # Errors
    /// The text of the export's error.
    async fn run<R: Display>(&self, export: impl Future<Output = Result<(), R>>) -> Result<(), String> {
        let export = async { export.await.map_err(|error| error.to_string()) };
        TokioContext::new(ending::cut_short(export), self.handle.clone()).await
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
pub(super) fn runtime() -> Result<&'static Handle, Stop> {
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
pub(super) fn destination(
    signal: Signal,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Option<Destination>, BadSetting> {
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
    let headers = match first(signal.headers, "OTEL_EXPORTER_OTLP_HEADERS") {
        None => HeaderMap::new(),
        // The values may be secret.
        Some((name, text)) => {
            headers(&text).ok_or_else(|| BadSetting::new(name, "is not a list of name=value, separated by commas"))?
        }
    };
    let insecure = first(signal.insecure, "OTEL_EXPORTER_OTLP_INSECURE")
        .is_some_and(|(_, text)| text.eq_ignore_ascii_case("true"));
    let is_general = setting == ENDPOINT;
    let url = url(&endpoint, protocol, insecure, signal.paths, is_general)
        .ok_or_else(|| BadSetting::new(setting, "can't be used: it is no http:// or https:// URL"))?;
    // Nobody would send them. What goes wrong there is logged with the URL.
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) || endpoint.contains('@') {
        return Err(BadSetting::new(
            setting,
            "can't have a user or a password: OTEL_EXPORTER_OTLP_HEADERS is for them",
        ));
    }
    let is_https = url.scheme_str() == Some("https");
    Ok(Some(Destination { setting, is_https, protocol, timeout, url, headers }))
}

/// Returns where requests are posted. `None`: the endpoint is no URL.
///
/// For HTTP, the endpoint of all signals gets the path of the signal, and the endpoint of one signal stays as it is. For
/// gRPC a scheme may be missing, and the path is the method's.
fn url(endpoint: &str, protocol: Protocol, insecure: bool, paths: [&str; 2], is_general: bool) -> Option<Uri> {
    let [method, path] = paths;
    let endpoint = match protocol {
        Protocol::Grpc if !endpoint.contains("://") => {
            format!("{}://{endpoint}", if insecure { "http" } else { "https" })
        }
        Protocol::Grpc | Protocol::HttpProtobuf => endpoint.to_owned(),
    };
    let parsed = Url::parse(&endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let base = match protocol {
        Protocol::Grpc => format!("{}{method}", parsed.origin().ascii_serialization()),
        Protocol::HttpProtobuf if is_general => format!("{}{path}", parsed.as_str().trim_end_matches('/')),
        Protocol::HttpProtobuf => parsed.as_str().to_owned(),
    };
    base.parse().ok()
}

/// Reads headers: `name=value`, separated by commas, the values percent-encoded. `None`: one of them is none.
fn headers(text: &str) -> Option<HeaderMap> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())?).ok()?;
        // What prints the header leaves its value out.
        value.set_sensitive(true);
        Some((name.trim().parse().ok()?, value))
    };
    pairs.map(header).collect()
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        decoded.push(digit(bytes.next())? * 16 + digit(bytes.next())?);
    }
    Some(decoded)
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
        assert_eq!((sent.setting, sent.is_https, sent.url.path()), (TRACES.endpoint, true, "/"));
        assert_eq!((sent.protocol, sent.timeout), (Protocol::HttpProtobuf, Duration::from_millis(250)));
        let sent = read(METRICS, &[URL]).unwrap().unwrap();
        assert_eq!((sent.setting, sent.is_https), (ENDPOINT, false));
        let method = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        assert_eq!(sent.url.to_string(), format!("http://collector:4317/{method}"));
        let http = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), (ENDPOINT, "http://collector:4318/base/")];
        assert_eq!(read(TRACES, &http).unwrap().unwrap().url, "http://collector:4318/base/v1/traces");
        for (insecure, scheme) in [("false", "https"), ("true", "http")] {
            let bare = [(ENDPOINT, "collector:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
            assert_eq!(read(TRACES, &bare).unwrap().unwrap().url.scheme_str(), Some(scheme));
        }
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
        for (protocol, endpoint) in [("grpc", "http://u:hunter2@h"), ("http/protobuf", "https://hunter2@h:1/x")] {
            let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), (ENDPOINT, endpoint)];
            let refused = read(TRACES, &variables).unwrap_err();
            assert!(refused.contains("can't have a user") && !refused.contains("hunter2"), "{refused}");
        }
        let headers = read(TRACES, &[URL, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]).unwrap_err();
        assert!(!headers.contains("hunter2"), "{headers}");
        let sent = read(TRACES, &[URL, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, b=2,")]);
        let headers = sent.unwrap().unwrap().headers;
        assert_eq!((&headers["authorization"], &headers["b"]), (&"Bearer x".parse().unwrap(), &"2".parse().unwrap()));
    }
}
