//! Computes the report.

use super::inputs::ReportInputs;
use super::types::Report;
use crate::pair::PairError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Keys that contradict each other.
    #[error("keys of the judging jobs contradict each other")]
    Key(#[from] PairError),
    /// A verdict without a key.
    #[error("a verdict cannot be resolved")]
    Resolve(#[from] super::ResolveError),
}

/// Computes the report: pure and deterministic.
///
/// # Errors
/// Keys that contradict each other, a verdict without a key.
pub fn build_report(_inputs: &ReportInputs) -> Result<Report, ReportError> {
    unimplemented!()
}
