//! Rules of the tree that no compiler checks: who may depend on whom, how long things may be, what must not be written.

mod dependencies;
mod sizes;
mod tree;
mod words;
