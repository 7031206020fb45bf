//! Renders a report: for a terminal, as Markdown, and as one HTML file that needs nothing else.
//!
//! All three say the same from the same [`document`]: a rate over fewer than ten prompts is never a percentage, and
//! smoke judges are marked wherever they are named.

mod document;
mod sections;

mod html;
mod markdown;
mod terminal;

mod format;

#[cfg(test)]
mod tests;

pub use html::html;
pub use markdown::markdown;
pub use terminal::terminal;
