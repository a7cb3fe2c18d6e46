//! A box office: a buyer with many holds of a product that has a limit. A server remembers an upper bound of what it
//! has, and counts only later holds. What it counts is never too little, and it is exact where a hold is refused.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flashsale::{
    checkout::{Settings, expire_holds::expire_holds},
    db::{
        Connection, Database, Failure, Plan, Script, buyer_units,
        holds::{self, NewHold},
        products,
    },
    domain::{BuyerId, ProductId, Quantity, RequestId},
    pb::{CreateProductRequest, Hold},
};
use tonic::{Code, Status};

use crate::support::{
    at_once::at_once,
    client::{Clients, assert_refused, metadata},
    counted::CountedCheckout,
    database::{RawConnection, TestDatabase},
    mysqld::Mysqld,
    sale::{hold_of, product},
    server::{Sale, TestServer, database_config, default_settings},
};

/// Holds, more than a server needs to remember their buyer.
const MANY: i64 = 300;

/// Makes a product of 100,000 units. Box has `holds` holds of one unit each. The server has sold nothing of it.
async fn box_office(database: &TestDatabase, clients: &Clients, max_per_buyer: i64, holds: i64) -> i64 {
    let max_per_buyer = Some(i32::try_from(max_per_buyer).unwrap());
    let request = CreateProductRequest { max_per_buyer, ..product(100_000) };
    let product_id = clients.try_create_product(request).await.unwrap().product_id;
    insert_holds(database, product_id, "active", holds).await;
    let sql = format!("UPDATE products SET available_stock = available_stock - {holds} WHERE id = {product_id}");
    database.execute(&sql).await;
    product_id
}

/// Stores holds of box, which last for another hour.
async fn insert_holds(database: &TestDatabase, product_id: i64, status: &str, holds: i64) {
    let mut connection = database.connect().await;
    // It is a join, because each engine limits the depth of a recursion by another setting.
    let sql = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id, buyer_id) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
         SELECT {product_id}, 1, 1000, '{status}', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, UTC_TIMESTAMP(6), \
         CONCAT('{status}-', n.i, '-', m.i), 'box' FROM n JOIN n AS m ORDER BY m.i, n.i LIMIT {holds}"
    );
    connection.execute(&sql).await;
    connection.close().await;
}

/// Asks for a hold of `qty` units for box.
async fn hold(clients: &Clients, product_id: i64, qty: i32) -> Result<Hold, Status> {
    clients.hold_by(hold_of("box", product_id, qty)).await
}

