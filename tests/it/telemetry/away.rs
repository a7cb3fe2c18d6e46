//! A collector that is away, or never answers, costs nothing: no call, no line on stderr, and 4 s at the end.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::{collector::PROTOCOLS, no_line_is_missing, run_to_end, with_message};
use crate::support::{
    database::TestDatabase,
    mysqld::free_port,
    programs::{ServerProgram, sweep},
};

/// What the end of a program takes at most with a collector that doesn't answer: 4 s, and more on a busy machine.
///
/// An exporter that waits for its own time limit takes more than 10 s.
const END_MAX: Duration = Duration::from_secs(8);

/// Listens and never answers.
struct Silent {
    url: String,
    _listener: TcpListener,
}

async fn silent() -> Silent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Silent { url: format!("http://{}", listener.local_addr().unwrap()), _listener: listener }
}

#[tokio::test]
async fn a_process_without_its_collector_ends_in_time_and_tells_what_was_lost() {
    let silent = silent().await;
    for protocol in PROTOCOLS {
        for url in [format!("http://127.0.0.1:{}", free_port()), silent.url.clone()] {
            let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let (lines, stderr, took) = run_to_end(&env).await;
            no_line_is_missing(&lines);
            assert!(took < END_MAX, "{env:?}: {took:?}");
            let told = with_message(&lines, "Spans could not be sent");
            assert_eq!(told.len(), 1, "{env:?}: {told:?}");
            assert_eq!(told[0]["spans_lost"], 1, "{env:?}: {told:?}");
            assert_eq!(stderr, "", "{env:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_keeps_its_last_line_and_its_stderr_without_its_collector() {
    let database = TestDatabase::create("away").await;
    let silent = silent().await;
    for protocol in PROTOCOLS {
        for url in [format!("http://127.0.0.1:{}", free_port()), silent.url.clone()] {
            let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let started = Instant::now();
            let (code, lines, stderr) = sweep(&database.url(), &env).await;
            let took = started.elapsed();
            assert_eq!((code, &*stderr), (0, ""), "{env:?}");
            assert!(took < END_MAX, "{env:?}: {took:?}");
            assert_eq!(lines.last().unwrap()["message"], "Sweep done", "{env:?}: {lines:?}");
            assert_eq!(with_message(&lines, "Spans could not be sent").len(), 1, "{env:?}: {lines:?}");
        }
    }
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_sells_on_and_ends_in_time_while_its_collector_is_silent() {
    let database = TestDatabase::create("silent").await;
    let silent = silent().await;
    for protocol in PROTOCOLS {
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*silent.url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
        ];
        let server = ServerProgram::start(&database.url(), &env).await;
        let product_id = server.clients.create_product("Shoe", 1000, 300).await.product_id;
        let began = Instant::now();
        for _ in 0..200 {
            server.clients.hold(product_id, 1).await.unwrap();
        }
        // An export waits for 10 s. The calls don't.
        assert!(began.elapsed() < Duration::from_secs(8), "{protocol}: {:?}", began.elapsed());
        let stopping = Instant::now();
        let lines = server.stop().await;
        assert!(stopping.elapsed() < END_MAX, "{protocol}: {:?}", stopping.elapsed());
        let told = with_message(&lines, "Spans could not be sent");
        assert!((1..=3).contains(&told.len()), "{protocol}: told, and seldom: {told:?}");
        let lost: u64 = told.iter().map(|line| line["spans_lost"].as_u64().unwrap()).sum();
        assert!(lost >= 200, "{protocol}: each of the calls has a span: {told:?}");
    }
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}
