//! Measures how fast a hot product sells, beside other designs.
//!
//! The service's own programs take turns with an empty RPC, one transaction per request, and Redis, in one run.
//!
//! ```text
//! cargo bench --bench hot_product                       # everything, some ten minutes
//! cargo bench --bench hot_product -- --quick            # one to two minutes, with floors; what CI runs
//! cargo bench --bench hot_product -- --against PROGRAM  # in turns with another build's server
//! cargo bench --bench hot_product -- --against-env RUST_LOG=off  # in turns with another setting of this build's server
//! cargo bench --bench hot_product -- --against-tls   # in turns with a server that has mutual TLS and principals
//! cargo bench --bench hot_product -- --against-collector         # in turns with a server that sends all its spans
//! cargo bench --bench hot_product -- --help
//! ```
//!
//! It starts a private database as the tests do; `FLASHSALE_TEST_MYSQLD` chooses the engine. After each measurement the
//! callers' grants are compared with the tables, and after each scenario all tables are checked. Exit code 1 means that
//! something did not balance, or that a quick run missed a floor.

#![expect(clippy::unwrap_used, reason = "a benchmark whose processes can't be reached has nothing to report")]

mod bench;
mod callers;
mod load;
mod machine;
mod measure;
mod options;
mod reference;
mod report;
mod results;
mod scenarios;
mod shop;
mod targets;
mod tls;

use std::{env, error::Error, fs, path::Path, process::ExitCode};

use clap::Parser;
use flashsale_test_support as support;
use tikv_jemallocator::Jemalloc;

use bench::Bench;
use options::Options;
use results::Run;

/// The programs use this allocator, so callers and references use it, too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(reference::COMMAND) {
        reference::main();
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    let unknown = options.only.iter().find(|only| !scenarios::NAMES.contains(&only.as_str()));
    if let Some(unknown) = unknown {
        eprintln!("no scenario is called {unknown}: there are {}", scenarios::NAMES.join(", "));
        return ExitCode::from(2);
    }
    if let Some(program) = options.against.as_ref().filter(|program| !program.is_file()) {
        eprintln!("--against takes a server program, and {} is no file", program.display());
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            code = run(options) => code,
            // All processes end when the run's values are dropped.
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    })
}

async fn run(options: Options) -> ExitCode {
    let mut bench = Bench::start(options.clone()).await;
    scenarios::run(&mut bench).await;
    let mut run = bench.finish();
    run.checks = targets::targets(&run);
    run.comparisons = targets::comparisons(&run);
    let floors = if run.quick { targets::floors(&run) } else { Vec::new() };
    let collapsed = floors.iter().any(|floor| !floor.met);
    run.checks.extend(floors);
    let tables = report::tables(&run);
    println!("\n{tables}");
    match write(&run, &tables, &options.output) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("{}: {error}", options.output.display());
            return ExitCode::FAILURE;
        }
    }
    if !run.faults.is_empty() {
        eprintln!("!!! the books do not balance");
        return ExitCode::FAILURE;
    }
    if collapsed {
        eprintln!("!!! a floor was missed: something is much slower than it was");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Writes the run as JSON, and its report as tables and plots.
fn write(run: &Run, tables: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let engine = if run.database.contains("MariaDB") { "mariadb" } else { "mysql" };
    for (ending, text) in [
        ("json", serde_json::to_string_pretty(run)?),
        ("svg", report::plots(run)?),
        ("md", format!("{tables}\n![Throughput and latency over clients, and a sale]({engine}.svg)\n")),
    ] {
        let file = folder.join(format!("{engine}.{ending}"));
        fs::write(&file, text)?;
        println!("{}", file.display());
    }
    Ok(())
}
