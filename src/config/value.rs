//! Reading single values. The errors say what was expected; who calls adds the setting and the value.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use secrecy::SecretString;

/// Keeps a secret as it is: an error here would be one of `clap`'s, and those repeat the value.
pub(super) fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, like 127.0.0.1:8000 or [::1]:8000".to_owned())
}

/// A whole number from 1 to `max`.
pub(super) fn count(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(format!("expected a whole number from 1 to {max}")),
    }
}

pub(super) fn any_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("expected a duration like 120s or 30m: {error}"))
}

/// A duration from `min` to `max`, both included, which `bounds` says in words.
pub(super) fn duration(text: &str, min: Duration, max: Duration, bounds: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if (min..=max).contains(&duration) {
        return Ok(duration);
    }
    Err(format!("expected a duration {bounds}"))
}

/// The database's times have microseconds.
pub(super) fn whole_microseconds(duration: Duration) -> Result<Duration, String> {
    if duration.subsec_nanos().is_multiple_of(1_000) {
        return Ok(duration);
    }
    Err("expected whole microseconds".to_owned())
}

/// What a gRPC client can connect to. It takes only scheme, host and port of it: anything more would be ignored, and is
/// refused here.
pub(super) fn server_url(text: &str) -> Result<http::Uri, String> {
    let expected = |what: &str| Err(format!("expected {what}, like http://127.0.0.1:50051"));
    let Ok(uri) = text.parse::<http::Uri>() else { return expected("a URL") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return expected("a URL that starts with http:// or https://");
    }
    let Some(authority) = uri.authority() else { return expected("a URL with a host") };
    if authority.as_str().contains('@') {
        return expected("a URL without a user");
    }
    if authority.host().is_empty() {
        return expected("a URL with a host");
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return expected("a URL with a port from 0 to 65535");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return expected("a URL without a path");
    }
    Ok(uri)
}
