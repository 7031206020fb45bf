//! A worker that trains and answers at once: what it makes has the right form and is otherwise made up.

use std::fs;
use std::path::{Path, PathBuf};

use assay_agent::{AttemptContext, Executor, Failure, Finished};
use assay_domain::Work;
use assay_domain::job::{GenerateSpec, System, TrainSpec, Usage};
use assay_judging::records::{FinishReason, GenerationRecord, MetricRecord, to_jsonl};

pub(crate) struct Scripted;

impl Executor for Scripted {
    async fn run(&self, cx: AttemptContext) -> Result<Finished, Failure> {
        let (name, path) = match &cx.assignment().job.work {
            Work::Train(spec) => ("metrics", train(spec, &cx).await?),
            Work::Generate(spec) => ("generations", generate(spec, cx.work_dir())),
            Work::Score(_) | Work::Judge(_) | Work::Report(_) => panic!("not for this worker"),
        };
        Ok(Finished { outputs: vec![(String::from(name), path)], usage: Usage::default() })
    }
}

async fn train(spec: &TrainSpec, cx: &AttemptContext) -> Result<PathBuf, Failure> {
    for step in &spec.checkpoints {
        let (adapter, resume) = (cx.work_dir().join("adapter.bin"), cx.work_dir().join("resume.bin"));
        fs::write(&adapter, format!("adapter {step}")).unwrap();
        fs::write(&resume, format!("resume {step}")).unwrap();
        cx.checkpoint(*step, &adapter, &resume).await?;
    }
    let metric = |step| MetricRecord::Step {
        step,
        epoch: 0.5,
        loss: 2.0,
        grad_norm: 1.0,
        learning_rate: 1e-4,
        tokens: 80,
        seconds: 0.1,
    };
    let metrics: Vec<MetricRecord> = (1..=spec.total_steps).map(metric).collect();
    Ok(write(cx.work_dir(), "metrics.jsonl", &to_jsonl(&metrics).unwrap()))
}

fn generate(spec: &GenerateSpec, folder: &Path) -> PathBuf {
    let answer = |id: &String| GenerationRecord {
        model: spec.model.clone(),
        prompts: spec.prompts.clone(),
        sampling: spec.sampling.name.clone(),
        prompt_id: id.clone(),
        domain: String::from("a"),
        split: String::from("in-domain"),
        prompt: format!("Question {id}?"),
        sample: 0,
        system: spec.system_name(),
        text: match &spec.system {
            System::Base => format!("Untrained, it says something about {id}."),
            System::Tuned { step, .. } => format!("After step {step} it says something about {id}."),
        },
        finish_reason: FinishReason::Stop,
        prompt_tokens: 5,
        new_tokens: 8,
        seconds: 0.1,
    };
    let answers: Vec<GenerationRecord> = spec.prompt_ids.iter().map(answer).collect();
    write(folder, "generations.jsonl", &to_jsonl(&answers).unwrap())
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
