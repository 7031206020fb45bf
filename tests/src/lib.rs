//! The whole system, in-process and as real processes: the tests are in `tests/tests/`.
