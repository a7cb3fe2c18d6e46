//! Decides about every call whether its caller may make it, and gives it a span, and a deadline that answers
//! DEADLINE_EXCEEDED.
//!
//! The verdict comes before anything of the body is read. Its answer has the same bytes whatever was called, so it says
//! nothing about what exists.
//!
//! A client has its own timer, which says nothing about the reason. So the timer of this layer ends a little earlier. When the deadline passes the handler is dropped. If its command still waits in a lane, the lane skips it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::{admin::principal_of, refused_calls, status, weight};
use crate::{
    access::{Access, Caller, Denied},
    checkout::operator_actions,
    domain::Principal,
    error::Error,
    listener::Peer,
    metrics::{self, Method},
    rpc_codes,
    spans::{
        self, Ends,
        rpc::{self, ServerCall},
    },
};

/// Limits the time that a use case may take, also where the caller sets no deadline.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Says how much earlier than the client's timer ours ends: a tenth of the time, within these bounds. Timers count
/// milliseconds.
const EARLIER_MIN: Duration = Duration::from_millis(2);
const EARLIER_MAX: Duration = Duration::from_millis(5);

/// Wraps each service in a [`Call`].
#[derive(Debug, Clone)]
pub(super) struct CallLayer {
    /// Who may call what.
    pub(super) access: Access,
}

/// Adds a verdict, a span and a deadline to each call of a service.
#[derive(Debug, Clone)]
pub(super) struct Call<S> {
    inner: S,
    access: Access,
}

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;

    fn layer(&self, inner: S) -> Call<S> {
        Call { inner, access: self.access.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for Call<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default + Send,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let began = Instant::now();
        let method = Method::of_path(request.uri().path());
        let rpc = method.and_then(Method::path);
        // The time starts now: on a busy machine the first poll of the call may come later.
        let deadline = began + time_limit(request.headers());
        let verdict = verdict(&self.access, &request);
        let span = span(rpc, &request, verdict.as_ref().map_or_else(Denied::principal, Caller::principal));
        let measured = method.map(|method| metrics::measure_served_call(method, began.into_std()));
        let call = verdict.map(|caller| {
            let operator = Operator::of(rpc, &caller);
            request.extensions_mut().insert(caller);
            (self.inner.call(request), operator)
        });
        Box::pin(async move {
            let answer = async {
                let (call, operator) = match call {
                    Ok(admitted) => admitted,
                    Err(denied) => return Ok(refusal(&denied).into_http()),
                };
                let answer = match tokio::time::timeout_at(deadline, call).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(status::of(&Error::DeadlineExceeded).into_http()),
                };
                answer.map(|response| if is_tonics(&response) { explained(response, operator) } else { response })
            };
            let answer = spans::in_span(span.ids(), answer).await;
            if let Ok(response) = &answer {
                let code = code_of(response);
                span.answered(code);
                // It was made just now, in this poll.
                let reason = status::take_last_reason().filter(|_| code != Code::Ok as i32);
                if let (Some(method), Some(reason)) = (method, reason) {
                    metrics::count_refusal(method, reason);
                }
                measured.into_iter().for_each(|measured| measured.ended(code));
            }
            answer
        })
    }
}

/// Decides whether the caller may make the call, and logs it where not.
fn verdict<B>(access: &Access, request: &Request<B>) -> Result<Caller, Denied> {
    let path = request.uri().path();
    // The listener puts it into each request.
    let peer = request.extensions().get::<Arc<Peer>>().ok_or(Denied::Unauthenticated { cause: "no connection" })?;
    let verdict = access.admit(path, request.headers(), peer);
    if let Err(denied) = &verdict {
        refused_calls::log(path, peer, denied);
    }
    verdict
}

fn refusal(denied: &Denied) -> Status {
    match denied {
        Denied::Unauthenticated { .. } => status::unauthenticated(),
        Denied::PermissionDenied { .. } => status::permission_denied(),
    }
}

/// Describes a call of an operator that changes something, so that it leaves a line even if it can't be read.
struct Operator {
    method: operator_actions::Method,
    principal: Principal,
}

impl Operator {
    fn of(rpc: Option<&'static str>, caller: &Caller) -> Option<Self> {
        let method = operator_actions::Method::of_path(rpc?)?;
        Some(Self { method, principal: principal_of(Some(caller)) })
    }
}

