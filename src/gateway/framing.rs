//! Refuses requests that a proxy in front may have read in another way.
//!
//! Two programs that disagree on where a request ends, or on whom it is for, let a caller hide a second request in the
//! first. So what the HTTP library takes, and another program might read otherwise, is refused and the connection closed:
//!
//! | what | who refuses it |
//! |---|---|
//! | no `Host` in HTTP/1.1, several, or one that is no host | this file: 400 BAD_REQUEST |
//! | a `Host` that isn't the `:authority` of HTTP/2, or the host of an absolute target | this file |
//! | `Transfer-Encoding` that isn't exactly `chunked`, once | this file, where the last encoding is `chunked` |
//! | any other `Transfer-Encoding`, and any in HTTP/1.0 | the library: 400 without a body |
//! | in HTTP/2 a `Transfer-Encoding` | the library: RST_STREAM |
//! | two lengths that differ, or one that is no number | the library: 400 without a body |
//!
//! With `Transfer-Encoding: chunked` and a `Content-Length` the library goes by the chunks, and closes the connection
//! after the one answer, as RFC 9112 asks (section 6.1). It takes the length away before this file could see it.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING},
    uri::Authority,
};

use super::reply::Reply;

/// Returns the refusal of a request whose host or framing isn't certain.
pub(super) fn refuse(request: &Request) -> Option<Response> {
    let message = fault(request)?;
    let mut response = Reply::bad_request(message).into_response();
    // HTTP/2 has no such header: each request is framed by itself there.
    if request.version() < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(response)
}

fn fault(request: &Request) -> Option<&'static str> {
    const HOST_FAULT: &str = "The header Host must be there once, and be the host that the request is for";
    if !has_one_host(request) {
        return Some(HOST_FAULT);
    }
    (!is_framed_once(request.headers())).then_some("The header Transfer-Encoding can only be chunked, once")
}

/// Whether at most one host is named. HTTP/1.1 has to name one; HTTP/2 does by its `:authority`.
fn has_one_host(request: &Request) -> bool {
    let mut values = request.headers().get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(host), None) => is_host(host) && request.uri().authority().is_none_or(|authority| names(host, authority)),
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Whether this is a host, perhaps with a port, and nothing else.
fn is_host(host: &HeaderValue) -> bool {
    Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@'))
}

fn names(host: &HeaderValue, authority: &Authority) -> bool {
    host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
}

/// Whether the body is framed by chunks alone, or isn't by any transfer encoding.
fn is_framed_once(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}
