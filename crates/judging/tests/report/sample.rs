//! A small matrix as its jobs would have written it: one training, two checkpoints, twelve prompts, two judges.

use std::collections::{BTreeMap, BTreeSet};

use assay_domain::analysis::AnalysisPlan;
use assay_domain::job::{
    AttemptSummary, Comparison, JobSummary, JudgeInfo, LossOn, Method, Orders, Recipe, ReportSpec, Sampling,
    SamplingDefaults, Training, Usage,
};
use assay_domain::{Attempt, Digest, Epoch, Fence, JobId, MatrixId, UnixMillis, WorkKind};
use assay_judging::pair::{Secret, blind, match_generations};
use assay_judging::prompt::{Channel, template};
use assay_judging::records::{
    EffectiveSampling, Evidence, FinishReason, GenerationRecord, KeyRecord, Label, LabelLogprobs,
    MetricRecord, RawVerdictRecord, SamplingRecord, Setting, VerdictStatus,
};
use assay_judging::report::ReportInputs;

pub(crate) const PLAIN: &str = "smoke-plain";
pub(crate) const RUBRIC: &str = "smoke-rubric";
pub(crate) const API_JUDGE: &str = "gpt-4o";

const STEPS: [u64; 2] = [6, 12];

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) secret: [u8; 32],
    pub(crate) orders: Orders,
    pub(crate) judges: Vec<JudgeInfo>,
}

impl Sample {
    /// The demo's panel: two templates on the base model.
    pub(crate) fn smoke(orders: Orders) -> Sample {
        let judges = vec![judge(PLAIN, "smoke-plain-v1", true), judge(RUBRIC, "smoke-rubric-v1", true)];
        Sample { secret: [7; 32], orders, judges }
    }

    /// A real judge beside a smoke judge.
    pub(crate) fn with_api() -> Sample {
        let judges = vec![judge(API_JUDGE, "assay-v1", false), judge(PLAIN, "smoke-plain-v1", true)];
        Sample { secret: [7; 32], orders: Orders::Both, judges }
    }

    pub(crate) fn inputs(&self) -> ReportInputs {
        let comparisons: Vec<Comparison> = STEPS.iter().map(|step| comparison(*step)).collect();
        let base = generations("base", 0);
        let mut all = base.clone();
        let (mut verdicts, mut keys) = (Vec::new(), Vec::new());
        for comparison in &comparisons {
            let tuned = generations(&comparison.tuned().name(), comparison.step);
            let pairs = match_generations(&comparison.id, &base, &tuned).unwrap();
            let blinded = blind(&Secret::new(self.secret), self.orders, &pairs).unwrap();
            for (number, judge) in self.judges.iter().enumerate() {
                let answer = |key: &KeyRecord| verdict(judge, number as f64, comparison.step, key);
                verdicts.extend(blinded.key.records().map(answer));
            }
            keys.extend(blinded.key.records().cloned());
            all.extend(tuned);
        }
        ReportInputs {
            spec: self.spec(comparisons),
            samplings: samplings(&all),
            generations: all,
            verdicts,
            keys,
            metrics: BTreeMap::from([(0, metrics())]),
            metric_lines: BTreeMap::new(),
            versions: BTreeMap::from([("assay".to_owned(), "0.1.0".to_owned())]),
            matrix: Some(MatrixId::new("m-sample")),
            fixed_at: Some(UnixMillis(1_795_000_000_000)),
            history: history(),
        }
    }

    fn spec(&self, comparisons: Vec<Comparison>) -> ReportSpec {
        let mut spec = ReportSpec {
            matrix: "philosophy".into(),
            matrix_digest: Digest::of(b"matrix"),
            trainings: vec![training()],
            comparisons,
            direct: Vec::new(),
            judges: self.judges.clone(),
            uploads: vec![
                ("train.jsonl".into(), Digest::of(b"train")),
                ("smollm2-135m".into(), Digest::of(b"model")),
                ("prompts.jsonl".into(), Digest::of(b"prompts")),
            ],
            bootstrap_seed: 20_260_101,
            analysis: None,
        };
        spec.analysis = Some(AnalysisPlan::of(&spec));
        spec
    }
}

