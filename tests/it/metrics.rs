//! The pages of metrics of real programs against the table of `docs/metrics.md`, and against the sale.

mod otlp;
mod page;
mod promql;
mod table;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use flashsale::{
    config::Account,
    pb::{CreateHoldRequest, CreateHoldResponse, PaymentStatus},
};
use serde_json::json;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use self::{
    page::Page,
    table::{Metric, metrics},
};
use crate::support::{
    client::reason,
    database::TestDatabase,
    process::{Process, Program},
    programs::{GatewayProgram, ServerProgram, sweep},
    proxy::Proxy,
    sale::{event, product},
    wait,
    wire::{Wire, framed},
};

const LIMIT: Duration = Duration::from_secs(30);
/// How long a page may take, whatever the database does.
const PAGE_MAX: Duration = Duration::from_secs(2);
const CREATE_HOLD: &str = "flashsale.v1.FlashSaleService/CreateHold";
const SWEPT_AT: &str = "flashsale_sweeper_last_success_timestamp_seconds";
const AUDITED_AT: &str = "flashsale_audit_last_success_timestamp_seconds";
const STATES: [&str; 4] = ["available", "held", "pending", "paid"];
/// Signs nothing: every webhook is refused.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const SETTINGS: [(&str, &str); 3] = [
    ("FLASHSALE_WEBHOOK_SECRETS", SECRET),
    ("FLASHSALE_STRIPE_SECRETS", "whsec_0123456789abcdef"),
    ("FLASHSALE_GATEWAY_TIMEOUT", "500ms"),
];

/// Runs a server and a gateway with short deadlines.
struct Shop {
    database: TestDatabase,
    server: ServerProgram,
    gateway: GatewayProgram,
}

impl Shop {
    async fn open(name: &str) -> Self {
        let database = TestDatabase::create(name).await;
        let server = ServerProgram::start(&database.url(), &[]).await;
        let gateway = GatewayProgram::start(&server.address, &SETTINGS).await;
        let shop = Self { database, server, gateway };
        // The first check of the database is over, so a page has what is read from it.
        shop.server.clients.create_product("Shoe", 1000, 10).await;
        shop
    }

