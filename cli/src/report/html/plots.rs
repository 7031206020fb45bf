//! Plots as inline SVG. Colours come from the page's style, so that light, dark and paper each have theirs.

mod agreement;
mod axis;
mod checkpoints;
mod forest;
mod lengths;
mod losses;

pub(super) use agreement::agreement;
pub(super) use checkpoints::checkpoints;
pub(super) use forest::forest;
pub(super) use lengths::lengths;
pub(super) use losses::losses;

use super::escape::escape;

/// A figure with its caption; `label` is what a screen reader says.
fn figure(width: f64, height: f64, label: &str, body: &str, caption: &str) -> String {
    format!(
        "<figure>\n<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>\n\
         <figcaption>{}</figcaption>\n</figure>\n",
        escape(label),
        escape(caption)
    )
}

fn text(x: f64, y: f64, class: &str, content: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>\n", escape(content))
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n")
}

/// A point that says its value when pointed at.
fn dot(x: f64, y: f64, radius: f64, class: &str, says: &str) -> String {
    format!(
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"{class}\"><title>{}</title></circle>\n",
        escape(says)
    )
}

fn path(points: &[(f64, f64)], class: &str) -> String {
    let steps: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline points=\"{}\" class=\"{class}\"/>\n", steps.join(" "))
}

/// Series colours repeat after six; the panel has its own.
fn series(index: usize) -> String {
    format!("s{}", index % 6)
}

/// Names of series in their colours, from left to right.
fn legend(x: f64, y: f64, entries: &[(String, String)]) -> String {
    let mut body = String::new();
    let mut at = x;
    for (class, name) in entries {
        body.push_str(&dot(at + 5.0, y - 4.0, 4.5, &format!("{class} fill"), name));
        body.push_str(&text(at + 14.0, y, "small", name));
        at += 30.0 + 6.6 * name.chars().count() as f64;
    }
    body
}
