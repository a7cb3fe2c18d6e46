use http::HeaderValue;

use super::*;

const MAX: i64 = i64::MAX;

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

fn with_key(key: &[u8]) -> HeaderMap {
    let mut headers = json_headers();
    headers.insert(REQUEST_ID_HEADER, HeaderValue::from_bytes(key).unwrap());
    headers
}

fn hold(body: &str) -> Result<CreateHoldRequest, BadRequest> {
    create_hold(&json_headers(), body.as_bytes())
}

fn webhook(body: &str) -> Result<HandlePaymentWebhookRequest, BadWebhook> {
    payment_webhook(&json_headers(), body.as_bytes())
}

#[test]
fn a_hold_is_read_whatever_else_is_in_the_body() {
    let plain = CreateHoldRequest { product_id: 1, qty: 5, ..Default::default() };
    let same = [
        r#"{"product_id":1,"qty":5}"#,
        " \r\n\t{ \"qty\" : 5 , \"product_id\" : 1 } \n",
        r#"{"product_id":1,"qty":5,"buyer_id":null}"#,
        r#"{"product_id":1,"qty":5,"colour":"red","x":{"y":[1e400,{"z":null}]}}"#,
        r#"{"product_id":"x","qty":-1,"product_id":1,"qty":5}"#,
        r#"{"product\u005fid":1,"qty":5,"Qty":7}"#,
    ];
    for body in same {
        assert_eq!(hold(body), Ok(plain.clone()), "{body}");
    }
    let deep = format!(r#"{{"product_id":1,"qty":5,"deep":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(hold(&deep), Ok(plain.clone()));

    let largest = hold(&format!(r#"{{"product_id":{MAX},"qty":2147483647}}"#)).unwrap();
    assert_eq!((largest.product_id, largest.qty), (MAX, i32::MAX));
    let buyer = hold(r#"{"product_id":1,"qty":5,"buyer_id":"\u0062uyer~1"}"#).unwrap();
    assert_eq!(buyer.buyer_id.as_deref(), Some("buyer~1"));
    let keyed = create_hold(&with_key(b"key-1"), br#"{"product_id":1,"qty":5}"#).unwrap();
    assert_eq!(keyed.request_id.as_deref(), Some("key-1"));
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let ids = [
        "1.0",
        "1e0",
        "1e400",
        "\"1\"",
        "true",
        "[1]",
        "{}",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999",
        "\"\"",
    ];
    for id in ids {
        let faulty = Err(BadRequest::Fields(vec![("product_id", INTEGER_64)]));
        assert_eq!(hold(&format!(r#"{{"product_id":{id},"qty":5}}"#)), faulty, "{id}");
        let order = format!(r#"{{"hold_id":{id}}}"#);
        let faulty = Err(BadRequest::Fields(vec![("hold_id", INTEGER_64)]));
        assert_eq!(create_order(&json_headers(), order.as_bytes()), faulty, "{id}");
    }
    for qty in ["5.0", "\"5\"", "2147483648", "4294967297", "1e400", "[]"] {
        let faulty = Err(BadRequest::Fields(vec![("qty", INTEGER_32)]));
        assert_eq!(hold(&format!(r#"{{"product_id":1,"qty":{qty}}}"#)), faulty, "{qty}");
    }
    for buyer in ["\"\\ud800\"", "7", "[]"] {
        let body = format!(r#"{{"product_id":1,"qty":5,"buyer_id":{buyer}}}"#);
        let faulty = Err(BadRequest::Fields(vec![("buyer_id", STRING)]));
        assert_eq!(hold(&body), faulty, "{buyer}");
    }
}

#[test]
fn bounds_are_left_to_the_server() {
    let long = "b".repeat(65);
    for (product_id, qty, buyer_id) in [(0, 0, ""), (-1, -5, "a b"), (i64::MIN, i32::MIN, "ü"), (1, 1, &long)] {
        let body = serde_json::json!({"product_id": product_id, "qty": qty, "buyer_id": buyer_id}).to_string();
        let expected = CreateHoldRequest { product_id, qty, buyer_id: Some(buyer_id.to_owned()), ..Default::default() };
        assert_eq!(hold(&body), Ok(expected));
    }
    let read = webhook(r#"{"idempotency_key":"","order_id":0,"status":"success","amount_cents":-1}"#).unwrap();
    assert_eq!((read.idempotency_key.as_str(), read.order_id, read.amount_cents), ("", 0, Some(-1)));
}

#[test]
fn all_fields_at_fault_are_named_at_once() {
    let body = br#"{"product_id":null,"qty":"5","buyer_id":7}"#;
    let expected =
        vec![("product_id", REQUIRED), ("qty", INTEGER_32), ("buyer_id", STRING), (REQUEST_ID_HEADER, ASCII_HEADER)];
    let faulty = create_hold(&with_key(b"\xff"), body);
    assert_eq!(faulty, Err(BadRequest::Fields(expected)));
    let nothing = vec![("product_id", REQUIRED), ("qty", REQUIRED)];
    assert_eq!(hold("{}"), Err(BadRequest::Fields(nothing)));
    let order = create_order(&with_key(b"\xff"), b"{}");
    let expected = vec![("hold_id", REQUIRED), (REQUEST_ID_HEADER, ASCII_HEADER)];
    assert_eq!(order, Err(BadRequest::Fields(expected)));
}

#[test]
fn the_idempotency_key_header_is_ascii_text_and_given_once() {
    let body = br#"{"hold_id":123}"#;
    let long = [b'k'; 65];
    for key in [&b"k"[..], b"!~\"quoted\"", b"", b"a b", &long] {
        let order = create_order(&with_key(key), body).unwrap();
        assert_eq!(order.request_id.unwrap().as_bytes(), key);
    }
    let faulty = Err(BadRequest::Fields(vec![(REQUEST_ID_HEADER, ASCII_HEADER)]));
    for key in [&b"\xff"[..], "ü".as_bytes()] {
        assert_eq!(create_order(&with_key(key), body), faulty, "{key:?}");
    }
    let mut twice = with_key(b"a");
    twice.append(REQUEST_ID_HEADER, HeaderValue::from_static("a"));
    assert_eq!(create_order(&twice, body), faulty);
}

#[test]
fn a_webhook_is_read_and_its_key_passed_on_byte_for_byte() {
    let longest = "k".repeat(255);
    let keys = ["webhook-key-123", "K ", " k", "ключ", "a\u{0}b", "\u{1F4B6}", longest.as_str()];
    for key in keys {
        let written = serde_json::to_string(key).unwrap();
        let body = format!(r#"{{"idempotency_key":{written},"order_id":456,"status":"success"}}"#);
        let read = webhook(&body).unwrap();
        assert_eq!(read.idempotency_key, key);
        assert_eq!((read.order_id, read.amount_cents), (456, None));
        assert_eq!(read.status(), PaymentStatus::Success);
    }
    let body = r#"{"idempotency_key":"k","order_id":456,"status":"failure","amount_cents":0}"#;
    let read = webhook(body).unwrap();
    assert_eq!(read.status(), PaymentStatus::Failure);
    assert_eq!(read.amount_cents, Some(0));
}

#[test]
fn a_webhook_at_fault_still_says_what_could_be_read_of_it() {
    for key in ["7", "[\"k\"]", "\"\\udc00\""] {
        let body = format!(r#"{{"idempotency_key":{key},"order_id":456,"status":"success"}}"#);
        let bad = webhook(&body).unwrap_err();
        let fault = BadRequest::Fields(vec![("idempotency_key", STRING)]);
        assert_eq!((bad.fault, bad.idempotency_key, bad.order_id), (fault, None, Some(456)), "{key}");
    }
    for status in ["\"SUCCESS\"", "\"paid\"", "\"\"", "1", "true", "[]", "\"success \""] {
        let body = format!(r#"{{"idempotency_key":"k","order_id":456,"status":{status}}}"#);
        let bad = webhook(&body).unwrap_err();
        let fault = BadRequest::Fields(vec![("status", EVENT_STATUS)]);
        assert_eq!(bad.fault, fault, "{status}");
        assert_eq!((bad.idempotency_key.as_deref(), bad.order_id), (Some("k"), Some(456)));
    }
    for amount in ["1.0", "\"1\"", "9223372036854775808", "true"] {
        let body = format!(r#"{{"idempotency_key":"k","order_id":456,"status":"success","amount_cents":{amount}}}"#);
        let fault = BadRequest::Fields(vec![("amount_cents", INTEGER_64)]);
        assert_eq!(webhook(&body).unwrap_err().fault, fault, "{amount}");
    }
    let nothing = vec![("idempotency_key", REQUIRED), ("order_id", REQUIRED), ("status", REQUIRED)];
    assert_eq!(webhook("{}").unwrap_err(), BadRequest::Fields(nothing).into());
}

#[test]
fn what_is_not_json_is_told_from_json_that_is_not_an_object() {
    let not_json = [
        "",
        " ",
        "{",
        "{]",
        "{\"product_id\":1,}",
        "{'product_id':1}",
        "nul",
        "\u{feff}{}",
        "{} {}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"\\ud800\":1}",
        "product_id=1&qty=5",
    ];
    for body in not_json {
        assert_eq!(hold(body), Err(BadRequest::NotJson), "{body}");
    }
    let bytes: [&[u8]; 3] = [b"\xff\xfe", b"{\"a\":\"\xff\"}", b"{\"a\":\"\xc0\xaf\"}"];
    for body in bytes {
        let read = create_hold(&json_headers(), body);
        assert_eq!(read, Err(BadRequest::NotJson), "{body:?}");
    }
    for body in ["null", "[]", "[{}]", "\"{}\"", "5", "1e400", "true", " [] "] {
        assert_eq!(hold(body), Err(BadRequest::NotAnObject), "{body}");
    }
}

#[test]
fn the_content_type_must_be_json() {
    let body = br#"{"hold_id":123}"#;
    let accepted = [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;odd",
        "application/cloudevents+json",
        "application/vnd.api+JSON ; version=1",
    ];
    let refused = [
        "",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/+json",
        "application/x-www-form-urlencoded",
        "application",
        "json",
        "text/plain; a=application/json",
        "application/json, text/plain",
    ];
    let read = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().unwrap());
        create_order(&headers, body)
    };
    for value in accepted {
        assert!(read(value).is_ok(), "{value}");
    }
    for value in refused {
        assert_eq!(read(value), Err(BadRequest::NotDeclaredJson), "{value}");
    }
    let missing = create_order(&HeaderMap::new(), body);
    assert_eq!(missing, Err(BadRequest::NotDeclaredJson));
    let mut twice = json_headers();
    twice.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    assert_eq!(create_order(&twice, body), Err(BadRequest::NotDeclaredJson));
}

#[test]
fn an_id_in_a_path_is_a_positive_number_of_digits() {
    for (segment, id) in [("1", 1), ("007", 7), ("9223372036854775807", MAX)] {
        assert_eq!(decimal_id(segment), Some(id), "{segment}");
    }
    let none = [
        "",
        "0",
        "-1",
        "+1",
        "1.0",
        "1e3",
        " 1",
        "1 ",
        "x",
        "0x1",
        "١",
        "9223372036854775808",
        "99999999999999999999999999999",
    ];
    for segment in none {
        assert_eq!(decimal_id(segment), None, "{segment}");
    }
}

/// Calls `read` with 20,000 copies of a good body, in each of which up to three bytes are others.
pub(super) fn each_mangled(good: &[u8], mut read: impl FnMut(&[u8])) {
    let mut random: u32 = 1;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) as usize
    };
    for _ in 0..20_000 {
        let mut body = good.to_vec();
        for _ in 0..=next() % 3 {
            let at = next() % body.len();
            body[at] = next() as u8;
        }
        read(&body);
    }
}

#[test]
fn no_mangled_body_is_more_than_a_fault() {
    let good = br#"{"idempotency_key":"webhook-key-123","order_id":456,"status":"success"}"#;
    each_mangled(good, |body| {
        if let Ok(read) = payment_webhook(&json_headers(), body) {
            assert_ne!(read.status(), PaymentStatus::Unspecified);
        }
    });
}