fn assert_has(refused: Result<Hold, Status>, units: i64) {
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(metadata(&status)["alreadyTaken"], units.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn later_holds_count_wherever_they_are_made_and_what_comes_back_is_to_be_had_again() {
    let sale = Sale::start("box_later_holds").await;
    let other = sale.second_server().await;
    let product_id = box_office(&sale.database, sale.clients(), MANY + 10, MANY).await;
    // After these, each server has seen box and remembers a bound of it.
    let first = hold(sale.clients(), product_id, 1).await.unwrap();
    let second = hold(&other.clients, product_id, 1).await.unwrap();
    for _ in 0..2 {
        hold(sale.clients(), product_id, 2).await.unwrap();
        hold(&other.clients, product_id, 2).await.unwrap();
    }
    assert_has(hold(sale.clients(), product_id, 1).await, MANY + 10);
    assert_has(hold(&other.clients, product_id, 1).await, MANY + 10);
    for hold_id in [first.hold_id, second.hold_id, 1] {
        other.clients.release(hold_id).await.unwrap();
    }
    assert_has(hold(sale.clients(), product_id, 4).await, MANY + 7);
    hold(sale.clients(), product_id, 2).await.unwrap();
    hold(&other.clients, product_id, 1).await.unwrap();
    assert_has(hold(sale.clients(), product_id, 1).await, MANY + 10);
    // Other buyers, in the same batch or alone, are not affected.
    other.clients.hold_by(hold_of("ann", product_id, 9)).await.unwrap();
    other.stop().await;
    sale.finish().await;
}

/// Rule 8 holds also for expired holds that are part of the bound, and so are not counted any more.
#[tokio::test(flavor = "multi_thread")]
async fn holds_past_their_time_do_not_count_however_many_they_are() {
    let sale = Sale::start("box_past_holds").await;
    let product_id = box_office(&sale.database, sale.clients(), 5010, 5000).await;
    for _ in 0..2 {
        hold(sale.clients(), product_id, 1).await.unwrap();
    }
    sale.expire_all_holds().await;
    let last = hold(sale.clients(), product_id, 5010).await.unwrap();
    assert_has(hold(sale.clients(), product_id, 1).await, 5010);
    // Their units went back at once, so no later batch finds them again.
    assert_eq!(sale.count("holds WHERE status = 'active'").await, 1);
    assert_eq!(sale.stock(product_id).await, 100_000 - 5010);
    sale.clients().release(last.hold_id).await.unwrap();
    hold(sale.clients(), product_id, 5010).await.unwrap();
    sale.finish().await;
}

/// A hold that is found twice, by its buyer and by its product, goes back once.
#[tokio::test(flavor = "multi_thread")]
async fn holds_past_their_time_go_back_once_also_where_stock_is_short() {
    let sale = Sale::start("box_past_and_short").await;
    let request = CreateProductRequest { max_per_buyer: Some(5), ..product(5) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    hold(sale.clients(), product_id, 2).await.unwrap();
    sale.clients().hold_by(hold_of("ann", product_id, 3)).await.unwrap();
    sale.expire_all_holds().await;
    hold(sale.clients(), product_id, 5).await.unwrap();
    assert_eq!((sale.stock(product_id).await, sale.count("holds WHERE status = 'expired'").await), (0, 2));
    sale.finish().await;
}

/// Holds that were counted once are not counted again for each new hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_buyer_with_many_is_one_script_too() {
    let sale = Sale::start("box_one_script").await;
    let product_id = box_office(&sale.database, sale.clients(), 1000, MANY).await;
    let counted = CountedCheckout::open(&sale.database).await;
    let mut costs = Vec::new();
    for _ in 0..30 {
        let (held, sent) = counted.hold(hold_of("box", product_id, 1)).await;
        held.unwrap();
        costs.push((sent.queries, sent.executes));
    }
    assert_eq!(costs[0], (2, 3), "BEGIN, the product, the buyer, the script, its ids");
    // On a busy machine a hold may take so long that the server moves the bound on, which is one more read.
    assert!(costs[1..].iter().all(|cost| [(1, 1), (1, 2)].contains(cost)), "{costs:?}");
    assert!(costs[1..].contains(&(1, 1)), "the script, its ids and its moment: {costs:?}");
    counted.close().await;
    sale.finish().await;
}

/// Returns how many rows and index entries the database server has read so far.
async fn reads(database: &TestDatabase) -> i64 {
    let rows = database.query_rows("SHOW GLOBAL STATUS LIKE 'Handler_read%'").await;
    rows.iter().map(|row| row[1].parse::<i64>().unwrap()).sum()
}

/// Measures by the rows that the database reads, because times depend on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn neither_dead_rows_nor_thousands_of_live_ones_are_read_for_each_hold() {
    const HOLDS: i64 = 20;
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "box_reads").await;
    let server = TestServer::start(&database).await;
    let product_id = box_office(&database, &server.clients, 10_000, 5000).await;
    insert_holds(&database, product_id, "cancelled", 40_000).await;
    let first = reads(&database).await;
    hold(&server.clients, product_id, 1).await.unwrap();
    let before = reads(&database).await;
    assert!(before - first < 15_000, "{} reads where box has 5,000 holds that count", before - first);
    for _ in 0..HOLDS {
        hold(&server.clients, product_id, 1).await.unwrap();
    }
    let reads_each = (reads(&database).await - before) / HOLDS;
    assert!(reads_each < 1000, "{reads_each} reads for a hold");
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// The query forces its index. The optimizer would read all rows of a product where one buyer has most of them.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_very_many_buyers_at_once_is_looked_up_beside_one_with_most_rows() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "box_many_buyers").await;
    let server = TestServer::start(&database).await;
    let product_id = box_office(&database, &server.clients, 10_000, 5000).await;
    server.stop().await;
    insert_holds(&database, product_id, "cancelled", 20_000).await;
    database.query_rows("ANALYZE TABLE holds").await;

    let service = Database::new(&database_config(&database.url(), 1)).unwrap();
    let product_id = ProductId::stored(product_id);
    let buyers: Vec<BuyerId> = (0..256).map(|number| BuyerId::parse(&format!("ann{number}")).unwrap()).collect();
    let read = async |conn: &mut Connection, _attempt| {
        let taken = buyer_units::of_buyers(&mut *conn, product_id, &buyers.iter().collect::<Vec<_>>()).await?;
        assert_eq!(taken, BTreeMap::new());
        products::read(conn, product_id).await
    };
    let before = reads(&database).await;
    let (product, _) = service.read("count", read).await.unwrap().unwrap();
    let counted = reads(&database).await;
    let new: Vec<NewHold> = buyers
        .iter()
        .map(|buyer| NewHold {
            qty: Quantity::stored(1),
            request_id: RequestId::stored(buyer.as_bytes().to_vec()),
            buyer_id: Some(buyer.clone()),
        })
        .collect();
    let mut script = Script::default();
    let last_moment = SystemTime::now() + Duration::from_secs(60);
    products::take_optimistically(&mut script, &product, 256, &new, &BTreeMap::new(), last_moment);
    holds::insert_at_script_time(&mut script, product_id, 1000, Duration::from_secs(120), &new);
    let never = async |_conn: &mut Connection, _attempt| -> Result<Plan<()>, Failure> { panic!("the script failed") };
    service.unattended().optimistic_transaction(Some(Plan { script, value: () }), "hold", never).await.unwrap();
    let made = reads(&database).await;
    assert!(counted - before < 5000, "{} reads to count", counted - before);
    assert!(made - counted < 5000, "{} reads to hold", made - counted);
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// A server that sells a product notices such a buyer by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_with_many_holds_is_noticed_while_the_product_sells() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "box_noticed").await;
    let server = TestServer::start(&database).await;
    let product_id = box_office(&database, &server.clients, 10_000, 5000).await;
    server.clients.hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    for _ in 0..40 {
        hold(&server.clients, product_id, 1).await.unwrap();
    }
    let before = reads(&database).await;
    hold(&server.clients, product_id, 1).await.unwrap();
    let reads = reads(&database).await - before;
    assert!(reads < 3000, "{reads} reads for a hold");
    server.stop().await;
    database.assert_conserved().await;
}

