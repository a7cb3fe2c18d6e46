//! Why a call has no response, and whether it may have reached the server.
//!
//! tonic reports a connection that broke on the way as CANCELLED, UNKNOWN or INTERNAL, codes that mean something else
//! where a server sends them. So a status is told apart by where it was made: one that was made in this program has a
//! source, and the source says how far the call came.

use std::{error::Error, fmt};

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::refusal::{Refusal, Refused};

/// Begins tonic's message where an answer was cut off by a proxy, or by a reset that says nothing.
const CUT_ANSWER: &str = "protocol error: missing grpc-status trailer";

/// Says why a call has no response.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The service refused, and said why.
    #[error("{}: {}", .0.info().reason, .0.status().message())]
    Refused(Box<Refused>),
    /// The time was up. Nobody knows whether the server did anything.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The call never reached the server: there is no connection, or it was just being closed.
    #[error("the server can't be reached: {}{}", .0.message(), RootCause(.0))]
    NotSent(Status),
    /// The connection broke, or something on the way to the server did. Nobody knows whether the server did anything.
    #[error("the connection to the server broke: {}{}", .0.message(), RootCause(.0))]
    Broken(Status),
    /// The service never gives this answer. It is a bug, or another program answers at the address.
    #[error("unexpected answer of the server: {:?}: {}", .0.code(), .0.message())]
    Unexplained(Status),
}

impl CallError {
    /// Returns why the service refused. `None`: it didn't refuse, or can't be reached.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refused) => Some(refused.refusal()),
            Self::TimedOut | Self::NotSent(_) | Self::Broken(_) | Self::Unexplained(_) => None,
        }
    }

    /// Whether there was no connection at all, so that the next try at the same address needs a new one.
    pub(crate) fn had_no_connection(&self) -> bool {
        matches!(self, Self::NotSent(status) if causes(status).any(|cause| cause.is::<ConnectError>()))
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if let Some(refused) = Refused::read(&status) {
            return Self::Refused(Box::new(refused));
        }
        if causes(&status).any(never_left) {
            return Self::NotSent(status);
        }
        let made_here = status.source().is_some();
        match status.code() {
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Cancelled if !made_here || causes(&status).any(|cause| cause.is::<TimeoutExpired>()) => {
                Self::TimedOut
            }
            Code::Unavailable => Self::Broken(status),
            Code::Unknown if status.message().starts_with(CUT_ANSWER) => Self::Broken(status),
            _ if made_here => Self::Broken(status),
            _ => Self::Unexplained(status),
        }
    }
}

/// Whether a cause shows that the call surely never reached the server.
fn never_left(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        // hyper cancels only what it has not begun to send: the connection was closed meanwhile. The one call that waits
        // for a free stream at that moment is forgotten instead. Its message was never sent, so nobody has carried it out.
        return error.is_canceled() || (error.is_user() && error.source().is_some_and(is_forgotten));
    }
    if let Some(error) = cause.downcast_ref::<h2::Error>() {
        // A server that closes a connection names the last call that it takes. The calls after it get this error.
        let told_to_go = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let turned_away = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        return error.is_remote() && (told_to_go || turned_away);
    }
    cause.is::<ConnectError>()
}

/// Whether hyper says that it dropped a call while the connection ended. It has no other sign than this text.
fn is_forgotten(cause: &(dyn Error + 'static)) -> bool {
    cause.to_string() == "runtime dropped the dispatch task"
}

/// Returns the causes of a status, the innermost last.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error: &&(dyn Error + 'static)| (*error).source())
}

/// Shows the innermost cause of a status that was made in this program. The outer message says little.
struct RootCause<'a>(&'a Status);

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match causes(self.0).last() {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    /// Wraps an error like a transport does: the cause is its source.
    #[derive(Debug)]
    struct Wrapped<E>(E);

    impl<E: Error + 'static> fmt::Display for Wrapped<E> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("transport error")
        }
    }

    impl<E: Error + 'static> Error for Wrapped<E> {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn made_here(cause: impl Error + Send + Sync + 'static) -> CallError {
        CallError::from(Status::from_error(Box::new(Wrapped(cause))))
    }

    #[test]
    fn an_error_info_of_the_service_is_a_refusal_whatever_the_code() {
        for code in [Code::NotFound, Code::Cancelled, Code::Unavailable, Code::Unknown] {
            let details = ErrorDetails::with_error_info("SOME_REASON", "flashsale", HashMap::new());
            let error = CallError::from(Status::with_error_details(code, "text", details));
            assert!(
                matches!(&error, CallError::Refused(refused) if refused.info().reason == "SOME_REASON"),
                "{error:?}"
            );
        }
        for (reason, domain) in [("SOME_REASON", "googleapis.com"), ("", "flashsale")] {
            let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
            let error = CallError::from(Status::with_error_details(Code::Internal, "text", details));
            assert!(matches!(error, CallError::Unexplained(_)), "{error:?}");
        }
    }

    #[test]
    fn a_status_without_a_reason_is_told_apart_by_where_it_was_made() {
        let from_wire = |code| CallError::from(Status::new(code, "said by something at that address"));
        for code in [Code::Cancelled, Code::DeadlineExceeded] {
            assert!(matches!(from_wire(code), CallError::TimedOut), "{code:?}");
        }
        assert!(matches!(from_wire(Code::Unavailable), CallError::Broken(_)));
        for code in [Code::Unknown, Code::Internal, Code::NotFound, Code::Unimplemented] {
            assert!(matches!(from_wire(code), CallError::Unexplained(_)), "{code:?}");
        }

        let expired = made_here(TimeoutExpired(()));
        assert!(matches!(expired, CallError::TimedOut), "{expired:?}");
        let broken = made_here(std::io::Error::other("connection reset"));
        assert!(matches!(broken, CallError::Broken(_)), "{broken:?}");
        let cut = format!("{CUT_ANSWER}, stream was terminated without a final status");
        let cut = CallError::from(Status::unknown(cut));
        assert!(matches!(cut, CallError::Broken(_)), "{cut:?}");
    }

    #[test]
    fn only_what_surely_never_reached_the_server_counts_as_not_sent() {
        let no_connection = made_here(ConnectError("connection refused".into()));
        assert!(no_connection.had_no_connection(), "{no_connection:?}");
        assert!(no_connection.to_string().ends_with("connection refused"), "{no_connection}");
        // An error that this program makes itself is none of the server's words.
        for reason in [h2::Reason::NO_ERROR, h2::Reason::REFUSED_STREAM, h2::Reason::PROTOCOL_ERROR] {
            let own = made_here(h2::Error::from(reason));
            assert!(matches!(own, CallError::Broken(_)), "{own:?}");
        }
    }
}
