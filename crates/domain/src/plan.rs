//! A resolved matrix expanded to a DAG of jobs: a value, made once, stored, and never made again.
//!
//! train -> its checkpoints -> generate (each base once) -> score or judge -> one report.

pub use price::WorkerRate;
pub use table::{KindTotal, PlanRow, PlanTable, WorkerTotal};

mod price;
mod table;
