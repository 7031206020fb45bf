//! The coordinator under load, as a process of its own over real gRPC; `cargo xtask bench coordinator` runs this and prints it. Its
//! last line of output is one JSON object. Arguments name parts of it; `ASSAY_BENCH_LARGE=1` adds a million jobs of history.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::time::Duration;

use serde_json::{Map, Value, json};

#[path = "load/fleet.rs"]
mod fleet;
#[path = "load/history.rs"]
mod history;
#[path = "load/life.rs"]
mod life;
#[path = "../tests/service/matrix.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod matrix;
#[path = "../tests/service/past.rs"]
mod past;
#[path = "../tests/service/process.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod process;
#[path = "load/submit.rs"]
mod submit;
#[path = "../tests/service/worker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod worker;
#[path = "../tests/service/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

/// After which the coordinator closes a socket that says nothing.
const SILENT_MS: u32 = 10_000;

const PARTS: [&str; 6] = ["submit_many", "submit_single", "dispatch", "life", "fleet", "history"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let given: Vec<String> = std::env::args().collect();
    if let [_, role, address, token, count] = given.as_slice()
        && role == fleet::ROLE
    {
        return runtime.block_on(fleet::workers(address, token, count));
    }
    // `cargo bench` adds a flag of its own.
    let wanted: Vec<&str> =
        given.iter().skip(1).map(String::as_str).filter(|name| !name.starts_with('-')).collect();
    let figures = runtime.block_on(measure(&wanted));
    println!("{}", Value::Object(figures));
}

/// The figures that are wanted by name; all if none is named.
async fn measure(wanted: &[&str]) -> Map<String, Value> {
    let mut figures = Map::new();
    for name in PARTS.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        let part = match name {
            "submit_many" => submit::many().await,
            "submit_single" => submit::single().await,
            "dispatch" => life::dispatch().await,
            "life" => life::lives().await,
            "fleet" => fleet::measure().await,
            _ => history::measure().await,
        };
        // Shown when it is known: the whole takes minutes.
        println!("{name}: {part}");
        figures.insert(name.to_owned(), part);
    }
    figures
}

fn percentiles(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
