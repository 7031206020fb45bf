//! The judge-runner as a real process, with a real coordinator, a scripted worker, and a lab that counts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod batched;
mod cancelled;
mod direct;
mod killed;
#[path = "../labs/server.rs"]
#[expect(dead_code, reason = "the judge-runner's own tests use the other labs and faults")]
mod labs;
mod matrix;
mod people;
mod stack;
mod told;
mod worker;
