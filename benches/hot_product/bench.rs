//! Holds a run: its processes, what was measured so far, and the checks after each measurement.

use std::time::Instant;

use crate::{
    callers::{self, Empty, Hold},
    load::{Call, Outcome, closed_loop},
    machine,
    measure::{Processes, measure},
    options::Options,
    reference,
    results::{Cell, Design, Figure, Moment, Round, Run},
    shop::{self, Process, Shop},
    support::mysqld::free_port,
    tls,
};

/// The variable that says where spans go.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// A stock that no round sells out.
pub(crate) const PLENTY: i64 = 1_000_000_000;

/// Holds a server that is called, and the processes behind it.
struct Contestant {
    design: Design,
    server: Process,
    redis: Option<Process>,
}

/// Holds the state of a run.
pub(crate) struct Bench {
    pub(crate) options: Options,
    // The contestants stand before the shop, in whose folder they write.
    contestants: Vec<Contestant>,
    _collector: Option<Process>,
    pub(crate) shop: Shop,
    started: Instant,
    run: Run,
}

impl Bench {
    /// Starts everything that is compared.
    pub(crate) async fn start(options: Options) -> Self {
        let started_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let shop = Shop::open().await;
        let redis = shop::redis_version();
        let mut contestants = vec![Contestant { design: Design::Flashsale, server: shop.server().await, redis: None }];
        let collector = if options.against_collector { Some(shop.collector().await) } else { None };
        if let Some(program) = &options.other_server() {
            let address = format!("127.0.0.1:{}", free_port());
            let mut env = options.against_env.clone();
            env.extend(
                collector.iter().map(|collector| (ENDPOINT.to_owned(), format!("http://{}", collector.address))),
            );
            if options.against_tls {
                env.extend(tls::settings(shop.folder()));
            }
            let mut server = shop.server_of(program, &address, &env).await;
            if options.against_tls {
                server.address = tls::url(&address);
            }
            contestants.push(Contestant { design: Design::Other, server, redis: None });
        }
        if options.compares(Design::Plain) {
            let server = shop.reference(reference::PLAIN, &shop.database.owner_url()).await;
            contestants.push(Contestant { design: Design::Plain, server, redis: None });
        }
        for (design, appendfsync) in [(Design::RedisEverysec, "everysec"), (Design::RedisAlways, "always")] {
            if !options.compares(design) {
                continue;
            }
            let Some(redis) = shop.redis(appendfsync).await else { continue };
            let server = shop.reference(reference::REDIS, &format!("redis://{}", redis.address)).await;
            contestants.push(Contestant { design, server, redis: Some(redis) });
        }
        let run = Run {
            started_at,
            seconds: 0.0,
            quick: options.quick,
            machine: machine::description(),
            database: shop.version.clone(),
            database_settings: shop.settings.clone(),
            redis,
            cells: Vec::new(),
            timeline: Vec::new(),
            figures: Vec::new(),
            checks: Vec::new(),
            comparisons: Vec::new(),
            faults: Vec::new(),
        };
        println!("{}\n{}", run.machine, run.database);
        for (name, value) in &run.database_settings {
            println!("  {name} = {value}");
        }
        println!("{}", run.redis.as_deref().unwrap_or("redis-server is not installed: measured without Redis"));
        Self { options, contestants, _collector: collector, shop, started: Instant::now(), run }
    }

    /// Returns what was measured, with the time that it took.
    pub(crate) fn finish(mut self) -> Run {
        self.run.seconds = self.started.elapsed().as_secs_f64();
        self.run
    }

    /// Returns what was measured so far.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Returns the designs of a round in their order, out of those that run.
    ///
    /// After two rounds the next design begins. The second of the two goes backwards, so that no design always follows
    /// the same one.
    pub(crate) fn turns(&self, round: u32, designs: &[Design]) -> Vec<Design> {
        let present = |design: &Design| self.options.compares(*design) && self.contestant(*design).is_some();
        let mut turns: Vec<Design> = designs.iter().copied().filter(present).collect();
        let first = usize::try_from(round / 2).unwrap_or(0) % turns.len().max(1);
        turns.rotate_left(first);
        if !round.is_multiple_of(2) {
            turns.reverse();
        }
        turns
    }

    fn contestant(&self, design: Design) -> Option<&Contestant> {
        // The service's server answers the empty RPC.
        let design = if design == Design::Ceiling { Design::Flashsale } else { design };
        self.contestants.iter().find(|contestant| contestant.design == design)
    }

    /// Returns the address of a design's server.
    pub(crate) fn address(&self, design: Design) -> String {
        self.contestant(design).map(|contestant| contestant.server.address.clone()).unwrap_or_default()
    }

    /// Returns the processes whose time and memory count for a design.
    pub(crate) fn processes(&self, design: Design) -> Processes {
        let Some(contestant) = self.contestant(design) else { return Processes::default() };
        let database = contestant.redis.as_ref().map_or_else(|| self.shop.database_pid(), Process::pid);
        Processes { servers: vec![contestant.server.pid()], database: vec![database] }
    }

    /// Returns the service's server, for a scenario that stops and starts it.
    pub(crate) fn server(&mut self) -> Option<&mut Process> {
        let found = self.contestants.iter_mut().find(|contestant| contestant.design == Design::Flashsale);
        found.map(|contestant| &mut contestant.server)
    }