    async fn pages(&self) -> BTreeMap<&'static str, Page> {
        let (server, gateway) = (self.server.metrics().await, self.gateway.metrics().await);
        BTreeMap::from([("server", Page::parse(&server)), ("gateway", Page::parse(&gateway))])
    }

    /// Returns the first page that is as it should be. What is read from the database may be 15 s old.
    async fn page_where(&self, is_it: impl Fn(&Page) -> bool) -> Page {
        wait::eventually_some(LIMIT, "the page", async || {
            Some(Page::parse(&self.server.metrics().await)).filter(|page| is_it(page))
        })
        .await
    }

    /// Runs `sweeper audit` and returns its exit code.
    async fn audit(&self) -> i32 {
        let url = self.database.url_for(Account::Auditor);
        let mut audit = Process::spawn(Program::Sweeper, &["audit"], &[("DATABASE_URL", &url)]);
        audit.wait_exit(LIMIT).await
    }

    async fn close(self) {
        self.gateway.stop().await;
        self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_beforehand_is_on_the_first_page_and_counters_begin_at_0() {
    let shop = Shop::open("metrics_zero").await;
    let pages = shop.pages().await;
    let mut missing = Vec::new();
    for metric in metrics() {
        for program in &metric.programs {
            let series: Vec<_> = pages[program.as_str()].series_of(&metric.name).collect();
            if metric.kind != "histogram" && series.is_empty() {
                missing.push(format!("{} of {program}", metric.name));
            }
            for (label, values) in metric.labels.iter().filter(|_| metric.kind != "histogram") {
                let found: BTreeSet<&str> = series.iter().filter_map(|series| series.label(label)).collect();
                let wanted: BTreeSet<&str> = values.iter().map(String::as_str).collect();
                if !wanted.is_subset(&found) {
                    missing.push(format!("{} of {program} lacks {label} in {:?}", metric.name, &wanted - &found));
                }
            }
            let counts = metric.kind == "counter" && metric.name.starts_with("flashsale_");
            for series in series.iter().filter(|series| counts && series.value != 0.0) {
                missing.push(format!("{} of {program} begins at {}: {series:?}", metric.name, series.value));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_label_of_the_table_is_on_a_page_and_nothing_else_is() {
    let shop = Shop::open("metrics_table").await;
    sell(&shop).await;
    let pages = shop.pages().await;
    let table: BTreeMap<String, Metric> = metrics().into_iter().map(|metric| (metric.name.clone(), metric)).collect();
    let mut faults = Vec::new();
    for metric in table.values() {
        for program in &metric.programs {
            let page = &pages[program.as_str()];
            match page.kind(&metric.name) {
                Some(kind) if kind == metric.kind => {}
                kind => faults.push(format!("{} of {program} is {kind:?}, not a {}", metric.name, metric.kind)),
            }
            for label in metric.labels.keys() {
                if !page.series_of(&metric.name).any(|series| series.label(label).is_some()) {
                    faults.push(format!("{} of {program} never has the label {label}", metric.name));
                }
            }
        }
    }
    for (program, page) in &pages {
        for series in &page.series {
            let Some(metric) = table.get(&series.metric).filter(|metric| metric.is_of(program)) else {
                faults.push(format!("{program} has {}, which is not in the table", series.metric));
                continue;
            };
            for (label, value) in series.labels.iter().filter(|(label, _)| *label != "le") {
                match metric.labels.get(label) {
                    None => faults.push(format!("{program}: {} has a label {label}", series.metric)),
                    Some(values) if values.is_empty() || values.contains(value) => {}
                    Some(_) => faults.push(format!("{program}: {} has {label}={value}", series.metric)),
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let server = &pages["server"];
    let faulty = server.series_of("rpc_server_call_duration_seconds").filter(|call| call.label("error_type").is_some());
    let codes: BTreeSet<_> = faulty.filter_map(|call| call.label("rpc_status_code")).collect();
    assert_eq!(codes, BTreeSet::from(["DEADLINE_EXCEEDED", "UNAVAILABLE"]), "the calls that met the lock");
    let methods: BTreeSet<_> =
        server.series_of("rpc_server_call_duration_seconds").filter_map(|call| call.label("rpc_method")).collect();
    assert!(methods.contains("_OTHER") && methods.contains("grpc.health.v1.Health/Check"), "{methods:?}");
    promtool(&shop).await;
    shop.close().await;
}

/// Makes each program do something of each kind.
async fn sell(shop: &Shop) {
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Sock", 1000, 10).await.product_id;
    let hold_id = clients.hold(product_id, 2).await.unwrap().hold_id;
    let order_id = clients.order(hold_id).await.unwrap().order_id;
    clients.pay("key", order_id, PaymentStatus::Success).await.unwrap();
    clients.hold(product_id, 99).await.unwrap_err();
    let channel = tonic::transport::Endpoint::new(format!("http://{}", shop.server.address)).unwrap().connect_lazy();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    let wire = Wire::connect(&shop.server.address).await;
    let unknown = wire.send("flashsale.v1.FlashSaleService/Secret", &[], framed(&[])).await;
    assert_eq!(reason(&unknown.unwrap_err()), "UNIMPLEMENTED");

    // A locked product: a lock wait, a call without an answer in time, and one of the gateway.
    let mut holder = shop.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    // A client with a timer of its own might reset the call before the server has answered it.
    let hold = CreateHoldRequest { product_id, qty: 1, ..Default::default() };
    let late = wire.call::<CreateHoldResponse>(CREATE_HOLD, &[("grpc-timeout", "300m")], &hold);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", shop.gateway.address);
    let body = json!({"product_id": product_id, "qty": 1});
    let (late, of_gateway, waited) =
        tokio::join!(late, http.post(url("/api/holds")).json(&body).send(), clients.hold(product_id, 1));
    assert_eq!(late.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(of_gateway.unwrap().status(), 504);
    assert_eq!(reason(&waited.unwrap_err()), "LOCK_CONTENTION");
    holder.execute("ROLLBACK").await;

    for path in [format!("/api/products/{product_id}"), "/nowhere".to_owned()] {
        http.get(url(&path)).send().await.unwrap();
    }
    let refused = http.post(url("/api/payments/webhook")).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

/// Lets Prometheus's own tool judge the pages, where it is installed.
async fn promtool(shop: &Shop) {
    for page in [shop.server.metrics().await, shop.gateway.metrics().await] {
        let spawned = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = spawned else {
            eprintln!(
                "!!! promtool is not installed (package prometheus): the pages of metrics were NOT CHECKED by it"
            );
            return;
        };
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let faults: Vec<&str> = said.lines().filter(|line| !line.starts_with("db_client_connection_count ")).collect();
        assert!(faults.is_empty(), "promtool check metrics: {faults:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_stock_overdue_rows_exceptions_sweeps_and_audits_as_they_are() {
    let shop = Shop::open("metrics_figures").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Sock", 1000, 100).await.product_id;
    clients.hold(product_id, 10).await.unwrap();
    let mut orders = Vec::new();
    for qty in [2, 3, 4] {
        let hold_id = clients.hold(product_id, qty).await.unwrap().hold_id;
        orders.push(clients.order(hold_id).await.unwrap().order_id);
    }
    for key in ["paid", "paid twice"] {
        clients.pay(key, orders[0], PaymentStatus::Success).await.unwrap();
    }
    clients.pay_by(event("a cent off", orders[1], PaymentStatus::Success, Some(1))).await.unwrap();
    let expired = clients.hold(product_id, 20).await.unwrap().hold_id;
    let over = clients.try_create_product(product(5)).await.unwrap().product_id;
    let page = Page::parse(&shop.server.metrics().await);
    for never in [SWEPT_AT, AUDITED_AT] {
        assert_eq!(page.value(never, &[]), Some(0.0), "{never}");
    }
    let stats = clients.stats(product_id).await.unwrap();
    let told = [stats.available_stock, stats.held_stock, stats.pending_stock, stats.paid_stock];
    assert_eq!(told, [61, 30, 7, 2]);
    let by_state = STATES.map(|state| page.usage(product_id, state).unwrap());
    assert_eq!(by_state, told.map(|units| units as f64), "as GetSaleStats");
    assert_eq!(page.usage(over, "available"), Some(5.0));

    assert_eq!(shop.audit().await, 0);
    let is_over = format!("UPDATE products SET ends_at = UTC_TIMESTAMP(6) - INTERVAL 25 HOUR WHERE id = {over}");
    shop.database.execute(&is_over).await;
    for past in [
        format!("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 100 SECOND WHERE id = {expired}"),
        format!("UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {}", orders[2]),
    ] {
        shop.database.move_times(&past).await;
    }
    let page = shop.page_where(|page| page.value("flashsale_order_overdue", &[]) == Some(1.0)).await;
    let by_state = STATES.map(|state| page.usage(product_id, state).unwrap());
    assert_eq!(by_state, [85.0, 10.0, 3.0, 2.0]);
    assert_eq!(page.value("flashsale_stock_limit", &[("product_id", &product_id.to_string())]), Some(100.0));
    assert_eq!(page.usage(over, "available"), None, "over for a day");
    assert_eq!(page.value("flashsale_hold_overdue", &[]), Some(1.0));
    let oldest = page.value("flashsale_hold_overdue_oldest_seconds", &[]).unwrap();
    assert!((100.0..160.0).contains(&oldest), "{oldest}");
    for (kind, count) in [("late_success", 0.0), ("duplicate_success", 1.0), ("amount_mismatch", 1.0)] {
        assert_eq!(page.value("flashsale_payment_exception_open", &[("kind", kind)]), Some(count), "{kind}");
    }
    let audited_at = page.value(AUDITED_AT, &[]).unwrap();
    assert!((now() - audited_at).abs() < 120.0, "{audited_at}");

    assert_eq!(sweep(&shop.database.url(), &[]).await.0, 0);
    shop.database.execute(&format!("UPDATE products SET available_stock = 0 WHERE id = {product_id}")).await;
    assert_eq!(shop.audit().await, 1);
    let page = shop.page_where(|page| page.value("flashsale_audit_findings", &[]) > Some(0.0)).await;
    assert_eq!(page.value(AUDITED_AT, &[]), Some(audited_at), "only a clean audit counts");
    let swept_at = page.value(SWEPT_AT, &[]).unwrap();
    assert!((now() - swept_at).abs() < 120.0, "{swept_at}");
    for (name, value) in [("hold_overdue", 0.0), ("order_overdue", 0.0), ("sweeper_runs_total", 1.0)] {
        assert_eq!(page.value(&format!("flashsale_{name}"), &[]), Some(value), "{name}");
    }
    for (name, value) in [("holds_expired", 1.0), ("orders_cancelled", 1.0), ("stock_released", 24.0)] {
        assert_eq!(page.value(&format!("flashsale_sweeper_{name}_total"), &[]), Some(value), "{name}");
    }
    shop.gateway.stop().await;
    shop.server.stop().await;
    shop.database.assert_no_open_transactions().await;
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_does_not_hold_up_the_page() {
    let database = TestDatabase::create("metrics_away").await;
    let proxy = Proxy::start(database.port()).await;
    let server = ServerProgram::start(&database.url_at(proxy.port()), &[]).await;
    server.clients.create_product("Shoe", 1000, 10).await;
    proxy.blackhole();
    for _ in 0..2 {
        let began = Instant::now();
        let page = Page::parse(&server.metrics().await);
        assert!(began.elapsed() < PAGE_MAX, "{:?}", began.elapsed());
        assert_eq!(page.value("flashsale_hold_requests_total", &[("outcome", "created")]), Some(0.0));
        assert_eq!(page.value("flashsale_stock_limit", &[("product_id", "1")]), None, "nothing was read yet");
    }
    proxy.heal();
    wait::eventually(LIMIT * 2, "the figures", async || {
        Page::parse(&server.metrics().await).value("flashsale_stock_limit", &[("product_id", "1")]) == Some(10.0)
    })
    .await;
    server.stop().await;
    database.assert_conserved().await;
}