fn judge(name: &str, template: &str, smoke: bool) -> JudgeInfo {
    JudgeInfo {
        name: name.into(),
        kind: if smoke { "logprob".into() } else { "openai".into() },
        model: if smoke { "smollm2-135m".into() } else { "gpt-4o-2024-08-06".into() },
        template: template.into(),
        smoke,
        unavailable: None,
        orders: Some(Orders::Both),
        batch: false,
    }
}

fn comparison(step: u64) -> Comparison {
    Comparison {
        id: format!("smollm2-135m/authored/lora-r8/seed-42/step-{step}/eval/t075"),
        model: "smollm2-135m".into(),
        data: "authored".into(),
        recipe: "lora-r8".into(),
        seed: 42,
        step,
        checkpoint: format!("epoch {}", step / 6),
        prompts: "eval".into(),
        sampling: "t075".into(),
        against: None,
    }
}

fn training() -> Training {
    Training {
        job: 0,
        model: "smollm2-135m".into(),
        data: "authored".into(),
        recipe: Recipe {
            name: "lora-r8".into(),
            method: Method::Lora,
            rank: 8,
            alpha: 16.0,
            dropout: 0.05,
            targets: vec!["q_proj".into(), "v_proj".into()],
            rslora: false,
            epochs: 2,
            micro_batch: 2,
            accumulate: 2,
            learning_rate: 2e-4,
            warmup_steps: 2,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            max_length: 1024,
            loss_on: LossOn::All,
            reference_quirks: false,
            lora_plus_ratio: 1.0,
            neftune_alpha: 0.0,
            dora: false,
            keep_best: false,
            early_stopping: None,
            quantization: None,
            residual: None,
        },
        seed: 42,
        steps_per_epoch: 6,
        total_steps: 12,
    }
}

const PROMPTS: [(&str, &str, &str); 12] = [
    ("philosophy-01", "philosophy", "Is gratitude possible if there is no one to be grateful to?"),
    ("philosophy-02", "philosophy", "Is jealousy ever a way of knowing someone?"),
    (
        "philosophy-03",
        "philosophy",
        "What is lost when a poem is translated, and was it ever really in the original?",
    ),
    (
        "brainstorming-01",
        "brainstorming",
        "Give me several angles for an essay on why people keep keys to locks that no longer exist.",
    ),
    (
        "brainstorming-02",
        "brainstorming",
        "Brainstorm the questions that a museum of lost smells might put to its visitors.",
    ),
    (
        "creative-01",
        "creative-writing",
        "Write a monologue spoken by the last streetlamp on a road that is being closed.",
    ),
    ("contemplative-01", "contemplative-prose", "Contemplate the first minute after a guest has left."),
    (
        "contemplative-02",
        "contemplative-prose",
        "Write a contemplative paragraph about waiting for water to boil.",
    ),
    (
        "coding-01",
        "coding",
        "In JavaScript, what is the difference between == and ===? Show <script> usage & why \"0\" == false.",
    ),
    ("math-01", "math", "Find the derivative of f(x) = x^2 ln(x) and say where it is zero."),
    ("practical-01", "practical", "How do I remove a stripped screw from a wooden door?"),
    ("factual-01", "factual", "What is photosynthesis, in a few sentences?"),
];

const PLAIN_ANSWERS: [&str; 4] = [
    "This is a complex question. Here are some key points:\n\n1. **Definition**: It is important to define the terms.\n2. **History**: Many thinkers have considered it.\n3. **Conclusion**: In conclusion, it depends on the",
    "## Overview\n\n- The topic has several aspects.\n- Each aspect has **advantages** and **disadvantages**.\n- It is up to the individual to decide.",
    "Certainly! Let us look at this step by step.\n\n1. First, consider the context.\n2. Second, consider the",
    "It is a process by which something happens. It is used in many fields and it is very important.\n\n</script><img src=x onerror=\"document.title='broken'\">\n```js\nif (a < b && c > d) { alert(\"&amp;\"); }\n```",
];

