//! The operator's lists: which page of which list a request asks for.

use super::{
    convert::{BadFields, timestamp},
    page_token::Listing,
};
use crate::{
    checkout::{
        EventsOf, ListHolds, ListOperatorActions, ListOrders, ListPaymentEvents, ListPaymentExceptions, ListProducts,
        page::PageRequest,
    },
    domain::{BuyerId, HoldStatus, IdempotencyKey, Invalid, OrderId, OrderStatus, ProductId},
    error::Error,
    pb::{
        self, ListHoldsRequest, ListOperatorActionsRequest, ListOrdersRequest, ListPaymentEventsRequest,
        ListPaymentExceptionsRequest, ListProductsRequest,
    },
};

/// Says how many entries a page has where the caller sets no page_size.
const PAGE_SIZE_DEFAULT: usize = 50;
/// Limits the entries on a page.
const PAGE_SIZE_MAX: usize = 500;

/// Returns the size of a page: the default for 0, and the limit for anything above it.
fn page_size(value: i32) -> Result<usize, Invalid> {
    match usize::try_from(value) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Invalid::new("page_size", format!("must be at least 0, got {value}"))),
    }
}

/// Reads which page a request asks for, of the list with this filter.
fn page(bad: &mut BadFields, listing: &Listing, size: i32, token: &str) -> Option<PageRequest> {
    let size = bad.take(page_size(size));
    let after = bad.take(listing.parse(token));
    Some(PageRequest { size: size?, after: after? })
}

pub(super) fn payment_exceptions(
    request: &ListPaymentExceptionsRequest,
) -> Result<(Listing, ListPaymentExceptions), Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take_optional(request.product_id.map(ProductId::parse));
    let include_resolved = request.include_resolved.unwrap_or(false);
    let listing = Listing::new("ListPaymentExceptions", &(request.product_id, include_resolved));
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let (Some(product_id), Some(page)) = (product_id, page) else { return Err(bad.error()) };
    Ok((listing, ListPaymentExceptions { product_id, include_resolved, page }))
}

pub(super) fn products(request: &ListProductsRequest) -> Result<(Listing, ListProducts), Error> {
    let mut bad = BadFields::default();
    let on_sale = request.on_sale;
    let listing = Listing::new("ListProducts", &on_sale);
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let Some(page) = page else { return Err(bad.error()) };
    Ok((listing, ListProducts { on_sale, page }))
}

pub(super) fn holds(request: &ListHoldsRequest) -> Result<(Listing, ListHolds), Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take(ProductId::parse(request.product_id));
    let buyer_id = bad.take_optional(request.buyer_id.as_deref().map(BuyerId::parse));
    let status = bad.take(hold_status(request.status));
    let listing = Listing::new("ListHolds", &(request.product_id, &request.buyer_id, request.status));
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let (Some(product_id), Some(buyer_id), Some(status), Some(page)) = (product_id, buyer_id, status, page) else {
        return Err(bad.error());
    };
    Ok((listing, ListHolds { product_id, buyer_id, status, page }))
}

fn hold_status(value: i32) -> Result<Option<HoldStatus>, Invalid> {
    match pb::HoldStatus::try_from(value) {
        Ok(pb::HoldStatus::Unspecified) => Ok(None),
        Ok(pb::HoldStatus::Active) => Ok(Some(HoldStatus::Active)),
        Ok(pb::HoldStatus::Used) => Ok(Some(HoldStatus::Used)),
        Ok(pb::HoldStatus::Expired) => Ok(Some(HoldStatus::Expired)),
        Ok(pb::HoldStatus::Cancelled) => Ok(Some(HoldStatus::Cancelled)),
        Err(_) => Err(Invalid::new("status", "must be ACTIVE, USED, EXPIRED or CANCELLED, or absent")),
    }
}

pub(super) fn orders(request: &ListOrdersRequest) -> Result<(Listing, ListOrders), Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take(ProductId::parse(request.product_id));
    let buyer_id = bad.take_optional(request.buyer_id.as_deref().map(BuyerId::parse));
    let status = bad.take(order_status(request.status));
    let settled_after = bad.take_optional(request.settled_after.map(|time| timestamp("settled_after", time)));
    let overdue = request.overdue.unwrap_or(false);
    if overdue && !matches!(status, Some(None | Some(OrderStatus::Pending))) {
        bad.name(Invalid::new("status", "must be PENDING or absent with overdue"));
    }
    if overdue && request.settled_after.is_some() {
        bad.name(Invalid::new("settled_after", "must be absent with overdue"));
    }
    let filter = (request.product_id, &request.buyer_id, request.status, overdue, &request.settled_after);
    let listing = Listing::new("ListOrders", &filter);
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let (Some(product_id), Some(buyer_id), Some(status), Some(settled_after), Some(page), true) =
        (product_id, buyer_id, status, settled_after, page, bad.is_empty())
    else {
        return Err(bad.error());
    };
    Ok((listing, ListOrders { product_id, buyer_id, status, overdue, settled_after, page }))
}

fn order_status(value: i32) -> Result<Option<OrderStatus>, Invalid> {
    match pb::OrderStatus::try_from(value) {
        Ok(pb::OrderStatus::Unspecified) => Ok(None),
        Ok(pb::OrderStatus::Pending) => Ok(Some(OrderStatus::Pending)),
        Ok(pb::OrderStatus::Paid) => Ok(Some(OrderStatus::Paid)),
        Ok(pb::OrderStatus::Cancelled) => Ok(Some(OrderStatus::Cancelled)),
        Err(_) => Err(Invalid::new("status", "must be PENDING, PAID or CANCELLED, or absent")),
    }
}

pub(super) fn payment_events(request: &ListPaymentEventsRequest) -> Result<(Listing, ListPaymentEvents), Error> {
    let mut bad = BadFields::default();
    let of = match (request.order_id, request.idempotency_key.as_deref()) {
        (Some(order_id), None) => bad.take(OrderId::parse(order_id).map(EventsOf::Order)),
        (None, Some(key)) => bad.take(IdempotencyKey::parse(key).map(EventsOf::Key)),
        (Some(_), Some(_)) | (None, None) => {
            bad.take(Err(Invalid::new("order_id", "must be set, or idempotency_key, and not both")))
        }
    };
    let listing = Listing::new("ListPaymentEvents", &(request.order_id, &request.idempotency_key));
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let (Some(of), Some(page)) = (of, page) else { return Err(bad.error()) };
    Ok((listing, ListPaymentEvents { of, page }))
}

pub(super) fn operator_actions(request: &ListOperatorActionsRequest) -> Result<(Listing, ListOperatorActions), Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take_optional(request.product_id.map(ProductId::parse));
    let listing = Listing::new("ListOperatorActions", &request.product_id);
    let page = page(&mut bad, &listing, request.page_size, &request.page_token);
    let (Some(product_id), Some(page)) = (product_id, page) else { return Err(bad.error()) };
    Ok((listing, ListOperatorActions { product_id, page }))
}
