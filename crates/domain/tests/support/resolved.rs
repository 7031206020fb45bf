//! A resolved matrix without files: the facts are made up, the matrix text is not.

use std::collections::BTreeMap;

use assay_domain::matrix::{
    self, DataFacts, JudgeFacts, Matrix, ModelFacts, PromptFacts, PromptRecord, ResolvedMatrix, TokenCount,
};
use assay_domain::{Artifact, Digest, FileRef, ObjectKey};

/// An upload of one file whose bytes are its name.
pub(crate) fn upload(name: &str) -> Artifact {
    let digest = Digest::of(name.as_bytes());
    let file = FileRef {
        path: name.to_owned(),
        key: ObjectKey::upload(digest),
        digest,
        bytes: name.len() as u64,
        origin: None,
    };
    Artifact { name: name.to_owned(), files: vec![file] }
}

/// SmolLM2-135M's shape.
pub(crate) fn model(name: &str) -> ModelFacts {
    let widths = [("q_proj", 576), ("k_proj", 192), ("v_proj", 192), ("o_proj", 576)];
    let mut projections: BTreeMap<String, (u32, u32)> =
        widths.into_iter().map(|(target, out)| (target.to_owned(), (out, 576))).collect();
    for target in ["gate_proj", "up_proj"] {
        projections.insert(target.to_owned(), (1536, 576));
    }
    projections.insert(String::from("down_proj"), (576, 1536));
    ModelFacts {
        artifact: upload(name),
        model_type: String::from("llama"),
        layers: 30,
        hidden: 576,
        attention_width: 576,
        kv_width: 192,
        max_positions: 8192,
        linear_parameters: 106_168_320,
        embedding_parameters: 28_311_552,
        head_parameters: 28_311_552,
        tied: true,
        projections,
    }
}

/// The facts for a matrix: `rows` rows in each data file, 57 prompts like the authored ones.
pub(crate) fn resolve(matrix: Matrix, rows: u32) -> ResolvedMatrix {
    let models = matrix.models.iter().map(|known| (known.name.clone(), model(&known.name))).collect();
    let mut data: BTreeMap<String, DataFacts> = BTreeMap::new();
    for set in &matrix.data {
        let facts = DataFacts {
            train: upload(&set.train),
            valid: set.valid.as_deref().map(upload),
            train_rows: rows,
            valid_rows: if set.valid.is_some() { 16 } else { 0 },
            tokens: Vec::new(),
        };
        data.insert(set.name.clone(), facts);
    }
    for (model, set, max_length) in matrix.token_counts_needed() {
        let facts = data.get_mut(&set).expect("the data set is known");
        let used = matrix.data.iter().find(|known| known.name == set).and_then(|known| known.train_rows);
        let train = vec![300; used.unwrap_or(rows).min(rows) as usize];
        facts.tokens.push(TokenCount::of(&model, max_length, &train, &[300; 8]));
    }
    let prompts = matrix.prompts.iter().map(|set| (set.name.clone(), prompts(&matrix, &set.file))).collect();
    let judges =
        matrix.panel.judges.iter().map(|judge| (judge.name().to_owned(), JudgeFacts::default())).collect();
    ResolvedMatrix { matrix, models, data, prompts, judges }
}

fn prompts(matrix: &Matrix, file: &str) -> PromptFacts {
    let domains = [
        ("philosophy", "in-domain", 12),
        ("brainstorming", "in-domain", 10),
        ("creative-writing", "in-domain", 10),
        ("contemplative-prose", "in-domain", 10),
        ("coding", "out-of-domain", 5),
        ("math", "out-of-domain", 5),
        ("practical", "out-of-domain", 5),
    ];
    let tokens: BTreeMap<String, u32> = matrix.models.iter().map(|model| (model.name.clone(), 60)).collect();
    let record = |domain: &str, split: &str, number: u32| PromptRecord {
        id: format!("{domain}-{number:02}"),
        domain: domain.to_owned(),
        split: split.to_owned(),
        tokens: tokens.clone(),
    };
    let of = |(domain, split, count): &(&str, &str, u32)| {
        (1..=*count).map(|number| record(domain, split, number)).collect::<Vec<_>>()
    };
    PromptFacts { artifact: upload(file), records: domains.iter().flat_map(of).collect() }
}

/// Parses a matrix that is right.
pub(crate) fn parse(text: &str) -> Matrix {
    matrix::parse("trial.yaml", text, None).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| format!("{error}\n")).collect::<String>())
    })
}
