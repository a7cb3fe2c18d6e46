use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    super::{BadRequest, REQUIRED, tests::each_mangled},
    *,
};
use crate::pb::HandlePaymentWebhookRequest;

fn read_bytes(body: &[u8]) -> Result<Event, BadWebhook> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    event(&headers, body)
}

fn read(body: &str) -> Result<Event, BadWebhook> {
    read_bytes(body.as_bytes())
}

/// Returns an event of a payment of 1,000 cents for order 456.
fn payment(event_type: &str) -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": event_type,
        "data": {"object": {
            "id": "pi_1", "object": "payment_intent", "amount": 1000, "amount_received": 1000,
            "metadata": {"order_id": "456"}
        }}
    })
}

/// Returns the event with another value at a place in it, or without any where `value` is `None`.
fn with(mut event: Value, place: &str, value: Option<Value>) -> Value {
    let (outer, name) = place.rsplit_once('/').unwrap();
    let object = event.pointer_mut(outer).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
    event
}

const ORDER_ID_PLACE: &str = "/data/object/metadata/order_id";

#[test]
fn each_of_the_three_types_has_its_status_and_only_a_success_has_an_amount() {
    for (event_type, status, amount_cents) in [
        ("payment_intent.succeeded", PaymentStatus::Success, Some(1000)),
        ("payment_intent.payment_failed", PaymentStatus::AttemptFailed, None),
        ("payment_intent.canceled", PaymentStatus::Failure, None),
    ] {
        let expected = HandlePaymentWebhookRequest {
            idempotency_key: "evt_1".to_owned(),
            order_id: 456,
            status: status.into(),
            amount_cents,
            payment_id: Some("pi_1".to_owned()),
        };
        assert_eq!(read(&payment(event_type).to_string()), Ok(Event::Payment(expected)), "{event_type}");
    }
}

#[test]
fn an_event_that_is_about_no_order_is_ignored_whatever_else_is_in_it() {
    let ignored = |event_type| Ok(Event::Ignored(Ignored { event_type }));
    for event_type in
        ["charge.succeeded", "checkout.session.completed", "payment_intent.created", "", "PAYMENT", "_OTHER"]
    {
        assert_eq!(read(&payment(event_type).to_string()), ignored("_OTHER"), "{event_type}");
    }
    assert_eq!(read(r#"{"type":"v1.billing.meter.no_meter_found"}"#), ignored("_OTHER"));
    for (event_type, _) in TYPES {
        let event = payment(event_type);
        for (place, value) in [
            (ORDER_ID_PLACE, None),
            (ORDER_ID_PLACE, Some(Value::Null)),
            ("/data/object/metadata", None),
            ("/data/object/metadata", Some(json!({}))),
            ("/data/object/metadata", Some(json!({"orderId": "456"}))),
            ("/data/object/metadata", Some(json!("456"))),
            ("/data/object", Some(json!([]))),
            ("/data", None),
        ] {
            let event = with(event.clone(), place, value.clone());
            assert_eq!(read(&event.to_string()), ignored(event_type), "{event}");
        }
    }
    let messages = [OTHER_TYPE, TYPES[0].0].map(|event_type| Ignored { event_type }.message());
    assert!(messages[0].contains("type") && messages[1].contains("order_id"), "{messages:?}");
}

#[test]
fn an_order_id_that_is_no_id_is_named() {
    let event = payment("payment_intent.succeeded");
    for no_id in [
        json!(""),
        json!("0"),
        json!("-1"),
        json!("+1"),
        json!("1.0"),
        json!(" 456"),
        json!("456 "),
        json!("٤٥٦"),
        json!("9223372036854775808"),
        json!("shoe"),
        json!(456),
        json!(true),
        json!(["456"]),
        json!({"id": "456"}),
    ] {
        let bad = read(&with(event.clone(), ORDER_ID_PLACE, Some(no_id.clone())).to_string()).unwrap_err();
        assert_eq!(bad.fault, BadRequest::Fields(vec![(ORDER_ID, DIGITS)]), "{no_id}");
        assert_eq!((bad.idempotency_key.as_deref(), bad.order_id), (Some("evt_1"), None), "{no_id}");
    }
    for (id, order_id) in [("1", 1), ("9223372036854775807", i64::MAX)] {
        let event = with(event.clone(), ORDER_ID_PLACE, Some(json!(id)));
        let Ok(Event::Payment(read)) = read(&event.to_string()) else { panic!("{event}") };
        assert_eq!(read.order_id, order_id);
    }
}

#[test]
fn the_fields_of_an_orders_event_are_needed_and_all_at_fault_are_named() {
    let event = payment("payment_intent.succeeded");
    for (place, field, problem) in [
        ("/id", "id", STRING),
        ("/type", "type", STRING),
        ("/data/object/id", "data.object.id", STRING),
        ("/data/object/amount_received", "data.object.amount_received", INTEGER_64),
    ] {
        for value in [None, Some(Value::Null)] {
            let bad = read(&with(event.clone(), place, value).to_string()).unwrap_err();
            assert_eq!(bad.fault, BadRequest::Fields(vec![(field, REQUIRED)]));
        }
        let bad = read(&with(event.clone(), place, Some(json!([7]))).to_string()).unwrap_err();
        assert_eq!(bad.fault, BadRequest::Fields(vec![(field, problem)]));
    }
    let bad = read(
        r#"{"id":7,"type":"payment_intent.succeeded",
            "data":{"object":{"amount_received":"1000","metadata":{"order_id":"x"}}}}"#,
    );
    let faults = vec![
        ("id", STRING),
        (ORDER_ID, DIGITS),
        ("data.object.id", REQUIRED),
        ("data.object.amount_received", INTEGER_64),
    ];
    assert_eq!(bad, Err(BadWebhook { fault: BadRequest::Fields(faults), idempotency_key: None, order_id: None }));
    let without_amount = with(payment("payment_intent.canceled"), "/data/object/amount_received", None);
    assert!(matches!(read(&without_amount.to_string()), Ok(Event::Payment(_))));
}

#[test]
fn a_name_with_full_stops_is_no_way_into_an_object() {
    let event = json!({
        "id": "evt_1", "type": "payment_intent.succeeded", "data.object.metadata.order_id": "456",
        "data": {"object.metadata.order_id": "456"}
    });
    assert!(matches!(read(&event.to_string()), Ok(Event::Ignored(_))), "{event}");
    let deep = format!(r#"{{"type":"charge.succeeded","data":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert!(matches!(read(&deep), Ok(Event::Ignored(_))));
    for body in ["", "{", "\u{feff}{}", "{}{}"] {
        assert_eq!(read(body).unwrap_err().fault, BadRequest::NotJson, "{body}");
    }
    assert_eq!(read("[]").unwrap_err().fault, BadRequest::NotAnObject);
}

#[test]
fn no_mangled_event_is_more_than_ignored_or_a_fault() {
    let good = payment("payment_intent.succeeded").to_string();
    each_mangled(good.as_bytes(), |body| {
        if let Ok(Event::Payment(payment)) = read_bytes(body) {
            assert_eq!((payment.status(), payment.order_id > 0), (PaymentStatus::Success, true));
        }
    });
}
