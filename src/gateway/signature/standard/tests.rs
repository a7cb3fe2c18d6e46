use hmac::Mac;
use standardwebhooks::Webhook;

use super::{
    super::tests::{NOW, SENT_AT},
    *,
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"idempotency_key":"webhook-key-123","order_id":456,"status":"success"}"#;

fn signed_with(secrets: &[&str]) -> WebhookAuth {
    let secrets = secrets.iter().map(|text| WebhookSecret::parse(text));
    WebhookAuth::Signed(secrets.collect::<Result<_, _>>().unwrap())
}

/// Signs with the independent sender.
fn signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    Webhook::new(secret).unwrap().sign(id, timestamp, body).unwrap()
}

fn headers(id: &str, timestamp: &str, signatures: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", timestamp.parse().unwrap());
    headers.insert("webhook-signature", signatures.parse().unwrap());
    headers
}

/// Verifies at [`NOW`] a well-signed message that was sent at `sent`.
fn sent_at(sent: i64) -> Result<(), SignatureError> {
    let signature = signature(SECRET, "msg_1", sent, BODY);
    let headers = headers("msg_1", &sent.to_string(), &signature);
    signed_with(&[SECRET]).verify(&headers, BODY, NOW)
}

#[test]
fn the_example_of_the_reference_implementation_is_accepted() {
    let headers =
        headers("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", "1649367553", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    let body = br#"{"email":"test@example.com","username":"test_user"}"#;
    let auth = signed_with(&[SECRET]);
    assert_eq!(auth.verify(&headers, body, 1_649_367_553), Ok(()));
}

#[test]
fn a_message_is_accepted_up_to_five_minutes_either_way() {
    for (sent, expected) in SENT_AT {
        assert_eq!(sent_at(sent), expected, "sent at {sent}");
    }
}

#[test]
fn a_timestamp_that_is_no_number_of_seconds_is_refused_whoever_signed_it() {
    let auth = signed_with(&[SECRET]);
    let odd = [
        "-1737981120",
        "+1737981120",
        "-9223372036854775808",
        "9223372036854775808",
        "99999999999999999999999999",
        "1737981120.0",
        "1.7e9",
        "0x6797",
        "now",
        "NaN",
        "17379 81120",
    ];
    for timestamp in odd {
        let signature = signature(SECRET, "msg_1", NOW, BODY);
        let headers = headers("msg_1", timestamp, &signature);
        let refused = auth.verify(&headers, BODY, NOW);
        assert_eq!(refused, Err(SignatureError::Timestamp), "{timestamp}");
    }
}

#[test]
fn only_a_signature_by_a_known_secret_over_this_very_message_fits() {
    let good = signature(SECRET, "msg_1", NOW, BODY);
    let other = signature(OTHER_SECRET, "msg_1", NOW, BODY);
    let base64 = good.strip_prefix("v1,").unwrap();
    let cases = [
        ("its own", good.clone(), true),
        ("another secret's", other.clone(), false),
        ("of another id", signature(SECRET, "msg_2", NOW, BODY), false),
        ("of another time", signature(SECRET, "msg_1", NOW - 1, BODY), false),
        ("of another body", signature(SECRET, "msg_1", NOW, b"{}"), false),
        ("second of two", format!("{other} {good}"), true),
        ("first of two", format!("{good} {other}"), true),
        ("after another version", format!("v1a,{base64} v2,x {good}"), true),
        ("only of another version", format!("v1a,{base64}"), false),
        ("without a version", base64.to_owned(), false),
        ("nothing after the version", "v1,".to_owned(), false),
        ("cut off", good[..good.len() - 4].to_owned(), false),
        ("grown", format!("{good}AAAA"), false),
        ("no Base64", "v1,*****".to_owned(), false),
        ("joined by a comma", format!("{other},{good}"), false),
        ("too far down the list", format!("{}{good}", "v1,AAAA ".repeat(16)), false),
    ];
    let auth = signed_with(&[SECRET]);
    for (what, signatures, accepted) in cases {
        let headers = headers("msg_1", &NOW.to_string(), &signatures);
        let expected = accepted.then_some(()).ok_or(SignatureError::Mismatch);
        assert_eq!(auth.verify(&headers, BODY, NOW), expected, "{what}");
    }
}

#[test]
fn while_a_secret_is_replaced_both_are_accepted() {
    let rotating = signed_with(&[OTHER_SECRET, SECRET]);
    for secret in [SECRET, OTHER_SECRET] {
        let signature = signature(secret, "msg_1", NOW, BODY);
        let headers = headers("msg_1", &NOW.to_string(), &signature);
        assert_eq!(rotating.verify(&headers, BODY, NOW), Ok(()));
    }
}

#[test]
fn without_any_secret_everything_is_refused() {
    let signature = signature(SECRET, "msg_1", NOW, BODY);
    let headers = headers("msg_1", &NOW.to_string(), &signature);
    let refused = signed_with(&[]).verify(&headers, BODY, NOW);
    assert_eq!(refused, Err(SignatureError::Mismatch));
    let unsigned = WebhookAuth::Unsigned;
    assert_eq!(unsigned.verify(&HeaderMap::new(), BODY, NOW), Ok(()));
}

#[test]
fn each_header_is_needed_exactly_once() {
    let auth = signed_with(&[SECRET]);
    let signature = signature(SECRET, "msg_1", NOW, BODY);
    let complete = headers("msg_1", &NOW.to_string(), &signature);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let refused = Err(SignatureError::Header(name));
        let mut missing = complete.clone();
        missing.remove(name);
        assert_eq!(auth.verify(&missing, BODY, NOW), refused, "{name} missing");
        let mut empty = complete.clone();
        empty.insert(name, "".parse().unwrap());
        assert_eq!(auth.verify(&empty, BODY, NOW), refused, "{name} empty");
        let mut twice = complete.clone();
        twice.append(name, complete[name].clone());
        assert_eq!(auth.verify(&twice, BODY, NOW), refused, "{name} twice");
    }
}

