//! Rules of the tree that no compiler checks: who may depend on whom, how long things may be, what must not be written.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod dependencies;
mod mutants;
mod sizes;
mod tree;
mod words;
