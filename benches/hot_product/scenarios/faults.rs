//! Follows a sale from its start to sold out, and restarts a server in the middle of a sale.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    bench::{Bench, PLENTY},
    callers::{self, Hold},
    load::{Call, Period, Reply, closed_loop},
    results::{Design, Moment},
};

/// The timeline's resolution.
const TICK: Duration = Duration::from_millis(100);

/// Makes a call and writes down when it was answered.
#[derive(Clone)]
struct Watched {
    call: Hold,
    answers: Arc<Mutex<Vec<(Instant, Duration, bool)>>>,
}

impl Call for Watched {
    async fn call(&mut self) -> Reply {
        let began = Instant::now();
        let reply = self.call.call().await;
        self.answers.lock().unwrap().push((Instant::now(), began.elapsed(), reply == Reply::Granted));
        reply
    }
}

/// Sells a stock for some seconds to many callers, who then go on asking.
pub(crate) async fn timeline(bench: &mut Bench) {
    let clients = super::many(bench);
    let stock = if bench.options.quick { 20_000 } else { 60_000 };
    let address = bench.address(Design::Flashsale);
    let product = callers::create_product(&address, stock, None).await;
    let answers = Arc::new(Mutex::new(Vec::new()));
    let channels = callers::connect(&address, clients).await.into_iter();
    let watched = |channel| Watched { call: Hold::new(channel, &[product]), answers: Arc::clone(&answers) };
    let calls: Vec<Watched> = channels.map(watched).collect();
    let started = Instant::now();
    let seconds = if bench.options.quick { 2 } else { 4 };
    let period = Period { warm_up: Duration::ZERO, measured: Duration::from_secs(seconds) };
    let outcome = closed_loop(&calls, clients, period).await;
    bench.check_books(Design::Flashsale, &[product], stock, &outcome).await;

    let mut answers = std::mem::take(&mut *answers.lock().unwrap());
    answers.sort_unstable_by_key(|(at, ..)| *at);
    let per_second = |count: u32| f64::from(count) / TICK.as_secs_f64();
    let mut timeline = Vec::new();
    let mut rest = answers.as_slice();
    for tick in 1.. {
        let end = TICK * tick;
        if end > period.measured {
            break;
        }
        let (now, later) = rest.split_at(rest.partition_point(|(at, ..)| *at - started < end));
        rest = later;
        let mut latency = Histogram::<u64>::new(3).unwrap();
        let (mut granted, mut refused) = (0, 0);
        for (_, took, got) in now {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            *if *got { &mut granted } else { &mut refused } += 1;
        }
        timeline.push(Moment {
            second: end.as_secs_f64(),
            granted_per_second: per_second(granted),
            refused_per_second: per_second(refused),
            p99_us: latency.value_at_quantile(0.99),
        });
    }
    bench.timeline(timeline);
}

/// Stops the server by SIGTERM and starts a new one on its address under load: all grants have to be there.
pub(crate) async fn restart(bench: &mut Bench) {
    let clients = super::many(bench);
    let address = bench.address(Design::Flashsale);
    let product = callers::create_product(&address, PLENTY, None).await;
    let hold = |channel| Hold::new(channel, &[product]);
    let calls: Vec<Hold> = callers::connect(&address, clients).await.into_iter().map(hold).collect();
    let period = Period { warm_up: Duration::ZERO, measured: Duration::from_secs(3) };
    let load = closed_loop(&calls, clients, period);
    let restart = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        if let Some(server) = bench.server() {
            server.stop().await;
        }
        let new = bench.shop.server_at(&address).await;
        if let Some(server) = bench.server() {
            *server = new;
        }
        began.elapsed()
    };
    let (outcome, took) = tokio::join!(load, restart);
    bench.figure("restart under load, from SIGTERM to the first connection taken", took.as_secs_f64(), "s");
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    bench.figure("restart under load, calls that failed meanwhile", outcome.failed_in_all as f64, "calls");
    bench.check_books(Design::Flashsale, &[product], PLENTY, &outcome).await;
    if outcome.granted == 0 {
        bench.fault("restart: nothing was granted".to_owned());
    }
}
