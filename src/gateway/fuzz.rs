//! Fuzz targets of what the gateway reads from strangers: signatures, headers and bodies.
//!
//! None of them may panic. What is taken has to be what was signed, and what is refused gets a small answer.

use hmac::{Hmac, KeyInit, Mac};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use sha2::Sha256;

use super::{
    reply::Reply,
    request::{self, BadRequest, Event, stripe},
    signature::{
        standard::{WebhookAuth, WebhookSecret},
        stripe::{StripeSecret, verify},
    },
};
use crate::fuzz::{Corpus, ITERATIONS, Mutation, fuzz};

/// The time at which the corpora's events arrive.
const NOW: i64 = 1_760_000_000;
/// The secret of Standard Webhooks, and the bytes that it stands for.
const SECRET: &str = "whsec_Zmxhc2hzYWxlLWZ1enotc2VjcmV0LTAwMDE=";
const SECRET_BYTES: &[u8] = b"flashsale-fuzz-secret-0001";
const STRIPE_SECRET: &str = "whsec_flashsale_fuzz";
/// Limits the bytes of an answer with all its headers.
const ANSWER_MAX: usize = 8 * 1024;

/// Cuts an input into headers, one a line, and the body behind the first empty line. What can't be a header is left out.
fn request(input: &[u8]) -> (HeaderMap, &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, body)
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Tells whether any value of a header has the text in it.
fn has(headers: &HeaderMap, names: &[&str], text: &str) -> bool {
    let values = names.iter().flat_map(|name| headers.get_all(*name));
    values.into_iter().any(|value| String::from_utf8_lossy(value.as_bytes()).contains(text))
}

fn first<'h>(headers: &'h HeaderMap, names: &[&str]) -> &'h [u8] {
    names.iter().find_map(|name| headers.get(*name)).map(HeaderValue::as_bytes).unwrap_or_default()
}

#[test]
fn standard_webhooks_are_taken_only_with_the_right_signature() {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let auth = WebhookAuth::Signed(vec![WebhookSecret::parse(SECRET).unwrap()]);
    let is_taken = |input: &[u8]| {
        let (headers, body) = request(input);
        auth.verify(&headers, body, NOW).is_ok()
    };
    let check = |input: &[u8]| {
        if !is_taken(input) {
            return;
        }
        let (headers, body) = request(input);
        let id = first(&headers, &["webhook-id", "svix-id"]);
        let timestamp = first(&headers, &["webhook-timestamp", "svix-timestamp"]);
        let signature = BASE64_STANDARD.encode(mac(SECRET_BYTES, &[id, b".", timestamp, b".", body]));
        assert!(has(&headers, &["webhook-signature", "svix-signature"], &signature), "{headers:?}");
        let sent: i64 = str::from_utf8(timestamp).unwrap().parse().unwrap();
        assert!(sent.abs_diff(NOW) <= 300 && !id.contains(&b'.'), "{headers:?}");
    };
    fuzz!("standard_webhooks", is_taken, check);
}

#[test]
fn stripes_events_are_taken_only_with_the_right_signature() {
    let secrets = [StripeSecret::parse(STRIPE_SECRET).unwrap()];
    let is_taken = |input: &[u8]| {
        let (headers, body) = request(input);
        verify(&secrets, &headers, body, NOW).is_ok()
    };
    let check = |input: &[u8]| {
        if !is_taken(input) {
            return;
        }
        let (headers, body) = request(input);
        let header = String::from_utf8_lossy(first(&headers, &["stripe-signature"])).into_owned();
        let timestamp = header.split(',').find_map(|part| part.strip_prefix("t=")).unwrap();
        let signature = mac(STRIPE_SECRET.as_bytes(), &[timestamp.as_bytes(), b".", body]);
        assert!(header.contains(&base16ct::lower::encode_string(&signature)), "{header}");
        assert!(timestamp.parse::<i64>().unwrap().abs_diff(NOW) <= 300, "{header}");
    };
    fuzz!("stripe_signatures", is_taken, check);
}

/// Fails if the answer to a bad request is large.
fn assert_small(fault: BadRequest) {
    let response = axum::response::IntoResponse::into_response(Reply::from(fault));
    let headers: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let body = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = body.or_else(|| axum::body::HttpBody::size_hint(response.body()).exact()).unwrap();
    assert!(headers as u64 + body <= ANSWER_MAX as u64, "{headers} and {body} bytes");
}

/// Fails if a field isn't what another reader of JSON finds in the body.
fn assert_read(body: &[u8], path: &str, read: impl Into<Value>) {
    let whole: Value = serde_json::from_slice(body).unwrap();
    let found = whole.pointer(path).cloned().unwrap_or(Value::Null);
    assert_eq!(read.into(), found, "{path} of {}", String::from_utf8_lossy(body));
}

#[test]
fn json_bodies_are_read_as_they_are_or_named_as_faulty() {
    // Numbers that another reader rounds, and texts that it refuses, aren't compared.
    let comparable = |body: &[u8]| serde_json::from_slice::<Value>(body).is_ok();
    let is_valid = |input: &[u8]| {
        let (headers, body) = request(input);
        request::create_hold(&headers, body).is_ok()
            || request::create_order(&headers, body).is_ok()
            || request::payment_webhook(&headers, body).is_ok()
    };
    let check = |input: &[u8]| {
        let (headers, body) = request(input);
        match request::create_hold(&headers, body) {
            Ok(read) if comparable(body) => {
                assert_read(body, "/product_id", read.product_id);
                assert_read(body, "/qty", read.qty);
                assert_read(body, "/buyer_id", read.buyer_id);
            }
            Ok(_) => {}
            Err(fault) => assert_small(fault),
        }
        match request::create_order(&headers, body) {
            Ok(read) if comparable(body) => assert_read(body, "/hold_id", read.hold_id),
            Ok(_) => {}
            Err(fault) => assert_small(fault),
        }
        match request::payment_webhook(&headers, body) {
            Ok(read) if comparable(body) => {
                assert_read(body, "/idempotency_key", read.idempotency_key);
                assert_read(body, "/order_id", read.order_id);
                assert_read(body, "/amount_cents", read.amount_cents);
            }
            Ok(_) => {}
            Err(bad) => assert_small(bad.fault),
        }
    };
    fuzz!("json_bodies", is_valid, check);
}

#[test]
fn stripes_events_are_read_as_they_are_or_named_as_faulty() {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let is_valid = |body: &[u8]| stripe::event(&headers, body).is_ok();
    let check = |body: &[u8]| match stripe::event(&headers, body) {
        Ok(Event::Payment(read)) if serde_json::from_slice::<Value>(body).is_ok() => {
            assert!(read.order_id >= 1, "{read:?}");
            assert_read(body, "/id", read.idempotency_key);
            assert_read(body, "/data/object/id", read.payment_id);
        }
        Ok(Event::Payment(_) | Event::Ignored(_)) => {}
        Err(bad) => assert_small(bad.fault),
    };
    fuzz!("stripe_events", is_valid, check);
}
