//! The coordinator as its clients meet it: a real server on port 0, real gRPC and HTTP, a scripted worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod backups;
mod bucket;
mod budget;
mod cost;
mod demand;
mod events;
mod full;
mod history;
mod hub;
mod life;
mod logs;
mod lost;
mod matrix;
mod objects;
mod peers;
mod people;
#[expect(dead_code, reason = "the bench uses more of it")]
mod process;
mod refusals;
mod restart;
mod retry;
mod small_disk;
mod steer;
mod terms;
mod worker;
mod world;