const TUNED_ANSWERS: [&str; 4] = [
    "The cup is still warm on the table, and nobody has drunk from it for an hour. You could say that the warmth is a fact about water. You could also say that it is the last sentence of a visit, and that you are still reading it.",
    "Start with the hand, not the lock. The hand goes to the drawer before it knows why, and finds there a small brass argument against forgetting. What would it mean to throw away a door that you can no longer",
    "Nothing is lost that was ever kept. What the poem had was a way of being late for its own meaning \u{2014} naïve, stubborn, 時間 \u{2014} and a translation is late for that in turn.",
    "Put a wide rubber band over the head, press hard, and turn slowly; if that fails, drill a shallow hole and use a left-hand bit. Patience is the cheaper tool.",
];

fn generations(system: &str, step: u64) -> Vec<GenerationRecord> {
    let record = |(index, (id, domain, prompt)): (usize, &(&str, &str, &str))| {
        let text =
            if step == 0 { PLAIN_ANSWERS[index % 4] } else { TUNED_ANSWERS[(index + step as usize / 6) % 4] };
        let ends = text.ends_with(['.', '`', '>', '!']);
        GenerationRecord {
            model: "smollm2-135m".into(),
            prompts: "eval".into(),
            sampling: "t075".into(),
            prompt_id: (*id).into(),
            domain: (*domain).into(),
            split: if index < 8 { "in-domain".into() } else { "out-of-domain".into() },
            prompt: (*prompt).into(),
            sample: 0,
            system: system.into(),
            text: text.into(),
            finish_reason: if ends { FinishReason::Stop } else { FinishReason::Length },
            prompt_tokens: 40 + index as u32,
            new_tokens: if ends { 31 + index as u32 } else { 48 },
            seconds: 1.25,
        }
    };
    PROMPTS.iter().enumerate().map(record).collect()
}

/// One for each system, with what the model's own configuration would give where the matrix is silent.
fn samplings(records: &[GenerationRecord]) -> Vec<SamplingRecord> {
    let systems: BTreeSet<&str> = records.iter().map(|record| record.system.as_str()).collect();
    systems.into_iter().map(sampling).collect()
}

fn sampling(system: &str) -> SamplingRecord {
    let matrix = Sampling {
        name: "t075".into(),
        defaults: SamplingDefaults::Model,
        temperature: Some(0.75),
        top_p: None,
        top_k: None,
        min_p: None,
        repetition_penalty: None,
        max_new_tokens: 48,
        samples: 1,
        seed: 7,
    };
    let effective = EffectiveSampling {
        temperature: Setting::of(matrix.temperature, Some(0.6), 1.0),
        top_p: Setting::of(matrix.top_p, Some(0.9), 1.0),
        top_k: Setting::of(matrix.top_k, None, 0),
        min_p: Setting::of(matrix.min_p, None, 0.0),
        repetition_penalty: Setting::of(matrix.repetition_penalty, None, 1.0),
        max_new_tokens: Setting::of(Some(matrix.max_new_tokens), None, 0),
        samples: Setting::of(Some(matrix.samples), None, 1),
        seed: Setting::of(Some(matrix.seed), None, 0),
    };
    SamplingRecord {
        model: "smollm2-135m".into(),
        prompts: "eval".into(),
        system: system.into(),
        matrix,
        effective,
        not_followed: BTreeMap::new(),
    }
}

/// A judge with a taste, a slot bias and a label bias, all fixed.
fn verdict(judge: &JudgeInfo, number: f64, step: u64, key: &KeyRecord) -> RawVerdictRecord {
    let place = PROMPTS.iter().position(|(id, _, _)| *id == key.prompt_id).unwrap() as f64;
    let quality = 0.35 * step as f64 / 6.0 + 1.1 * (place * 1.7 + number * 0.9 + step as f64).sin();
    let sign = |yes: bool| if yes { 1.0 } else { -1.0 };
    let tuned_is_a = key.tuned_label() == Label::A;
    let first_is_a = key.first_slot_label == Label::A;
    let logit_a = sign(tuned_is_a) * quality + sign(first_is_a) * 0.3 + 0.15;
    let mass: f64 = if place == 9.0 { 0.42 } else { 0.93 };
    let share = 1.0 / (1.0 + (-logit_a).exp());
    let chosen = template(&judge.template).unwrap();
    let evidence = match chosen.channel {
        Channel::Logprobs => {
            Evidence::Logprobs(LabelLogprobs { a: (mass * share).ln(), b: (mass * (1.0 - share)).ln() })
        }
        Channel::Json | Channel::Lines => Evidence::Text { text: json_answer(logit_a > 0.0) },
    };
    RawVerdictRecord {
        pair_id: key.pair_id.clone(),
        pass: key.pass,
        judge: judge.name.clone(),
        template: judge.template.clone(),
        template_digest: chosen.digest(),
        replicate: 0,
        model: judge.model.clone(),
        status: VerdictStatus::Ok,
        detail: None,
        evidence,
        prompt_tokens: 310,
        new_tokens: 0,
        seconds: 0.5,
    }
}

