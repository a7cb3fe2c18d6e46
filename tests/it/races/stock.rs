//! Shows that available_stock never goes below 0, nor above total_stock, under any load.

use std::collections::BTreeSet;

use flashsale::pb::{CreateHoldRequest, Hold};
use tonic::Status;

use super::Crowd;
use crate::support::{
    at_once::at_once,
    client::{Clients, reason},
    database::TestDatabase,
    programs::{ServerProgram, lines_of},
    sale::{hold, hold_of, product, repeatable_hold},
};

/// Asks for all of these holds at the same moment.
async fn hold_at_once(crowd: &Crowd, requests: Vec<CreateHoldRequest>) -> Vec<Result<Hold, Status>> {
    hold_at_once_by(|number| crowd.caller(number), requests).await
}

/// Asks for all of these holds at the same moment, each by its own caller.
async fn hold_at_once_by(
    caller: impl Fn(usize) -> Clients,
    requests: Vec<CreateHoldRequest>,
) -> Vec<Result<Hold, Status>> {
    at_once(requests.len(), |number| {
        let (clients, request) = (caller(number), requests[number].clone());
        async move { clients.hold_by(request).await }
    })
    .await
}

/// Returns the ids of the granted holds. The others have to be refused with this reason.
fn granted(results: &[Result<Hold, Status>], other: &str) -> BTreeSet<i64> {
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(reason(refused), other);
    }
    let holds: Vec<i64> = results.iter().flatten().map(|hold| hold.hold_id).collect();
    let distinct: BTreeSet<i64> = holds.iter().copied().collect();
    assert_eq!(distinct.len(), holds.len(), "each has a hold of its own");
    distinct
}

async fn buyers_for_units(name: &str, buyers: usize, units: usize) {
    let crowd = Crowd::gather(name, 1).await;
    let product_id = crowd.sale.product(units.try_into().unwrap()).await;
    let results = hold_at_once(&crowd, vec![hold(product_id, 1); buyers]).await;
    assert_eq!(granted(&results, "OUT_OF_STOCK").len(), units);
    assert_eq!(crowd.sale.stock(product_id).await, 0);
    assert_eq!(crowd.sale.count("holds WHERE status = 'active'").await, i64::try_from(units).unwrap());
    crowd.finish().await;
}