/// Starts the span of a call. Health checks and reflection have none: they would be most of the spans of a quiet day.
fn span<B>(known: Option<&'static str>, request: &Request<B>, principal: Option<&Arc<str>>) -> ServerCall {
    let path = request.uri().path();
    let method = match known {
        Some(known) => rpc::Method::Known(&known[1..]),
        None if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") => {
            return ServerCall::none();
        }
        None => rpc::Method::Unknown(path.strip_prefix('/').unwrap_or(path)),
    };
    let ends: Ends = request.extensions().get().copied().unwrap_or_default();
    ServerCall::start(method, request.headers(), ends, principal)
}

/// Returns the status code of an answer. An answer that has it only behind its message is OK: so are all with a message.
fn code_of<R>(response: &Response<R>) -> i32 {
    let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
    code.map_or(0, |code| code.parse().unwrap_or(Code::Unknown as i32))
}

/// Returns how long a call may take to its answer. A health watch or a reflection stream has begun to answer by then.
fn time_limit(headers: &HeaderMap) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    let ours = asked.map(|asked| {
        let earlier = (asked / 10).clamp(EARLIER_MIN, EARLIER_MAX);
        asked.saturating_sub(earlier).min(DEADLINE_MAX)
    });
    ours.unwrap_or(DEADLINE_MAX)
}

/// Reads the header grpc-timeout: up to 8 digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Whether an answer is an error that tonic made before a handler saw the call: it has no details.
fn is_tonics<R>(response: &Response<R>) -> bool {
    response.headers().contains_key("grpc-status") && !response.headers().contains_key("grpc-status-details-bin")
}

/// Adds the details to an error of tonic's, and logs the call of an operator that it ends.
fn explained<R: Default>(response: Response<R>, operator: Option<Operator>) -> Response<R> {
    let response = with_details(response);
    if let (Some(Operator { method, principal }), code @ 1..) = (operator, code_of(&response)) {
        operator_actions::record_early(&principal, method, rpc_codes::name(code));
    }
    response
}

/// Adds the details that every error has to the errors that tonic made before a handler saw the call.
///
/// A message that is too large or can't be decoded is the caller's fault. So is an unknown method or compression.
fn with_details<R: Default>(response: Response<R>) -> Response<R> {
    let Some(tonics) = Status::from_header_map(response.headers()) else { return response };
    match tonics.code() {
        Code::OutOfRange | Code::Internal => status::bad_message(tonics.message()).into_http(),
        Code::Unimplemented => status::unimplemented(tonics).into_http(),
        code => weight::bare_status(code, tonics.message(), tonics.metadata().clone()).into_http(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::pb::FILE_DESCRIPTOR_SET;

    fn rpc_of(path: &str) -> Option<&'static str> {
        Method::of_path(path)?.path()
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("5", None),
            ("999999999S", None),
            ("-1S", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(value), expected, "{value:?}");
        }
    }

    #[test]
    fn every_rpc_of_the_definition_has_a_span_and_a_deadline() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let ours = files.iter().filter(|file| file.package() == "flashsale.v1");
        let services = ours.flat_map(|file| &file.service);
        let rpcs: Vec<(&str, &str)> =
            services.flat_map(|service| service.method.iter().map(|rpc| (service.name(), rpc.name()))).collect();
        assert!(rpcs.len() >= 13, "{rpcs:?}");
        for (service, rpc) in rpcs {
            let path = format!("/flashsale.v1.{service}/{rpc}");
            assert_eq!(rpc_of(&path), Some(&*path));
        }
        for other in ["/grpc.health.v1.Health/Watch", "/flashsale.v1.FlashSaleService/createHold", "", "/"] {
            assert_eq!(rpc_of(other), None, "{other}");
        }
    }

    #[test]
    fn our_deadline_is_before_the_clients() {
        let mut headers = HeaderMap::new();
        assert_eq!(time_limit(&headers), DEADLINE_MAX);
        for (asked, ours) in [("1S", 995), ("30m", 27), ("10m", 8), ("1m", 0), ("0S", 0), ("99999999H", 60_000)] {
            headers.insert("grpc-timeout", asked.parse().unwrap());
            assert_eq!(time_limit(&headers), Duration::from_millis(ours), "{asked}");
        }
    }
}