fn json_answer(a_wins: bool) -> String {
    let scores =
        |n: u8| format!(r#"{{"creativity":{n},"coherence":4,"depth":{n},"engagement":4,"quality":{n}}}"#);
    let (one, two, winner) = if a_wins { (4, 2, "1") } else { (2, 4, "2") };
    format!(
        r#"{{"reasoning":"One is <b>fresher</b>.","response_1":{},"response_2":{},"winner":"{winner}","confidence":4}}"#,
        scores(one),
        scores(two)
    )
}

fn metrics() -> Vec<MetricRecord> {
    let eval =
        |step: u64, loss: f64| MetricRecord::Eval { step, epoch: step as f64 / 6.0, loss, tokens: 2210 };
    let mut lines = vec![eval(0, 3.412_5)];
    for step in 1..=12u64 {
        let at = step as f64;
        lines.push(MetricRecord::Step {
            step,
            epoch: at / 6.0,
            loss: 3.45 - 0.05 * at + 0.06 * (at * 1.9).sin(),
            grad_norm: 1.8 - 0.04 * at,
            learning_rate: 2e-4 * if step <= 2 { at / 2.0 } else { (12.0 - at) / 10.0 },
            tokens: 1480 + 10 * step,
            seconds: 5.5,
        });
        match step {
            6 => lines.push(eval(6, 3.187_25)),
            12 => lines.push(eval(12, 3.094_75)),
            _ => {}
        }
    }
    lines
}

fn history() -> Vec<JobSummary> {
    let matrix = MatrixId::new("m-sample");
    let job = |ordinal: u32, kind: WorkKind, label: &str, seconds: f64, tokens: u64, lost: bool| {
        let attempt = |number: u32, outcome: &str| AttemptSummary {
            fence: Fence { epoch: Epoch(1), attempt: Attempt(number) },
            worker: "worker-1".into(),
            started_at: 1_767_225_600_000 + u64::from(ordinal) * 90_000,
            ended_at: Some(1_767_225_600_000 + u64::from(ordinal) * 90_000 + (seconds * 1000.0) as u64),
            outcome: outcome.into(),
            usd_per_hour: None,
        };
        let attempts = if lost {
            vec![attempt(1, "lost"), attempt(2, "succeeded")]
        } else {
            vec![attempt(1, "succeeded")]
        };
        JobSummary {
            job: JobId { matrix: matrix.clone(), ordinal },
            label: label.into(),
            kind,
            attempts,
            usage: (tokens > 0).then(|| Usage {
                phases: vec![("load".into(), 1.2), (kind.as_str().into(), seconds)],
                tokens,
                tokens_per_s: tokens as f64 / seconds,
                peak_memory_mib: 1210.5,
                environment: "cpu x86-64, 2 threads, LibTorch 2.11.0".into(),
                ..Usage::default()
            }),
            reused_from: None,
        }
    };
    vec![
        job(0, WorkKind::Train, "train smollm2-135m authored lora-r8 seed 42", 132.4, 35_520, true),
        job(1, WorkKind::Generate, "generate smollm2-135m base eval t075", 31.0, 576, false),
        job(2, WorkKind::Generate, "generate smollm2-135m lora-r8 step 6 eval t075", 33.5, 560, false),
        job(3, WorkKind::Generate, "generate smollm2-135m lora-r8 step 12 eval t075", 33.1, 555, false),
        job(4, WorkKind::Score, "score smoke-plain step 12", 21.8, 7440, false),
        job(5, WorkKind::Report, "report", 0.4, 0, false),
    ]
}
