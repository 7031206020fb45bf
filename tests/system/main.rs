//! The whole system as its users have it: the real binaries, the demo's model, a small matrix, and no mocks.
//!
//! Each test has a folder of its own. They use every core, so they run one at a time (`world::alone`, and
//! `.config/nextest.toml` where nextest starts a process for each).
#![cfg_attr(
    target_os = "linux",
    expect(clippy::unwrap_used, reason = "what a test cannot do without ends it, in its helpers too")
)]

#[cfg(target_os = "linux")]
mod bad_files;
#[cfg(target_os = "linux")]
mod bad_requests;
#[cfg(target_os = "linux")]
mod budgets;
#[cfg(target_os = "linux")]
mod collector;
#[cfg(target_os = "linux")]
mod cut_network;
#[cfg(target_os = "linux")]
mod drained_worker;
#[cfg(target_os = "linux")]
mod export;
#[cfg(target_os = "linux")]
mod hub;
#[cfg(target_os = "linux")]
#[path = "../../crates/artifacts/tests/hub/server.rs"]
mod hub_server;
#[cfg(target_os = "linux")]
mod hub_workers;
#[cfg(target_os = "linux")]
mod judged;
#[cfg(target_os = "linux")]
mod judging;
#[cfg(target_os = "linux")]
mod killed_worker;
#[cfg(target_os = "linux")]
#[path = "../../judge-runner/tests/labs/server.rs"]
#[expect(dead_code, reason = "the judge-runner's own tests use the other labs, faults and batches")]
mod labs;
#[cfg(target_os = "linux")]
mod late_answers;
#[cfg(target_os = "linux")]
mod lifetime;
#[cfg(target_os = "linux")]
mod logs;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod parts;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod runs;
#[cfg(target_os = "linux")]
mod shared_batch;
#[cfg(target_os = "linux")]
mod stack;
#[cfg(target_os = "linux")]
mod stood_still;
#[cfg(target_os = "linux")]
mod traces;
#[cfg(target_os = "linux")]
mod world;

/// Process ids that cannot be mistaken for later ones are Linux's.
#[cfg(not(target_os = "linux"))]
#[test]
fn the_whole_system_is_tested_on_linux() {
    assay_tests::skip("linux", "the tests of the whole system follow processes by pidfd");
}
