//! Sweeps a hundred thousand expired holds while the same product sells, and a million alone.
//!
//! A loop of one transaction per hold is measured beside it.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    bench::{Bench, PLENTY},
    callers::{self, Hold},
    load::closed_loop,
    machine,
    measure::measure,
    results::Design,
    support::wait,
};

/// How long a sweep may take.
const SWEEP_MAX: Duration = Duration::from_secs(600);

/// Holds what a sweep did.
struct Sweep {
    seconds: f64,
    peak_bytes: u64,
}

pub(crate) async fn sweeping(bench: &mut Bench) {
    let clients = super::many(bench);
    let (some, all) = if bench.options.quick { (10_000, 50_000) } else { (100_000, 1_000_000) };
    for _ in 0..bench.options.rounds() {
        bench.holds("sweeping_while_selling_none", Design::Flashsale, clients, 1, None).await;
        sell_while_sweeping(bench, clients, some).await;
    }

    let rate = one_by_one(bench).await;
    bench.figure("one transaction per expired hold", rate, "holds/s");

    let product = expired(bench, all).await;
    let sweep = sweep(bench).await;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let count = all as f64;
    bench.figure(&format!("sweep of {all} expired holds"), sweep.seconds, "s");
    bench.figure("sweep", count / sweep.seconds, "holds/s");
    bench.figure("sweep over one transaction per hold", count / sweep.seconds / rate, "×");
    #[expect(clippy::cast_precision_loss, reason = "a size")]
    bench.figure("sweeper's peak memory", sweep.peak_bytes as f64 / 1_048_576.0, "MiB");
    let left = callers::available_stock(&bench.address(Design::Flashsale), product).await;
    if left != PLENTY {
        bench.fault(format!("sweeping: {} units did not come back", PLENTY - left));
    }
}

/// Makes a product with expired holds that nobody has swept.
async fn expired(bench: &Bench, count: u64) -> i64 {
    const BLOCK: u64 = 50_000;
    let product = callers::create_product(&bench.address(Design::Flashsale), PLENTY, None).await;
    let database = &bench.shop.database;
    let mut made = 0;
    while made < count {
        let block = BLOCK.min(count - made);
        let rows: Vec<String> = (0..block)
            .map(|row| made + row)
            .map(|row| format!("({product},1,1000,'2020-01-01 00:02:00.{row:06}','2020-01-01','bench-{row}')"))
            .collect();
        let into = "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id) VALUES ";
        database.execute(&format!("{into}{}", rows.join(","))).await;
        made += block;
    }
    let update = "UPDATE products SET available_stock = available_stock - ";
    database.execute(&format!("{update}{count} WHERE id = {product}")).await;
    product
}

/// Sells a product while its expired holds are swept; the load lasts as long as usual.
async fn sell_while_sweeping(bench: &mut Bench, clients: usize, count: u64) {
    let address = bench.address(Design::Flashsale);
    let product = expired(bench, count).await;
    let hold = |channel| Hold::new(channel, &[product]);
    let calls: Vec<Hold> = callers::connect(&address, clients).await.into_iter().map(hold).collect();
    let period = bench.options.period();
    let processes = bench.processes(Design::Flashsale);
    let load = measure(&bench.shop, &processes, period, closed_loop(&calls, clients, period));
    let ((round, outcome), sweep) = tokio::join!(load, sweep(bench));
    bench.keep("sweeping_while_selling", Design::Flashsale, clients, &round, &outcome);
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    bench.figure("sweep while selling", count as f64 / sweep.seconds, "holds/s");
    bench.check_books(Design::Flashsale, &[product], PLENTY, &outcome).await;
}

/// Runs the real sweeper once.
async fn sweep(bench: &Bench) -> Sweep {
    let log = std::fs::File::create(bench.shop.folder().join("sweeper.log")).unwrap();
    let started = Instant::now();
    let mut sweeper = bench.shop.sweeper().stdin(Stdio::null()).stdout(log).spawn().unwrap();
    let mut peak_bytes = 0;
    let status = wait::eventually_some(SWEEP_MAX, "the end of a sweep", async || {
        peak_bytes = peak_bytes.max(machine::peak_bytes(sweeper.id()));
        sweeper.try_wait().unwrap()
    })
    .await;
    assert!(status.success(), "the sweeper failed: {status}");
    Sweep { seconds: started.elapsed().as_secs_f64(), peak_bytes }
}

/// Sweeps as a loop of one transaction per hold would, and returns holds a second.
async fn one_by_one(bench: &Bench) -> f64 {
    const HOLDS: u32 = 500;
    let product = expired(bench, u64::from(HOLDS)).await;
    let mut conn = bench.shop.database.connect().await;
    conn.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
    let started = Instant::now();
    for _ in 0..HOLDS {
        conn.execute("BEGIN").await;
        let id = conn
            .query_i64(
                "SELECT id FROM holds WHERE status = 'active' AND expires_at < UTC_TIMESTAMP(6)
                  ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            )
            .await;
        conn.execute(&format!("UPDATE holds SET status = 'expired' WHERE id = {id}")).await;
        conn.execute(&format!("UPDATE products SET available_stock = available_stock + 1 WHERE id = {product}")).await;
        conn.execute("COMMIT").await;
    }
    let rate = f64::from(HOLDS) / started.elapsed().as_secs_f64();
    conn.close().await;
    rate
}
