#[expect(dead_code, reason = "the tests' support, of which a benchmark needs a part")]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod callers;
mod load;
mod machine;
mod measure;
mod reference;
mod results;
mod shop;

use std::{env, time::Duration};

use callers::{Empty, Hold};
use load::{Period, closed_loop};
use measure::{Processes, measure};
use results::Design;
use shop::Shop;

fn main() {
    if env::args().nth(1).as_deref() == Some(reference::COMMAND) {
        return reference::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let shop = Shop::open().await;
    println!("{} {:?}\n{}", shop.version, shop.settings, machine::description());
    let server = shop.server().await;
    let plain = shop.reference(reference::PLAIN, &shop.database.url()).await;
    let redis = shop.redis("everysec").await.unwrap();
    let redis_front = shop.reference(reference::REDIS, &format!("redis://{}", redis.address)).await;
    let db = shop.database_pid();
    let period = Period { warm_up: Duration::from_millis(500), measured: Duration::from_secs(2) };
    let counts: Vec<usize> = env::var("CLIENTS").unwrap_or("1,16,64,256,1024,4096".into()).split(',').map(|t| t.parse().unwrap()).collect();
    let only = env::var("DESIGNS").unwrap_or("fcpr".into());
    for clients in counts {
        for _ in 0..env::var("ROUNDS").map_or(1, |t| t.parse().unwrap()) {
        for design in [Design::Ceiling, Design::Flashsale, Design::Plain, Design::RedisEverysec] {
            let (letter, address, processes) = match design {
                Design::Ceiling => ('c', &server.address, Processes { servers: vec![server.pid()], database: vec![db] }),
                Design::Flashsale => ('f', &server.address, Processes { servers: vec![server.pid()], database: vec![db] }),
                Design::Plain => ('p', &plain.address, Processes { servers: vec![plain.pid()], database: vec![db] }),
                _ => ('r', &redis_front.address, Processes { servers: vec![redis_front.pid()], database: vec![redis.pid()] }),
            };
            if !only.contains(letter) { continue }
            let channels = callers::connect(address, clients).await;
            let (round, outcome) = if design == Design::Ceiling {
                let calls: Vec<Empty> = channels.into_iter().map(Empty::new).collect();
                measure(&shop, &processes, period, closed_loop(&calls, clients, period)).await
            } else {
                let product = callers::create_product(address, 1_000_000_000, None).await;
                let calls: Vec<Hold> = channels.into_iter().map(|c| Hold::new(c, &[product])).collect();
                measure(&shop, &processes, period, closed_loop(&calls, clients, period)).await
            };
            println!("{clients:5} {design:15?} {:8.0}/s p50 {:7} p99 {:7} slow {:.2} cpu c {:.2} s {:.2} d {:.2} peak {} MiB commits {:.4} prep {:.4} failed {} {:?}",
                round.per_second(), round.latency.p50_us, round.latency.p99_us, round.slowest_over_median, round.cpu.client, round.cpu.server, round.cpu.database,
                round.server_peak_bytes >> 20, round.commits_per_grant.unwrap_or(0.), round.prepares_per_grant.unwrap_or(0.), outcome.failed, outcome.first_failure);
        }
        }
    }
}
