//! The report value.
