//! Random numbers from a seed. LibTorch has one generator for the whole process, so seeding and drawing are one step
//! that no other thread can come between.

use std::sync::{Mutex, PoisonError};

/// Runs `draw` right after seeding LibTorch's generators; the same seed draws the same values.
pub(crate) fn seeded<T>(seed: u64, draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    // The lock guards no value, so a panic while it was held spoils nothing.
    let _held = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    // The bits, not the number: LibTorch takes any 64 bits as a seed.
    tch::manual_seed(seed.cast_signed());
    draw()
}
