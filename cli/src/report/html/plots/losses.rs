//! Training loss by step with the validation losses on it.

use assay_domain::job::Method;
use assay_judging::report::{Report, TrainingReport};

use super::axis::Axis;
use super::{dot, figure, legend, line, path, text};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 236.0;

/// One figure per run.
pub(in crate::report::html) fn losses(report: &Report) -> String {
    report.training.iter().filter(|run| !run.steps.is_empty() || !run.evals.is_empty()).map(one).collect()
}

fn one(run: &TrainingReport) -> String {
    let t = &run.training;
    let x = Axis::new((0.0, t.total_steps.max(1) as f64), (LEFT + 40.0, RIGHT - 40.0));
    let values = run.steps.iter().map(|step| step.loss).chain(run.evals.iter().map(|eval| eval.loss));
    let y = Axis::around(values, (BOTTOM, TOP));
    let body = frame(&x, &y) + &curves(run, &x, &y);
    let name = format!("{}, {} on {}, seed {}", t.model, t.recipe.name, t.data, t.seed);
    let caption = format!(
        "{name}: {}, learning rate {}, {} rows per step; loss in nats per predicted token.",
        match t.recipe.method {
            Method::Lora => format!("rank {}, alpha {}", t.recipe.rank, t.recipe.alpha),
            Method::Full => String::from("all weights"),
        },
        t.recipe.learning_rate,
        t.recipe.micro_batch * t.recipe.accumulate
    );
    figure(WIDTH, HEIGHT, &format!("Losses of {name}"), &body, &caption)
}

fn frame(x: &Axis, y: &Axis) -> String {
    let mut body = String::new();
    for (value, name) in y.ticks(5.0) {
        body.push_str(&line(LEFT, y.at(value), RIGHT, y.at(value), "grid"));
        body.push_str(&text(LEFT - 8.0, y.at(value) + 4.0, "small end", &name));
    }
    for (value, _) in x.ticks(8.0).iter().filter(|(value, _)| value.fract() == 0.0) {
        body.push_str(&text(x.at(*value), BOTTOM + 18.0, "small middle", &format!("{value:.0}")));
    }
    body.push_str(&text((LEFT + RIGHT) / 2.0, BOTTOM + 36.0, "small middle faint", "optimizer step"));
    let entries =
        [("s0".to_owned(), "training loss".to_owned()), ("s1".to_owned(), "validation loss".to_owned())];
    body + &legend(LEFT, 14.0, &entries)
}

fn curves(run: &TrainingReport, x: &Axis, y: &Axis) -> String {
    let evals = || run.evals.iter().filter(|eval| eval.loss.is_finite());
    let steps = run.steps.iter().filter(|step| step.loss.is_finite());
    let points: Vec<(f64, f64)> = steps.map(|step| (x.at(step.step as f64), y.at(step.loss))).collect();
    let mut body = path(&points, "s0 curve thin");
    let points: Vec<(f64, f64)> = evals().map(|eval| (x.at(eval.step as f64), y.at(eval.loss))).collect();
    body.push_str(&path(&points, "s1 curve dashed"));
    for eval in evals() {
        let (at, height) = (x.at(eval.step as f64), y.at(eval.loss));
        let says = format!("{}: {:.4}", eval.checkpoint, eval.loss);
        body.push_str(&dot(at, height, 5.0, "s1 fill", &says));
        body.push_str(&text(at, height - 11.0, "small middle halo", &says));
    }
    body
}
