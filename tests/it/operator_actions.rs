//! Tests who did what: the rows of operators' calls, and their log lines.

use flashsale::pb::{
    AcceptPaymentRequest, AdjustStockRequest, CreateProductRequest, ListOperatorActionsRequest, OperatorAction,
    PaymentStatus, Product,
};

use crate::support::{
    sale::{event, product},
    server::Sale,
};

async fn actions(sale: &Sale, product_id: Option<i64>) -> Vec<OperatorAction> {
    let request = ListOperatorActionsRequest { product_id, page_size: 500, ..Default::default() };
    sale.clients().admin.clone().list_operator_actions(request).await.unwrap().into_inner().actions
}

/// Writes an action as `method request_id: field before>after …`.
fn line(action: &OperatorAction) -> String {
    assert_eq!(action.principal, "unknown");
    let method = action.method.strip_prefix("flashsale.v1.AdminService/").unwrap();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let changes = action.changes.iter();
    let changes: Vec<String> =
        changes.map(|change| format!("{} {}>{}", change.field, text(&change.before), text(&change.after))).collect();
    format!("{method} {}: {}", action.request_id.as_deref().unwrap_or("-"), changes.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_an_operator_is_written_down_once_with_what_changed() {
    let sale = Sale::start("operator_actions").await;
    let clients = sale.clients();
    let request = CreateProductRequest { request_id: Some("new-1".to_owned()), max_per_buyer: Some(2), ..product(10) };
    for _ in 0..2 {
        clients.try_create_product(request.clone()).await.unwrap();
    }
    let product_id = clients.try_create_product(request.clone()).await.unwrap().product_id;
    let other = sale.product(5).await;
    let change = Product { product_id, name: "Boot".to_owned(), price_cents: 900, ..Default::default() };
    for _ in 0..2 {
        clients.update(change.clone(), &["name", "price_cents", "max_per_buyer"]).await.unwrap();
    }
    let starts = Product { product_id, starts_at: Some(prost_types::Timestamp { seconds: 1, nanos: 1000 }), ..change };
    clients.update(starts, &["starts_at"]).await.unwrap();
    let adjust = AdjustStockRequest {
        product_id,
        delta: 5,
        reason: "second \"pallet\"".to_owned(),
        request_id: "pallet-2".to_owned(),
    };
    for _ in 0..2 {
        clients.adjust_by(adjust.clone()).await.unwrap();
    }
    clients.adjust(product_id, -1000, "too-many").await.unwrap_err();
    let order = sale.ordered(product_id, 1).await;
    clients.pay_by(event("off", order.order_id, PaymentStatus::Success, Some(899))).await.unwrap();
    let exception_id = clients.exceptions().await[0].exception_id;
    for _ in 0..2 {
        let accept = AcceptPaymentRequest { exception_id, note: "a cent off".to_owned() };
        clients.admin.clone().accept_payment(accept).await.unwrap();
    }
    clients.pay("twice", order.order_id, PaymentStatus::Success).await.unwrap();
    let second = clients.exceptions().await[0].exception_id;
    for note in ["refunded", "refunded again"] {
        clients.resolve(second, note).await.unwrap();
    }

    let listed = actions(&sale, Some(product_id)).await;
    assert!(listed.iter().all(|action| action.product_id == Some(product_id)), "{listed:#?}");
    let lines: Vec<String> = listed.iter().rev().map(line).collect();
    assert_eq!(
        lines,
        [
            "CreateProduct new-1: max_per_buyer ->2, name ->Shoe, price_cents ->1000, total_stock ->10".to_owned(),
            "UpdateProduct -: max_per_buyer 2>-, name Shoe>Boot, price_cents 1000>900".to_owned(),
            "UpdateProduct -: starts_at ->1970-01-01T00:00:01.000001Z".to_owned(),
            "AdjustStock pallet-2: reason ->second \"pallet\", total_stock 10>15".to_owned(),
            format!(
                "AcceptPayment -: exception_id ->{exception_id}, note ->a cent off, order_id ->{}, \
                 order_status pending>paid",
                order.order_id
            ),
            format!("ResolvePaymentException -: exception_id ->{second}, note ->refunded"),
        ]
    );
    let all = actions(&sale, None).await;
    assert_eq!(all.len(), lines.len() + 1);
    let of_other = actions(&sale, Some(other)).await;
    assert_eq!((of_other.len(), of_other[0].request_id.as_deref()), (1, None), "a made-up request_id is nobody's");
    sale.finish().await;
}

/// The id of a product comes back out of the script, also where the action's row is inserted behind the product's.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_has_its_own_id_beside_its_action() {
    let sale = Sale::start("ids_beside_actions").await;
    for _ in 0..5 {
        sale.clients().pause(sale.product(1).await, true).await.unwrap();
    }
    let created = sale.clients().create_product("Boot", 1000, 7).await;
    assert_eq!(sale.clients().product(created.product_id).await.unwrap().total_stock, 7);
    assert_eq!(actions(&sale, Some(created.product_id)).await.len(), 1);
    sale.finish().await;
}
