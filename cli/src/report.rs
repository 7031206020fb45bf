//! Renders a report: for a terminal, as Markdown, as one HTML file that needs nothing else, and its tables for a paper
//! (LaTeX) and for other programmes (CSV).
//!
//! All say the same from the same [`document`]: a rate over fewer than ten prompts is never a percentage, and
//! smoke judges are marked wherever they are named.

mod document;
mod sections;

mod html;
mod latex;
mod markdown;
mod sheets;
mod terminal;

mod format;

#[cfg(test)]
mod tests;

pub use html::html;
pub use latex::latex;
pub use markdown::markdown;
pub use sheets::sheets;
pub use terminal::terminal;
