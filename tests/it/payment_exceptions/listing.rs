//! Covers ListPaymentExceptions: its filters, its pages, and what stays in place between two pages.

use flashsale::pb::ListPaymentExceptionsRequest;
use tonic::Code;

use super::{ids, pay_late, pay_late_often};
use crate::support::{client::assert_refused, sale::bad_fields, server::Sale};

/// Returns the ids of each page from `request` on.
async fn pages(sale: &Sale, mut request: ListPaymentExceptionsRequest) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    loop {
        let page = sale.clients().exceptions_by(request.clone()).await.unwrap();
        pages.push(ids(&page.exceptions));
        assert!(pages.len() < 100, "the pages never end: {pages:?}");
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

fn newest_first(mut oldest_first: Vec<i64>) -> Vec<i64> {
    oldest_first.reverse();
    oldest_first
}

/// Inserts exceptions by SQL, which is quicker than by payments.
async fn insert(sale: &Sale, count: usize, key_bytes: usize, note: &str) {
    let rows: Vec<String> = (0..count)
        .map(|number| {
            format!(
                "('late_success', 1, 1, RPAD('inserted {number} ', {key_bytes}, 'x'), UTC_TIMESTAMP(6), \
                 UTC_TIMESTAMP(6), '{note}')"
            )
        })
        .collect();
    let into = "payment_exceptions (kind, order_id, product_id, idempotency_key, created_at, resolved_at, note)";
    for rows in rows.chunks(500) {
        sale.database.execute(&format!("INSERT INTO {into} VALUES {}", rows.join(","))).await;
    }
}

async fn remove_inserted(sale: &Sale) {
    sale.database.execute("DELETE FROM payment_exceptions WHERE idempotency_key LIKE 'inserted %'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_show_a_products_own_and_what_is_still_open() {
    let sale = Sale::start("exceptions_are_filtered").await;
    assert_eq!(pages(&sale, ListPaymentExceptionsRequest::default()).await, [Vec::<i64>::new()]);
    let (one, other) = (sale.product(100).await, sale.product(100).await);
    let mut of_one = pay_late_often(&sale, one, 2).await;
    let of_other = pay_late_often(&sale, other, 3).await;
    pay_late(&sale, one, "last").await;
    of_one.push(*of_other.last().unwrap() + 1);
    assert_eq!(of_one.len(), 3, "ids of this test follow each other: {of_one:?} {of_other:?}");
    let resolved = [of_one[1], of_other[0]];
    for id in resolved {
        sale.clients().resolve(id, "refunded").await.unwrap();
    }

    let mut all: Vec<i64> = of_one.iter().chain(&of_other).copied().collect();
    all.sort_unstable();
    for (product_id, members) in [(None, all), (Some(one), of_one), (Some(other), of_other)] {
        let open: Vec<i64> = members.iter().copied().filter(|id| !resolved.contains(id)).collect();
        for (include_resolved, expected) in [(Some(true), &members), (Some(false), &open), (None, &open)] {
            for page_size in [1, 2, 50] {
                let request =
                    ListPaymentExceptionsRequest { page_size, product_id, include_resolved, ..Default::default() };
                let pages = pages(&sale, request.clone()).await;
                assert_eq!(pages.concat(), newest_first(expected.clone()), "{request:?}");
                let full = usize::try_from(page_size).unwrap();
                let (last, before) = pages.split_last().unwrap();
                assert!(before.iter().all(|page| page.len() == full) && (1..=full).contains(&last.len()), "{pages:?}");
            }
        }
    }
    let none = ListPaymentExceptionsRequest { product_id: Some(999), ..Default::default() };
    assert_eq!(pages(&sale, none).await, [Vec::<i64>::new()], "a product that isn't there has none");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_exceptions_move_nothing_to_another_page() {
    let sale = Sale::start("new_exceptions_move_nothing").await;
    let product_id = sale.product(1000).await;
    let known = newest_first(pay_late_often(&sale, product_id, 12).await);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let paging = async {
        let mut request = ListPaymentExceptionsRequest { page_size: 3, ..Default::default() };
        let mut listed = Vec::new();
        loop {
            let page = sale.clients().exceptions_by(request.clone()).await.unwrap();
            listed.extend(ids(&page.exceptions));
            assert!(listed.len() < 100, "the pages never end: {listed:?}");
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            // A new exception comes between two pages, and one of the page before is resolved.
            pay_late(&sale, product_id, &format!("between {}", listed.len())).await;
            sale.clients().resolve(listed[listed.len() - 1], "refunded").await.unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        listed
    };
    let paying = async {
        let mut number = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            pay_late(&sale, product_id, &format!("meanwhile {number}")).await;
            number += 1;
        }
    };
    let (listed, ()) = tokio::join!(paging, paying);
    let mut once = listed.clone();
    once.sort_unstable_by(|one, other| other.cmp(one));
    once.dedup();
    assert_eq!(listed, once, "newest first, and each once");
    assert!(listed.ends_with(&known), "{listed:?} has all of {known:?}");
    assert!(sale.count("payment_exceptions").await > i64::try_from(listed.len()).unwrap(), "there were new ones");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_50_unless_asked_and_500_at_the_most() {
    let sale = Sale::start("a_page_has_50").await;
    insert(&sale, 1100, 20, "n").await;
    for (page_size, expected) in [(0, 50), (1, 1), (500, 500), (501, 500), (i32::MAX, 500)] {
        let request = ListPaymentExceptionsRequest { page_size, include_resolved: Some(true), ..Default::default() };
        let page = sale.clients().exceptions_by(request).await.unwrap();
        assert_eq!(page.exceptions.len(), expected, "page_size {page_size}");
        assert!(!page.next_page_token.is_empty());
    }
    remove_inserted(&sale).await;
    sale.finish().await;
}

/// A message has at most 256 KiB. A page that would be larger ends earlier, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_long_texts_fits_a_message() {
    let sale = Sale::start("a_page_of_long_texts").await;
    insert(&sale, 150, 255, &"𝄞".repeat(1000)).await;
    let request = ListPaymentExceptionsRequest { page_size: 1000, include_resolved: Some(true), ..Default::default() };
    let page = sale.clients().exceptions_by(request.clone()).await.unwrap();
    let bytes = prost::Message::encoded_len(&page);
    assert!(bytes > 200 * 1024 && bytes <= 256 * 1024, "{bytes} bytes");
    let pages = pages(&sale, request).await;
    assert_eq!((pages.len(), pages.concat().len()), (3, 150), "{pages:?}");
    remove_inserted(&sale).await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_and_tokens_of_another_listing_are_refused() {
    let sale = Sale::start("bad_fields_of_a_listing").await;
    let product_id = sale.product(100).await;
    pay_late_often(&sale, product_id, 3).await;
    let request = ListPaymentExceptionsRequest { page_size: 1, ..Default::default() };
    let token = sale.clients().exceptions_by(request.clone()).await.unwrap().next_page_token;
    let with_token = |token: &str| ListPaymentExceptionsRequest { page_token: token.to_owned(), ..request.clone() };
    let same = ListPaymentExceptionsRequest { page_size: 2, include_resolved: Some(false), ..with_token(&token) };
    assert_eq!(sale.clients().exceptions_by(same).await.unwrap().exceptions.len(), 2, "another page_size is fine");

    for (request, fields) in [
        (ListPaymentExceptionsRequest { page_size: -1, ..request.clone() }, vec!["page_size"]),
        (ListPaymentExceptionsRequest { product_id: Some(0), ..request.clone() }, vec!["product_id"]),
        (with_token("2"), vec!["page_token"]),
        (with_token(&token[1..]), vec!["page_token"]),
        (with_token(&format!("{token}A")), vec!["page_token"]),
        (ListPaymentExceptionsRequest { product_id: Some(product_id), ..with_token(&token) }, vec!["page_token"]),
        (ListPaymentExceptionsRequest { include_resolved: Some(true), ..with_token(&token) }, vec!["page_token"]),
    ] {
        let refused = sale.clients().exceptions_by(request.clone()).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{request:?}");
    }
    sale.finish().await;
}
