//! Fuzz targets of what the server decodes: every request, and page tokens.
//!
//! None of them may panic, and whatever is refused gets an answer that a proxy lets through.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use prost::Message;
use tonic::Status;

use super::{admin, convert::failed, flash_sale, lists, page_token::Listing, payment, update_mask};
use crate::{
    checkout::{UpdateProduct, page::PagePosition},
    domain::{HoldId, Invalid, OrderId, Principal, ProductId},
    error::Error,
    fuzz::{Corpus, ITERATIONS, Mutation, fuzz},
    pb,
};

/// Limits the bytes of a refusal with all its details.
const ANSWER_MAX: usize = 8 * 1024;

/// Decodes a request and makes a command of it. `None`: it is no message of this type.
type Decode = fn(&[u8]) -> Option<Result<(), Status>>;

fn decoded<M: Message + Default, T>(
    input: &[u8],
    command: impl FnOnce(&M) -> Result<T, Error>,
) -> Option<Result<(), Status>> {
    let message = M::decode(input).ok()?;
    Some(command(&message).map(drop).map_err(failed))
}

fn id<T>(parsed: Result<T, Invalid>) -> Result<T, Error> {
    parsed.map_err(Error::from)
}

fn update_product(request: &pb::UpdateProductRequest) -> Result<UpdateProduct, Error> {
    update_mask::command(request, Principal::unknown())
}

/// Lists all RPCs with how their requests are decoded.
const RPCS: &[(&str, Decode)] = &[
    ("GetProduct", |input| decoded(input, |request: &pb::GetProductRequest| id(ProductId::parse(request.product_id)))),
    ("CreateHold", |input| decoded(input, flash_sale::create_hold)),
    ("GetHold", |input| decoded(input, |request: &pb::GetHoldRequest| id(HoldId::parse(request.hold_id)))),
    ("ReleaseHold", |input| decoded(input, |request: &pb::ReleaseHoldRequest| id(HoldId::parse(request.hold_id)))),
    ("CreateOrder", |input| decoded(input, flash_sale::create_order)),
    ("CancelOrder", |input| decoded(input, |request: &pb::CancelOrderRequest| id(OrderId::parse(request.order_id)))),
    ("GetOrder", |input| decoded(input, |request: &pb::GetOrderRequest| id(OrderId::parse(request.order_id)))),
    ("HandlePaymentWebhook", |input| decoded(input, payment::command)),
    ("CreateProduct", |input| decoded(input, |request| admin::create_product(request, Principal::unknown()))),
    ("UpdateProduct", |input| decoded(input, update_product)),
    ("AdjustStock", |input| decoded(input, |request| admin::adjust_stock(request, Principal::unknown()))),
    ("GetSaleStats", |input| {
        decoded(input, |request: &pb::GetSaleStatsRequest| id(ProductId::parse(request.product_id)))
    }),
    ("ListPaymentExceptions", |input| decoded(input, lists::payment_exceptions)),
    ("ResolvePaymentException", |input| {
        decoded(input, |request| admin::resolve_payment_exception(request, Principal::unknown()))
    }),
    ("AcceptPayment", |input| decoded(input, |request| admin::accept_payment(request, Principal::unknown()))),
    ("ListProducts", |input| decoded(input, lists::products)),
    ("ListHolds", |input| decoded(input, lists::holds)),
    ("ListOrders", |input| decoded(input, lists::orders)),
    ("ListPaymentEvents", |input| decoded(input, lists::payment_events)),
    ("ListOperatorActions", |input| decoded(input, lists::operator_actions)),
];

/// Counts the bytes of a refusal as it is sent: all in headers.
fn weight(status: Status) -> usize {
    let response = status.into_http::<()>();
    response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[test]
fn no_rpc_is_left_out() {
    let listed: BTreeSet<&str> = RPCS.iter().map(|(name, _)| *name).collect();
    let there: BTreeSet<&str> = pb::RPCS.iter().map(|(path, _)| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(listed, there);
}

#[test]
fn every_request_becomes_a_command_or_a_small_refusal() {
    let is_valid = |input: &[u8]| RPCS.iter().any(|(_, decode)| matches!(decode(input), Some(Ok(()))));
    let check = |input: &[u8]| {
        for (rpc, decode) in RPCS {
            if let Some(Err(status)) = decode(input) {
                let bytes = weight(status);
                assert!(bytes <= ANSWER_MAX, "{rpc} refuses {} bytes by {bytes}", input.len());
            }
        }
    };
    fuzz!("requests", is_valid, check);
}

#[test]
fn update_masks_become_a_change_or_a_small_refusal() {
    let is_valid = |input: &[u8]| matches!(decoded(input, update_product), Some(Ok(())));
    let check = |input: &[u8]| {
        if let Some(Err(status)) = decoded(input, update_product) {
            let bytes = weight(status);
            assert!(bytes <= ANSWER_MAX, "{bytes} bytes refuse {}", input.len());
        }
    };
    fuzz!("update_masks", is_valid, check);
}

#[test]
fn page_tokens_lead_back_to_their_place_or_nowhere() {
    let listing = Listing::new("ListHolds", &(7, None::<String>, 0));
    let is_valid = |input: &[u8]| str::from_utf8(input).is_ok_and(|token| listing.parse(token).is_ok());
    let check = |input: &[u8]| {
        let token = String::from_utf8_lossy(input);
        if let Ok(Some(position)) = listing.parse(&token) {
            assert_eq!(listing.token(position), token, "two tokens of one place");
        }
        // Any place has a token that leads back.
        let micros = input.iter().take(7).fold(0_u64, |micros, byte| (micros << 8) | u64::from(*byte));
        let at = input.len().is_multiple_of(2).then(|| SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        let place = PagePosition { at, id: i64::try_from(input.len()).unwrap() - 1 };
        assert_eq!(listing.parse(&listing.token(place)), Ok(Some(place)));
        // Of another list it leads nowhere.
        let other = Listing::new("ListHolds", &(8, None::<String>, 0));
        assert!(other.parse(&listing.token(place)).is_err());
    };
    fuzz!("page_tokens", is_valid, check);
}