#[test]
fn each_header_may_have_the_name_that_svix_gives_it() {
    let auth = signed_with(&[SECRET]);
    let signature = signature(SECRET, "msg_1", NOW, BODY);
    let complete = headers("msg_1", &NOW.to_string(), &signature);
    let names = [ID, TIMESTAMP, SIGNATURE];
    for renamed in 0..1 << names.len() {
        let mut headers = complete.clone();
        for (_, [name, svix_name]) in names.iter().enumerate().filter(|(index, _)| renamed & (1 << index) != 0) {
            let value = headers.remove(*name).unwrap();
            headers.insert(*svix_name, value);
        }
        assert_eq!(auth.verify(&headers, BODY, NOW), Ok(()), "{headers:?}");
    }
    for [name, svix_name] in names {
        let refused = Err(SignatureError::Header(name));
        let mut both = complete.clone();
        both.insert(svix_name, complete[name].clone());
        assert_eq!(auth.verify(&both, BODY, NOW), Ok(()), "{svix_name} has the same value");
        for value in ["", "x"] {
            both.insert(svix_name, value.parse().unwrap());
            assert_eq!(auth.verify(&both, BODY, NOW), refused, "{svix_name} differs");
            let mut only_svix = both.clone();
            only_svix.remove(name);
            assert!(auth.verify(&only_svix, BODY, NOW).is_err(), "{svix_name} is {value:?}");
        }
        let mut twice = complete.clone();
        twice.append(svix_name, complete[name].clone());
        twice.append(svix_name, complete[name].clone());
        assert_eq!(auth.verify(&twice, BODY, NOW), Err(SignatureError::Header(svix_name)), "{svix_name} twice");
    }
}

#[test]
fn a_full_stop_cannot_move_from_the_body_to_the_id() {
    // One signed text can be cut in two ways: the id "a" with a body that begins with a number and a full stop, or the
    // id "a.NOW" with the rest as the body.
    let body = format!("{NOW}.{{}}");
    let signature = signature(SECRET, "a", NOW, body.as_bytes());
    let auth = signed_with(&[SECRET]);
    let honest = headers("a", &NOW.to_string(), &signature);
    assert_eq!(auth.verify(&honest, body.as_bytes(), NOW), Ok(()));
    let moved = headers(&format!("a.{NOW}"), &NOW.to_string(), &signature);
    let refused = Err(SignatureError::Header("webhook-id"));
    assert_eq!(auth.verify(&moved, b"{}", NOW), refused);
}

#[test]
fn a_body_that_is_not_text_is_verified_as_the_bytes_it_has() {
    let body = [0xff, 0x00, 0xfe, b'{'];
    let mut mac = WebhookSecret::parse(SECRET).unwrap().0.0;
    mac.update(format!("msg_1.{NOW}.").as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = headers("msg_1", &NOW.to_string(), &signature);
    let auth = signed_with(&[SECRET]);
    assert_eq!(auth.verify(&headers, &body, NOW), Ok(()));
    let mangled = String::from_utf8_lossy(&body).into_owned();
    let refused = auth.verify(&headers, mangled.as_bytes(), NOW);
    assert_eq!(refused, Err(SignatureError::Mismatch));
}

#[test]
fn a_secret_has_24_to_64_bytes() {
    let of = |bytes: usize| STANDARD.encode(vec![7; bytes]);
    for text in [
        of(24),
        of(64),
        format!("whsec_{}", of(24)),
        format!(" whsec_{}\n", of(32)),
        of(25).trim_end_matches('=').to_owned(),
    ] {
        assert!(WebhookSecret::parse(&text).is_ok(), "{text}");
    }
    let refused = [
        (String::new(), WebhookSecretError::TooShort { bytes: 0 }),
        ("whsec_".to_owned(), WebhookSecretError::TooShort { bytes: 0 }),
        (of(23), WebhookSecretError::TooShort { bytes: 23 }),
        (of(65), WebhookSecretError::TooLong { bytes: 65 }),
        ("not base64 at all".to_owned(), WebhookSecretError::NotBase64),
        (format!("whpk_{}", of(32)), WebhookSecretError::NotBase64),
    ];
    for (text, error) in refused {
        assert_eq!(WebhookSecret::parse(&text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn a_secret_is_never_printed() {
    let printed = format!("{:?}", signed_with(&[SECRET]));
    assert_eq!(printed, "Signed([WebhookSecret(hidden)])");
    let short = "c2hvcnQgc2VjcmV0";
    let error = WebhookSecret::parse(short).unwrap_err();
    let no_base64 = WebhookSecret::parse("hunter2*").unwrap_err();
    for text in [format!("{error} {error:?}"), format!("{no_base64} {no_base64:?}")] {
        assert!(!text.contains(short) && !text.contains("short secret"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains('*'), "{text}");
    }
}
