//! The model card: what was trained on what and how, what it came to, and what the check of the export found.

use std::fmt::Write as _;

use assay_domain::Artifact;
use assay_domain::job::{Method, Residual, TrainSpec, Usage};
use assay_domain::matrix::{DataFacts, ModelFacts};
use assay_judging::records::{MetricRecord, from_jsonl};
use assay_proto::v1::JobView;
use serde::Serialize;
use serde_json::Value;

use crate::view;

/// Everything that the card says.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    version: &'static str,
    job: String,
    job_key: String,
    step: u64,
    training: TrainSpec,
    model_sha256: String,
    adapter_sha256: String,
    train_sha256: String,
    valid_sha256: Option<String>,
    /// Validation loss by step; 0 is the base model.
    validation: Vec<(u64, f64)>,
    /// Where training ended early or kept another adapter than its last: steps done, and the step of the adapter.
    ended: Option<(u64, u64)>,
    /// Training loss of the step that is exported.
    train_loss: Option<f64>,
    usage: Option<Usage>,
    /// What the check of the export found.
    check: Value,
}

impl Card {
    #[expect(clippy::too_many_arguments, reason = "each is one source of the card")]
    pub(super) fn of(
        spec: &TrainSpec,
        step: u64,
        job: &JobView,
        adapter: &Artifact,
        model: &ModelFacts,
        data: &DataFacts,
        metrics: &str,
        check: Value,
    ) -> anyhow::Result<Self> {
        let records: Vec<MetricRecord> = from_jsonl("metrics.jsonl", metrics)?;
        let (mut validation, mut train_loss, mut ended) = (Vec::new(), None, None);
        for record in &records {
            match record {
                MetricRecord::Eval { step: at, loss, .. } if *at <= step => validation.push((*at, *loss)),
                MetricRecord::Step { step: at, loss, .. } if *at == step => train_loss = Some(*loss),
                MetricRecord::End { step, kept } => ended = Some((*step, *kept)),
                MetricRecord::Eval { .. }
                | MetricRecord::Step { .. }
                | MetricRecord::Memory { .. }
                | MetricRecord::Moved { .. } => {}
            }
        }
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            job: job.job_id.clone(),
            job_key: job.job_key.clone(),
            step,
            training: spec.clone(),
            model_sha256: model.artifact.digest().to_string(),
            adapter_sha256: adapter.digest().to_string(),
            train_sha256: data.train.digest().to_string(),
            valid_sha256: data
                .valid
                .as_ref()
                .filter(|_| spec.valid_rows > 0)
                .map(|valid| valid.digest().to_string()),
            validation,
            ended,
            train_loss,
            usage: view::usage(job),
            check,
        })
    }

    /// One line.
    pub(super) fn summary(&self) -> String {
        let merged = self.merged().map_or_else(String::new, |merged| {
            format!(
                ", merged weights in {} move them by {} of that",
                merged["stored"].as_str().unwrap_or_default(),
                share(merged)
            )
        });
        format!(
            "{} of {} after step {}, checked: it changes logits by up to {:.2e}{merged}",
            self.what(),
            self.training.model,
            self.step,
            self.check["adapter_changes"].as_f64().unwrap_or_default()
        )
    }

    fn what(&self) -> &'static str {
        match self.training.recipe.method {
            Method::Lora => "adapter",
            Method::Full => "full fine-tuning",
        }
    }

    /// What the check found of merged weights, if there are any.
    fn merged(&self) -> Option<&Value> {
        self.check.get("merged").filter(|merged| merged.is_object())
    }

    /// What the Hub reads, and what it is.
    fn heading(&self, merged: bool) -> String {
        let TrainSpec { model, model_settings, data, recipe, .. } = &self.training;
        let mut text = String::from("---\n");
        if let Some(hub) = &model_settings.hub {
            let _ = writeln!(text, "base_model: {}", hub.repo);
        }
        let full = recipe.method == Method::Full;
        let library = if merged || full { "transformers" } else { "peft" };
        let (tag, name) = if full { ("full-fine-tuning", "All weights") } else { ("lora", "LoRA") };
        let _ = writeln!(text, "library_name: {library}\ntags: [{tag}, sft, assay]\n---\n");
        let kind = match (full, merged) {
            (true, _) => "of",
            (false, true) => "merged into the weights of",
            (false, false) => "for",
        };
        let _ = writeln!(text, "# {} {kind} {model}\n", recipe.name);
        let _ = writeln!(text, "{name} {kind} `{model}`, trained on `{data}` with Assay {}.\n", self.version);
        text
    }

    /// The card as the Hub shows it. Writing to a String does not fail.
    pub(super) fn markdown(&self, merged: bool) -> String {
        let TrainSpec { model_settings, recipe, seed, train_rows, valid_rows, total_steps, .. } =
            &self.training;
        let mut text = self.heading(merged);
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "| {name} | {value} |");
        };
        row("", String::new());
        row("---", String::from("---"));
        if let Some(hub) = &model_settings.hub {
            row("base model", format!("{} at {}", hub.repo, hub.commit));
        }
        row("base model, SHA-256 of its files", self.model_sha256.clone());
        row("training data", format!("{train_rows} rows, SHA-256 {}", self.train_sha256));
        if let Some(digest) = &self.valid_sha256 {
            row("validation data", format!("{valid_rows} rows, SHA-256 {digest}"));
        }
        if recipe.method == Method::Lora {
            let shape = format!(
                "rank {}, alpha {}, dropout {}, rslora {}",
                recipe.rank, recipe.alpha, recipe.dropout, recipe.rslora
            );
            row("LoRA", shape);
            if let Some(quantization) = recipe.quantization {
                row("base weights in training", format!("4 bits, {}", quantization.as_str()));
            }
            if let Some(Residual::Float32) = recipe.residual {
                row("hidden states between layers in training", String::from("float32"));
            }
            row("targets", recipe.targets.join(", "));
        }
        row("epochs, batch", format!("{}, {} x {}", recipe.epochs, recipe.micro_batch, recipe.accumulate));
        row(
            "learning rate",
            format!("{}, {} steps of warm-up, linear to 0", recipe.learning_rate, recipe.warmup_steps),
        );
        row("tokens of a row at most", recipe.max_length.to_string());
        row(
            "loss on",
            serde_json::to_value(recipe.loss_on)
                .ok()
                .and_then(|on| on.as_str().map(str::to_owned))
                .unwrap_or_default(),
        );
        row("seed", seed.to_string());
        row(
            "date that the template tells",
            model_settings.date.clone().unwrap_or_else(|| String::from("2024-07-26")),
        );
        row("step", format!("{} of {total_steps}", self.step));
        if let Some((done, kept)) = self.ended {
            row("training ended", format!("after step {done}, with the adapter of step {kept} for its end"));
        }
        if let Some(loss) = self.train_loss {
            row("training loss of that step", format!("{loss:.4}"));
        }
        for (step, loss) in &self.validation {
            row(&format!("validation loss after step {step}"), format!("{loss:.4}"));
        }
        if let Some(usage) = &self.usage {
            row("trained on", usage.environment.clone());
        }
        row(&format!("{}, SHA-256 of its files as trained", self.what()), self.adapter_sha256.clone());
        row("job key", self.job_key.clone());
        let _ = writeln!(text, "\nChecked before it was written: {}.", self.found());
        text
    }

    fn found(&self) -> String {
        let changes = self.check["adapter_changes"].as_f64().unwrap_or_default();
        let mut found = format!(
            "the {} reads back as it was trained, and changes logits by up to {changes:.3e}",
            self.what()
        );
        let Some(merged) = self.merged() else { return found };
        let number = |path: &str| merged.pointer(path).and_then(Value::as_f64).unwrap_or_default();
        let stored = merged["stored"].as_str().unwrap_or_default();
        let _ = write!(
            found,
            "; base and adapter, added in float32, differ from both unmerged by {:.1e} ({:.1e} is accepted); stored as {stored}, they \
             differ by up to {:.3e}, in the mean {} of what the adapter changes. Computed in {stored}, {:.1} % of next tokens are the \
             same as in float32 unmerged, at a divergence of {:.1e} nats ({:.1} % and {:.1e} for base and adapter unmerged)",
            number("/sums_differ"),
            number("/sums_tolerance"),
            number("/differs"),
            share(merged),
            100.0 * number("/run/same_first"),
            number("/run/divergence"),
            100.0 * number("/unmerged_run/same_first"),
            number("/unmerged_run/divergence"),
        );
        found
    }
}

/// How much of what the adapter does the rounding of merged weights moves.
fn share(merged: &Value) -> String {
    format!("{:.2} %", 100.0 * merged["rounding_share"].as_f64().unwrap_or_default())
}