/// A database that was set back to an earlier state gives the same ids to other holds. A bound says nothing about
/// those.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_forgotten_where_ids_are_given_out_again() {
    let sale = Sale::start("box_ids_again").await;
    let product_id = box_office(&sale.database, sale.clients(), MANY + 10, MANY).await;
    let other = sale.second_server().await;
    for number in 0..50 {
        other.clients.hold_by(hold_of(&format!("ann{number}"), product_id, 1)).await.unwrap();
    }
    hold(&other.clients, product_id, 1).await.unwrap();
    other.stop().await;
    hold(sale.clients(), product_id, 1).await.unwrap();
    let lost = format!("FROM holds WHERE id > {MANY}");
    let units = sale.database.query_i64(&format!("SELECT SUM(qty) {lost}")).await;
    sale.database.execute(&format!("DELETE {lost}")).await;
    sale.database.execute(&format!("UPDATE products SET available_stock = available_stock + {units}")).await;
    sale.database.execute(&format!("ALTER TABLE holds AUTO_INCREMENT = {}", MANY + 1)).await;
    for _ in 0..10 {
        hold(sale.clients(), product_id, 1).await.unwrap();
    }
    assert_has(hold(sale.clients(), product_id, 1).await, MANY + 10);
    sale.finish().await;
}

/// Plays one caller of the storm, which holds units, releases some of them, and orders some.
async fn one_caller(clients: Clients, product_id: i64, number: usize) {
    for round in 0..12 {
        let qty = i32::try_from((number + round) % 3 + 1).unwrap();
        let Ok(hold) = hold(&clients, product_id, qty).await else { continue };
        // The hold may have expired meanwhile.
        match (number + round) % 4 {
            0 => _ = clients.release(hold.hold_id).await,
            1 => _ = clients.order(hold.hold_id).await,
            _ => {}
        }
    }
}

/// Lets one hold in 40 expire, and then sweeps some. Holds that are locked are left alone.
async fn lapse(sale: &Sale, connection: &mut RawConnection, turn: i64) {
    let sql = "UPDATE holds FORCE INDEX (PRIMARY) SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND \
        WHERE status = 'active'";
    let _ = connection.try_execute(&format!("{sql} AND id % 40 = {}", turn % 40)).await;
    if turn % 3 == 0 {
        expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 30).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_exactly_in_a_storm_of_two_servers() {
    const HELD: i64 = 3000;
    const LIMIT: i64 = HELD + 60;
    // On a slow machine, too, only the holds that the test lets expire do so.
    let settings = Settings { hold_ttl: Duration::from_secs(3600), ..default_settings() };
    let sale = Sale::start_with("box_storm", settings).await;
    let other = TestServer::start_with(&sale.database.url(), settings).await;
    let product_id = box_office(&sale.database, sale.clients(), LIMIT, HELD).await;
    let counted = format!(
        "SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM holds WHERE product_id = {product_id} AND buyer_id = 'box' \
         AND (status = 'used' OR status = 'active' AND expires_at >= UTC_TIMESTAMP(6))"
    );
    let mut connection = sale.database.connect().await;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
    sale.database.move_times("DO 0").await;
    for wave in 0..4 {
        let calls = at_once(24, |number| {
            let clients = if number % 2 == 0 { sale.clients().clone() } else { other.clients.clone() };
            one_caller(clients, product_id, number)
        });
        let lapses = async {
            for turn in 0..10 {
                lapse(&sale, &mut connection, wave * 10 + turn).await;
                let units = sale.database.query_i64(&counted).await;
                assert!(units <= LIMIT, "{units} units");
            }
        };
        tokio::join!(calls, lapses);
        // Both servers in turn hold as much as they get.
        for qty in [100, 10, 1] {
            for clients in [sale.clients(), &other.clients] {
                while hold(clients, product_id, qty).await.is_ok() {}
            }
        }
        assert_has(hold(sale.clients(), product_id, 1).await, LIMIT);
        assert_has(hold(&other.clients, product_id, 1).await, LIMIT);
        assert_eq!(sale.database.query_i64(&counted).await, LIMIT, "wave {wave}");
    }
    connection.close().await;
    other.stop().await;
    sale.finish().await;
}
