//! What a person submits: a YAML file, checked as a whole before anything runs, and the same with its files resolved.
//!
//! A file's life: text -> [`parse`] -> [`Matrix`] -> the shell reads the files it names -> [`ResolvedMatrix`] -> `plan`.

pub use budget::Budget;
pub use cells::Cell;
pub(crate) use direct::CheckpointName;
pub use direct::{DirectComparison, Side};
pub use error::{MatrixError, Place};
pub use file::{
    Checkpoints, DataSet, Evaluate, Matrix, Model, OneOrMany, Panel, PromptSet, RecipeEntry, RecipeOverride,
    RecipeSettings, Rule, SamplingEntry, Target, Variant,
};
pub use judge::{Judge, JudgeKind};
pub use meaning::{CELLS_MAX, JUDGE_TEMPLATES};
pub(crate) use nearest::nearest;
pub use needs::{NeededDevice, Needs};
pub use parse::{MATRIX_BYTES_MAX, parse};
pub use places::Places;
pub use preset::Preset;
pub use prompts::{MissingPrompts, select_prompts};
pub use resolved::{
    DataFacts, JudgeFacts, ModelFacts, PromptFacts, PromptRecord, ResolvedMatrix, TokenCount,
};
pub use schedule::Schedule;
pub use schema::json_schema;

mod budget;
mod cells;
mod direct;
mod error;
mod file;
mod judge;
mod meaning;
mod nearest;
mod needs;
mod parse;
mod places;
mod preset;
mod prompts;
mod resolved;
mod rules;
mod schedule;
mod schema;
mod structure;
mod yaml;
