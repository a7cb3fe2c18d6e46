//! Calls: how long they took, how they ended, and why they were refused.
//!
//! The names are those of OpenTelemetry's conventions for gRPC. Its methods are those of the service definition and the
//! health check. Any other is `_OTHER`, because a caller may make up names without end. Health watches and reflection
//! are streams, which last as long as their callers like; they are not measured.

use std::{fmt, sync::LazyLock, time::Instant};

use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, Counter},
};

use super::{
    handles::Histograms,
    labels::{OTHER, REASONS},
    pipeline::meter,
};
use crate::{pb::RPCS, rpc_codes};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// Lists how the paths of streams begin.
const STREAMS: [&str; 2] = ["/grpc.health.v1.Health/Watch", "/grpc.reflection."];

/// Bounds the buckets of durations of calls, in seconds: the advice of the conventions.
pub(super) const CALL_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static SERVED: LazyLock<Histograms> =
    LazyLock::new(|| durations("rpc.server.call.duration", "How long calls took that the server answered"));
static CALLED: LazyLock<Histograms> =
    LazyLock::new(|| durations("rpc.client.call.duration", "How long calls to the server took"));
static REFUSALS: LazyLock<Refusals> = LazyLock::new(refusals);

/// Counts refusals, by method and by reason.
struct Refusals {
    counter: Counter<u64>,
    /// By the numbers of the methods, and the places of the reasons in [`REASONS`].
    known: Vec<Vec<BoundCounter<u64>>>,
}

/// Names a method in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(usize);

impl Method {
    const COUNT: usize = RPCS.len() + 2;
    const HEALTH_CHECK: Self = Self(RPCS.len());
    const OTHER: Self = Self(RPCS.len() + 1);

    /// Returns the method of a path such as `/flashsale.v1.FlashSaleService/CreateHold`. `None`: a stream.
    pub fn of_path(path: &str) -> Option<Self> {
        if let Some(index) = RPCS.iter().position(|(rpc, _)| *rpc == path) {
            return Some(Self(index));
        }
        if path == HEALTH_CHECK {
            return Some(Self::HEALTH_CHECK);
        }
        (!STREAMS.iter().any(|stream| path.starts_with(stream))).then_some(Self::OTHER)
    }

    /// Returns the path of the method. `None`: no call of the product.
    pub fn path(self) -> Option<&'static str> {
        RPCS.get(self.0).map(|(path, _)| *path)
    }

    fn name(self) -> &'static str {
        match RPCS.get(self.0) {
            Some((path, _)) => &path[1..],
            None if self == Self::HEALTH_CHECK => &HEALTH_CHECK[1..],
            None => OTHER,
        }
    }
}

/// Measures a call until it ends. If it is dropped before, the call was cancelled.
pub struct Measured {
    method: Method,
    began: Instant,
    durations: &'static LazyLock<Histograms>,
    ended: bool,
}

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Measured {
    /// Records that the call has ended with this status code.
    pub fn ended(mut self, code: i32) {
        self.ended = true;
        self.record(code);
    }

    fn record(&self, code: i32) {
        let place = self.method.0 * rpc_codes::NAMES.len() + rpc_codes::place(code);
        self.durations.record(place, self.began.elapsed().as_secs_f64(), || labels(self.method, code));
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.ended {
            self.record(rpc_codes::CANCELLED);
        }
    }
}

/// Begins to measure a call that the server answers.
pub fn measure_served_call(method: Method, began: Instant) -> Measured {
    Measured { method, began, durations: &SERVED, ended: false }
}

/// Begins to measure a call to the server, by the name of its method.
pub fn measure_call_to_server(name: &str) -> Measured {
    let method = RPCS.iter().position(|(path, _)| path[1..] == *name).map_or(Method::OTHER, Method);
    Measured { method, began: Instant::now(), durations: &CALLED, ended: false }
}

/// Counts a call that was refused, or that failed, by its reason.
pub fn count_refusal(method: Method, reason: &'static str) {
    let Refusals { counter, known } = &*REFUSALS;
    let place = REASONS.iter().position(|known| *known == reason);
    match known.get(method.0).zip(place).and_then(|(by_reason, place)| by_reason.get(place)) {
        Some(bound) => bound.add(1),
        None => counter.add(1, &refusal(method, reason)),
    }
}

/// Shows the refusals from 0.
pub(super) fn start_server() {
    LazyLock::force(&REFUSALS);
}

fn durations(name: &'static str, description: &'static str) -> Histograms {
    let histogram = meter().f64_histogram(name).with_description(description).with_unit("s");
    Histograms::new(histogram.with_boundaries(CALL_BUCKETS.to_vec()).build(), Method::COUNT * rpc_codes::NAMES.len())
}

fn labels(method: Method, code: i32) -> Vec<KeyValue> {
    let mut labels = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method.name()),
        KeyValue::new("rpc.status_code", rpc_codes::name(code)),
    ];
    if rpc_codes::is_server_fault(code) {
        labels.push(KeyValue::new("error.type", rpc_codes::name(code)));
    }
    labels
}

fn refusal(method: Method, reason: &'static str) -> [KeyValue; 2] {
    [KeyValue::new("rpc.method", method.name()), KeyValue::new("reason", reason)]
}

fn refusals() -> Refusals {
    let counter = meter()
        .u64_counter("flashsale.refusals")
        .with_description("Calls that were refused or that failed, by reason")
        .with_unit("{call}")
        .build();
    let bind = |method: Method, reason: &'static str| {
        let bound = counter.bind(&refusal(method, reason));
        bound.add(0);
        bound
    };
    let methods = (0..Method::COUNT).map(Method);
    let known = methods.map(|method| REASONS.iter().map(|reason| bind(method, reason)).collect()).collect();
    Refusals { counter, known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_the_name_of_its_path_and_any_other_has_none() {
        for (path, name) in [
            ("/flashsale.v1.FlashSaleService/CreateHold", Some("flashsale.v1.FlashSaleService/CreateHold")),
            ("/grpc.health.v1.Health/Check", Some("grpc.health.v1.Health/Check")),
            ("/flashsale.v1.FlashSaleService/Secret", Some(OTHER)),
            ("/", Some(OTHER)),
            ("", Some(OTHER)),
            ("/grpc.health.v1.Health/Watch", None),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None),
        ] {
            assert_eq!(Method::of_path(path).map(Method::name), name, "{path:?}");
        }
    }

    #[test]
    fn only_faults_of_the_server_have_an_error_type() {
        for code in 0..17 {
            let has_type = labels(Method::OTHER, code).iter().any(|label| label.key.as_str() == "error.type");
            assert_eq!(has_type, rpc_codes::is_server_fault(code), "{code}");
        }
    }
}