    /// Measures callers of one kind of call, and keeps the round.
    pub(crate) async fn round<C: Call>(
        &mut self,
        scenario: &str,
        design: Design,
        calls: &[C],
        clients: usize,
    ) -> (Round, Outcome) {
        let period = self.options.period();
        let load = closed_loop(calls, clients, period);
        let (round, outcome) = measure(&self.shop, &self.processes(design), period, load).await;
        self.keep(scenario, design, clients, &round, &outcome);
        (round, outcome)
    }

    /// Keeps a round, and prints it.
    pub(crate) fn keep(&mut self, scenario: &str, design: Design, clients: usize, round: &Round, outcome: &Outcome) {
        println!(
            "{scenario:<20} {:<28} {clients:>5}  {:>9.0}/s granted {:>9.0}/s refused  p50 {:>8.2} ms  p99 {:>8.2} ms",
            design.label(),
            round.granted_per_second,
            round.refused_per_second,
            millis(round.latency.p50_us),
            millis(round.latency.p99_us),
        );
        if let Some(failure) = &outcome.first_failure {
            println!("  {} calls failed; the first: {failure}", outcome.failed);
        }
        let cells = &mut self.run.cells;
        let same = |cell: &&mut Cell| cell.scenario == scenario && cell.design == design && cell.clients == clients;
        match cells.iter_mut().find(same) {
            Some(cell) => cell.rounds.push(round.clone()),
            None => {
                cells.push(Cell { scenario: scenario.to_owned(), design, clients, rounds: vec![round.clone()] });
            }
        }
    }

    /// Measures the empty RPC.
    pub(crate) async fn empty(&mut self, scenario: &str, clients: usize) {
        let channels = callers::connect(&self.address(Design::Ceiling), clients).await;
        let calls: Vec<Empty> = channels.into_iter().map(Empty::new).collect();
        self.round(scenario, Design::Ceiling, &calls, clients).await;
    }

    /// Measures holds of new products with plenty of stock, and checks the books.
    pub(crate) async fn holds(
        &mut self,
        scenario: &str,
        design: Design,
        clients: usize,
        products: usize,
        limit: Option<i32>,
    ) {
        let address = self.address(design);
        let mut ids = Vec::new();
        for _ in 0..products {
            ids.push(callers::create_product(&address, PLENTY, limit).await);
        }
        let hold = |channel| Hold::new(channel, &ids);
        let calls = callers::connect(&address, clients).await.into_iter().map(hold);
        let calls: Vec<Hold> = if limit.is_some() { calls.map(Hold::by_buyers).collect() } else { calls.collect() };
        let (_, outcome) = self.round(scenario, design, &calls, clients).await;
        self.check_books(design, &ids, PLENTY, &outcome).await;
    }

    /// Checks that the callers' grants are what the stock lost and what the tables hold.
    pub(crate) async fn check_books(&mut self, design: Design, products: &[i64], stock_each: i64, outcome: &Outcome) {
        let mut left = 0;
        for &product in products {
            left += callers::available_stock(&self.address(design), product).await;
        }
        let sold = stock_each * i64::try_from(products.len()).unwrap_or(0) - left;
        let granted = i64::try_from(outcome.granted_in_all).unwrap_or(0);
        // A failed call may have been granted, and its caller has only not heard of it.
        let silent = i64::try_from(outcome.failed_in_all).unwrap_or(0);
        if !(granted..=granted + silent).contains(&sold) {
            self.fault(format!("{design:?}: {granted} granted, {silent} failed, but the stock went down by {sold}"));
        }
        if matches!(design, Design::Flashsale | Design::Other | Design::Plain) {
            let list: Vec<String> = products.iter().map(ToString::to_string).collect();
            let list = list.join(",");
            let taken = format!(
                "SELECT COALESCE((SELECT SUM(qty) FROM holds WHERE product_id IN ({list}) AND status = 'active'), 0)
                      + COALESCE((SELECT SUM(qty) FROM orders WHERE product_id IN ({list}) AND status <> 'cancelled'), 0)"
            );
            let taken = self.shop.database.query_i64(&taken).await;
            if taken != sold {
                self.fault(format!("{design:?}: the stock went down by {sold}, but holds and orders have {taken}"));
            }
        }
    }

    /// Checks all tables by the tests' own SQL, and empties them for the next scenario.
    pub(crate) async fn close_books(&mut self, scenario: &str) {
        let faults = self.shop.database.conservation_faults().await;
        for fault in faults {
            self.fault(format!("{scenario}: {fault}"));
        }
        self.shop.empty().await;
    }

    /// Prints and keeps a fault, which makes the run worthless.
    pub(crate) fn fault(&mut self, what: String) {
        println!("!!! {what}");
        self.run.faults.push(what);
    }

    /// Prints and keeps a number.
    pub(crate) fn figure(&mut self, what: &str, value: f64, unit: &str) {
        println!("{what}: {value:.2} {unit}");
        self.run.figures.push(Figure { what: what.to_owned(), value, unit: unit.to_owned() });
    }

    /// Keeps the course of a sale.
    pub(crate) fn timeline(&mut self, timeline: Vec<Moment>) {
        self.run.timeline = timeline;
    }
}

/// Converts microseconds to milliseconds.
#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52")]
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
