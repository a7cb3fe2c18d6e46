use hmac::Mac;

use super::{
    super::tests::{NOW, SENT_AT},
    *,
};

const SECRET: &str = "whsec_made_up_and_used_as_text";
const OTHER_SECRET: &str = "whsec_another_one_used_as_text";
const BODY: &[u8] = br#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;

/// Returns one signature in hexadecimal digits.
fn v1(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Key::new(secret.as_bytes()).unwrap().0;
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verified(secrets: &[&str], header: &str, body: &[u8]) -> Result<(), SignatureError> {
    let secrets: Vec<_> = secrets.iter().map(|text| StripeSecret::parse(text).unwrap()).collect();
    let mut headers = HeaderMap::new();
    headers.insert("Stripe-Signature", header.parse().unwrap());
    verify(&secrets, &headers, body, NOW)
}

/// The header is what the Python package `stripe` 16.1.0 has made of these values.
#[test]
fn the_header_of_the_python_package_is_accepted() {
    let header = "t=1737981120,v1=f3c1287f8dd0efda8e858edf5ad0d711254fc64f88b441d686b7cc57551102f6";
    assert_eq!(verified(&[SECRET], header, BODY), Ok(()));
}

#[test]
fn an_event_is_accepted_up_to_five_minutes_either_way() {
    for (sent, expected) in SENT_AT {
        let sent = sent.to_string();
        let header = format!("t={sent},v1={}", v1(SECRET, &sent, BODY));
        assert_eq!(verified(&[SECRET], &header, BODY), expected, "sent at {sent}");
    }
    for odd in ["-1737981120", "+1737981120", "", "1737981120.0", "now", "99999999999999999999999999", "17379 81120"] {
        let header = format!("t={odd},v1={}", v1(SECRET, odd, BODY));
        assert_eq!(verified(&[SECRET], &header, BODY), Err(SignatureError::Timestamp), "{odd}");
    }
}

#[test]
fn only_a_signature_by_a_known_secret_over_this_very_event_fits() {
    let now = NOW.to_string();
    let good = v1(SECRET, &now, BODY);
    let other = v1(OTHER_SECRET, &now, BODY);
    let cases = [
        ("its own", format!("t={now},v1={good}"), true),
        ("the time last", format!("v1={good},t={now}"), true),
        ("with an old scheme", format!("t={now},v1={good},v0={other}"), true),
        ("second of two", format!("t={now},v1={other},v1={good}"), true),
        ("first of two", format!("t={now},v1={good},v1={other}"), true),
        ("beside what is no part", format!("t={now},x,=,,v1={good}"), true),
        ("another secret's", format!("t={now},v1={other}"), false),
        ("only of an old scheme", format!("t={now},v0={good}"), false),
        ("of another time", format!("t={},v1={good}", NOW - 1), false),
        ("of another body", format!("t={now},v1={}", v1(SECRET, &now, b"{}")), false),
        ("without a signature", format!("t={now}"), false),
        ("an empty signature", format!("t={now},v1="), false),
        ("cut off", format!("t={now},v1={}", &good[..62]), false),
        ("half a byte more", format!("t={now},v1={good}0"), false),
        ("grown", format!("t={now},v1={good}00"), false),
        ("in capitals", format!("t={now},v1={}", good.to_uppercase()), false),
        ("after a space", format!("t={now}, v1={good}"), false),
        ("too far down the list", format!("t={now},{}v1={good}", "v1=00,".repeat(16)), false),
    ];
    for (what, header, accepted) in cases {
        let expected = accepted.then_some(()).ok_or(SignatureError::Mismatch);
        assert_eq!(verified(&[SECRET], &header, BODY), expected, "{what}");
    }
}

#[test]
fn while_a_secret_is_replaced_both_are_accepted_and_without_any_none() {
    let now = NOW.to_string();
    for secret in [SECRET, OTHER_SECRET] {
        let header = format!("t={now},v1={}", v1(secret, &now, BODY));
        assert_eq!(verified(&[OTHER_SECRET, SECRET], &header, BODY), Ok(()));
        assert_eq!(verified(&[], &header, BODY), Err(SignatureError::Mismatch));
    }
}

#[test]
fn the_header_and_its_time_are_needed_exactly_once() {
    let now = NOW.to_string();
    let good = format!("t={now},v1={}", v1(SECRET, &now, BODY));
    let refused = Err(SignatureError::Header("stripe-signature"));
    let secrets = [StripeSecret::parse(SECRET).unwrap()];
    let mut headers = HeaderMap::new();
    assert_eq!(verify(&secrets, &headers, BODY, NOW), refused);
    for _ in 0..2 {
        headers.append(HEADER, good.parse().unwrap());
    }
    assert_eq!(verify(&secrets, &headers, BODY, NOW), refused);
    for header in ["", "t", "v1=00", &format!("{good},t={now}"), &good.replace("t=", "T=")] {
        assert_eq!(verified(&[SECRET], header, BODY), refused, "{header}");
    }
    let mut odd = HeaderMap::new();
    odd.insert(HEADER, http::HeaderValue::from_bytes(b"t=\xff,v1=\xff").unwrap());
    assert_eq!(verify(&secrets, &odd, BODY, NOW), Err(SignatureError::Timestamp));
}

#[test]
fn a_body_that_is_not_text_is_verified_as_the_bytes_it_has() {
    let body = [0xff, 0x00, 0xfe, b'{'];
    let header = format!("t={NOW},v1={}", v1(SECRET, &NOW.to_string(), &body));
    assert_eq!(verified(&[SECRET], &header, &body), Ok(()));
    let mangled = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(verified(&[SECRET], &header, mangled.as_bytes()), Err(SignatureError::Mismatch));
}

#[test]
fn a_secret_is_visible_text_and_is_never_printed() {
    for text in ["x".repeat(16), "x".repeat(255), format!(" {SECRET}\n")] {
        assert!(StripeSecret::parse(&text).is_ok(), "{text}");
    }
    for text in ["", "whsec_", "whsec_hunter2", "whsec_…_and_so_on", "whsec_hunter2 whsec_hunter2", &"x".repeat(256)]
    {
        let error = StripeSecret::parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert_eq!(format!("{:?}", StripeSecret::parse(SECRET).unwrap()), "StripeSecret(hidden)");
}
