//! The coordinator as its clients meet it: a real server on port 0, real gRPC and HTTP, a scripted worker.

mod life;
mod matrix;
mod worker;
mod world;