/// Lets buyers race for units at two server programs that share only the database.
async fn buyers_at_two_programs(name: &str, buyers: usize, units: usize) {
    let database = TestDatabase::create(name).await;
    let servers = [ServerProgram::start(&database.url(), &[]).await, ServerProgram::start(&database.url(), &[]).await];
    let on_sale = servers[0].clients.try_create_product(product(units.try_into().unwrap())).await;
    let product_id = on_sale.unwrap().product_id;
    let mut callers = Vec::new();
    for _ in 0..4 {
        for server in &servers {
            callers.push(Clients::connect(&server.address).await);
        }
    }
    let caller = |number: usize| callers[number % callers.len()].clone();
    let results = hold_at_once_by(caller, vec![hold(product_id, 1); buyers]).await;
    let holds = granted(&results, "OUT_OF_STOCK");
    assert_eq!(holds.len(), units);
    for server in &servers {
        assert_eq!(server.clients.available_stock(product_id).await, 0);
    }
    drop(callers);
    let mut logged = BTreeSet::new();
    for server in servers {
        let lines = server.stop().await;
        logged.extend(lines_of(&lines, "Hold created").iter().map(|line| line["hold_id"].as_i64().unwrap()));
    }
    assert_eq!(logged, holds);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_150_buyers_at_once_exactly_100_get_the_100_units() {
    buyers_for_units("150_buyers_for_100_units", 150, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_150_buyers_at_two_server_programs_exactly_100_get_the_100_units() {
    buyers_at_two_programs("150_buyers_at_two_programs", 150, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1000_buyers_at_once_exactly_one_gets_the_only_unit() {
    buyers_for_units("1000_buyers_for_1_unit", 1000, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_1000_buyers_at_two_server_programs_exactly_one_gets_the_only_unit() {
    buyers_at_two_programs("1000_buyers_at_two_programs", 1000, 1).await;
}

async fn mixed_quantities(name: &str, servers: usize) {
    let crowd = Crowd::gather(name, servers).await;
    let product_id = crowd.sale.product(100).await;
    let requests = (0..200).map(|number| hold(product_id, number % 7 + 1)).collect();
    let results = hold_at_once(&crowd, requests).await;
    let holds = granted(&results, "OUT_OF_STOCK");
    let units: i32 = results.iter().flatten().map(|hold| hold.qty).sum();
    let left = crowd.sale.stock(product_id).await;
    assert_eq!(i64::from(units) + left, 100);
    assert_eq!(left, 0, "somebody wanted one unit until the end");
    assert_eq!(crowd.sale.count("holds").await, i64::try_from(holds.len()).unwrap());
    crowd.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_quantities_at_once_never_pass_the_stock() {
    mixed_quantities("mixed_quantities", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_quantities_at_two_servers_never_pass_the_stock() {
    mixed_quantities("mixed_quantities_at_two_servers", 2).await;
}

/// Two servers at once take the same expired holds back.
#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_that_two_servers_take_back_at_once_come_back_once() {
    let crowd = Crowd::gather("two_servers_take_back", 2).await;
    let product_id = crowd.sale.product(50).await;
    for round in 0..5 {
        let results = hold_at_once(&crowd, vec![hold(product_id, 1); 120]).await;
        assert_eq!(granted(&results, "OUT_OF_STOCK").len(), 50, "round {round}");
        crowd.sale.expire_all_holds().await;
    }
    assert_eq!(crowd.sale.count("holds WHERE status = 'expired'").await, 200);
    crowd.finish().await;
}

/// A repeated request_id returns the first result, also at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_20_times_at_once_makes_one_hold() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("one_request_id_20_times", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 1..=5 {
            let request = repeatable_hold(product_id, 2, &format!("r{round}"));
            let results = hold_at_once(&crowd, vec![request; 20]).await;
            let first = results[0].as_ref().unwrap();
            assert!(results.iter().all(|result| result.as_ref().unwrap() == first), "{results:?}");
            assert_eq!((crowd.sale.stock(product_id).await, crowd.sale.count("holds").await), (100 - 2 * round, round));
        }
        crowd.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_with_other_arguments_at_once_makes_one_of_both() {
    let crowd = Crowd::gather("one_request_id_two_quantities", 2).await;
    let product_id = crowd.sale.product(100).await;
    for round in 0..5 {
        let request_id = format!("r{round}");
        let requests = (0..20).map(|number| repeatable_hold(product_id, number / 2 % 2 + 1, &request_id)).collect();
        let results = hold_at_once(&crowd, requests).await;
        let made: Vec<&Hold> = results.iter().flatten().collect();
        assert_eq!(made.len(), 10, "those with the arguments of the first");
        assert!(made.iter().all(|hold| *hold == made[0]));
        assert!(results.iter().filter_map(|result| result.as_ref().err()).all(|e| reason(e) == "REQUEST_ID_REUSED"));
    }
    assert_eq!(crowd.sale.count("holds").await, 5);
    crowd.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_50_attempts_at_once_a_buyer_gets_the_limit_of_2() {
    let crowd = Crowd::gather("50_attempts_of_one_buyer", 2).await;
    let product_id = crowd.sale.product(100).await;
    crowd.sale.database.execute("UPDATE products SET max_per_buyer = 2").await;
    for buyer in ["ann", "bob"] {
        let results = hold_at_once(&crowd, vec![hold_of(buyer, product_id, 1); 50]).await;
        assert_eq!(granted(&results, "BUYER_LIMIT").len(), 2);
    }
    assert_eq!(crowd.sale.stock(product_id).await, 96);
    crowd.finish().await;
}
