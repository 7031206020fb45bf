//! Blind pairing, judge prompts, verdicts, statistics and the report value.
//!
//! Pure: no I/O, no clock, and no randomness but from a seed or a 256-bit secret that is passed in.
//! A pair's life: [`pair::blind`] -> [`prompt::render`] -> a judge -> [`verdict`] or [`logprob`] ->
//! [`pair::resolve`] -> [`report::build_report`].

pub mod leaks;
pub mod pair;
pub mod people;
pub mod prompt;
pub mod verdict;

pub mod logprob;
pub mod records;
pub mod tally;

pub mod report;
pub mod stats;
