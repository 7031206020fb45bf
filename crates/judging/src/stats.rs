//! Statistics that a careful reviewer would ask for: intervals, tests, clusters, agreement, bias.
//!
//! Unit of inference is the prompt: pairs, judges, orders and replicates of one prompt are not independent. Every family
//! is checked against vectors computed with scipy, statsmodels, scikit-learn, krippendorff and choix.

pub mod agreement;
pub mod binomial;
pub mod bradley_terry;
pub mod cluster;
pub mod crossed;
pub mod logistic;
pub mod logit;
pub mod multiple;
pub mod panel;
pub mod position;
pub mod proportion;
pub mod rank;
pub mod reliability;

mod linear;
mod special;

pub use self::special::{normal_quantile, student_t_quantile};
