//! Kinds of bad matrix input, each with the exact messages that it gives.

use assay_domain::matrix;

const GOOD: &str = "\
name: trial
models:
  - name: small
    path: ../models/small
data:
  - name: talks
    train: data/train.jsonl
    train_rows: 24
    valid: data/valid.jsonl
recipes:
  - name: lora-r16
    rank: 16
    accumulate: 2
    warmup_steps: 2
  - {name: lora-r8, rank: 8, accumulate: 2, warmup_steps: 2}
prompts:
  - name: eval
    file: data/prompts.jsonl
sampling:
  - name: t075
    temperature: 0.75
    max_new_tokens: 48
panel:
  judges:
    - name: smoke
      kind: logprob
      model: small
      template: smoke-plain-v1
    - name: api
      kind: api
      provider: openai
      model: gpt-4o-mini
      base_url: https://api.openai.com/v1
      key_env: OPENAI_API_KEY
      template: assay-v1
variants:
  full:
    data:
      - {name: talks, train_rows: null}
";

/// The messages for a text.
fn messages(text: &str, variant: Option<&str>) -> Vec<String> {
    match matrix::parse("trial.yaml", text, variant) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// The messages after replacing `from`, which stands in the good matrix, with `to`.
fn after(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "`{from}` is not in the good matrix");
    messages(&GOOD.replacen(from, to, 1), None)
}

/// (what is wrong, the text replaced, its replacement, the messages).
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "not YAML",
        "models:\n",
        "models: [\n",
        &["trial.yaml:3:3: \"-\" is only valid inside a block: valid YAML is needed, each key once"],
    ),
    (
        "a key twice",
        "    rank: 16\n",
        "    rank: 16\n    rank: 16\n",
        &["trial.yaml:13:5: duplicate mapping key: rank: valid YAML is needed, each key once"],
    ),
    (
        "an unknown field",
        "    rank: 16\n",
        "    rnak: 16\n",
        &[
            "trial.yaml:12:5: unknown field `rnak`: `recipes[0]` has `accumulate`, `alpha`, `checkpoints`, `dora`, `dropout`, `early_stopping`, `epochs`, `keep_best`, `learning_rate`, `lora_plus_ratio`, `loss_on`, `max_grad_norm`, `max_length`, `method`, `micro_batch`, `name`, `neftune_alpha`, `preset`, `quantization`, `rank`, `reference_quirks`, `residual`, `rslora`, `targets`, `warmup_steps`, `weight_decay`; did you mean `rank`?",
        ],
    ),
    (
        "an unknown preset",
        "    rank: 16\n",
        "    preset: paper-3bb\n",
        &[
            "trial.yaml:12:13: `recipes[0].preset` is the text `paper-3bb`: use one of `paper-3b`, `paper-0.5b`, `paper-3b-qv`, `paper-0.5b-qv`; did you mean `paper-3b`?",
        ],
    ),
    (
        "settings of an adapter where there is none",
        "    rank: 16\n",
        "    method: full\n    rank: 16\n    dora: true\n",
        &[
            "trial.yaml:13:11: rank is a setting of adapters, and `method: full` trains all weights: take it away, or use `method: lora`",
            "trial.yaml:14:11: dora is a setting of adapters, and `method: full` trains all weights: take it away, or use `method: lora`",
        ],
    ),
    (
        "a text for a number",
        "rank: 16",
        "rank: sixteen",
        &[
            "trial.yaml:12:11: `recipes[0].rank` is the text `sixteen`: a whole number from 1 to 1024 is needed",
        ],
    ),
    (
        "a fraction for a whole number",
        "rank: 16",
        "rank: 16.5",
        &["trial.yaml:12:11: `recipes[0].rank` is 16.5: a whole number from 1 to 1024 is needed"],
    ),
    (
        "a number out of range",
        "rank: 16",
        "rank: 0",
        &["trial.yaml:12:11: `recipes[0].rank` is 0: a whole number from 1 to 1024 is needed"],
    ),
    (
        "a number at an open end",
        "rank: 16",
        "dropout: 1.0",
        &["trial.yaml:12:14: `recipes[0].dropout` is 1: a number from 0 to below 1 is needed"],
    ),
    (
        "a rate of zero",
        "rank: 16",
        "learning_rate: 0",
        &["trial.yaml:12:20: `recipes[0].learning_rate` is 0: a number above 0 and at most 1 is needed"],
    ),
    (
        "more than the type holds",
        "    warmup_steps: 2\n",
        "    warmup_steps: 5000000000\n",
        &[
            "trial.yaml:14:19: `recipes[0].warmup_steps` is 5000000000: a whole number from 0 to 4294967295 is needed",
        ],
    ),
    (
        "a number that is none",
        "temperature: 0.75",
        "temperature: .nan",
        &["trial.yaml:21:18: non-finite float `.nan` rejected: valid YAML is needed, each key once"],
    ),
    (
        "a word that is not allowed",
        "rank: 16",
        "targets: [q_proj, gate_prj]",
        &[
            "trial.yaml:12:23: `recipes[0].targets[1]` is the text `gate_prj`: use one of `q_proj`, `k_proj`, `v_proj`, `qkv_proj`, `o_proj`, `gate_proj`, `up_proj`, `gate_up_proj`, `down_proj`; did you mean `gate_proj`?",
        ],
    ),
    (
        "an empty list",
        "rank: 16",
        "targets: []",
        &["trial.yaml:12:14: `recipes[0].targets` is empty: at least one is needed"],
    ),
    (
        "an empty axis",
        "prompts:\n  - name: eval\n    file: data/prompts.jsonl\n",
        "prompts: []\n",
        &["trial.yaml:16:10: `prompts` is empty: at least one is needed"],
    ),
    (
        "a missing field",
        "    max_new_tokens: 48\n",
        "",
        &[
            "trial.yaml:20:5: `sampling[0]` has no `max_new_tokens`: a whole number from 1 to 1048576 is needed",
        ],
    ),
    (
        "a missing section",
        "sampling:\n  - name: t075\n    temperature: 0.75\n    max_new_tokens: 48\n",
        "",
        &["trial.yaml:1:1: the matrix has no `sampling`: a list is needed"],
    ),
    (
        "a name twice",
        "name: lora-r8",
        "name: lora-r16",
        &["trial.yaml:15:12: the name `lora-r16` is used twice in `recipes`: each name is used once"],
    ),
    (
        "a name that cannot be one",
        "name: t075",
        "name: t=0.75",
        &[
            "trial.yaml:20:11: `sampling[0].name` is the text `t=0.75`: a name has 1 to 64 letters, digits, `.`, `_` or `-`, and starts with a letter or digit",
        ],
    ),
    (
        "a judge's model that is not defined",
        "model: small",
        "model: smal",
        &["trial.yaml:27:14: model `smal` is not defined: use `small`; did you mean `small`?"],
    ),
    (
        "a kind of judge that is not known",
        "kind: api",
        "kind: apy",
        &[
            "trial.yaml:30:13: `panel.judges[1].kind` is the text `apy`: use one of `logprob`, `api`; did you mean `api`?",
        ],
    ),
    (
        "a judge without a kind",
        "      kind: api\n",
        "",
        &["trial.yaml:29:7: `panel.judges[1]` has no `kind`: use one of `logprob`, `api`"],
    ),
    (
        "a template that is not known",
        "template: smoke-plain-v1",
        "template: smoke-plan-v1",
        &[
            "trial.yaml:28:17: template `smoke-plan-v1` is not defined: use one of `smoke-plain-v1`, `smoke-rubric-v1`; did you mean `smoke-plain-v1`?",
        ],
    ),
    (
        "a template of another kind",
        "template: smoke-plain-v1",
        "template: assay-v1",
        &[
            "trial.yaml:28:17: template `assay-v1` is not for a judge of this kind: use one of `smoke-plain-v1`, `smoke-rubric-v1`",
        ],
    ),
    (
        "a provider that is not known",
        "provider: openai",
        "provider: antropic",
        &[
            "trial.yaml:31:17: `panel.judges[1].provider` is the text `antropic`: use one of `anthropic`, `openai`, `openai-responses`, `google`, `openai-compatible`, `replay`; did you mean `anthropic`?",
        ],
    ),
    (
        "a model of another provider",
        "provider: openai",
        "provider: anthropic",
        &["trial.yaml:32:14: model `gpt-4o-mini` is not one of provider `anthropic`: use provider `openai`"],
    ),
    (
        "a retired model",
        "provider: openai\n      model: gpt-4o-mini",
        "provider: anthropic\n      model: claude-3-5-sonnet-20241022",
        &[
            "trial.yaml:32:14: model `claude-3-5-sonnet-20241022` was retired (2025-10-28): use a current model, or `provider: replay` with recorded answers",
        ],
    ),
    (
        "a temperature that the model refuses",
        "provider: openai\n      model: gpt-4o-mini",
        "provider: anthropic\n      temperature: 0.3\n      model: claude-opus-4-8",
        &[
            "trial.yaml:32:20: temperature is 0.3 for model `claude-opus-4-8`: this model accepts none: leave it out",
        ],
    ),
    (
        "a temperature for a model that thinks",
        "model: gpt-4o-mini",
        "model: gpt-5.4\n      temperature: 0\n      thinking: low",
        &[
            "trial.yaml:33:20: temperature is 0 for model `gpt-5.4`: this model accepts one only with `thinking: none`: leave one of them out",
        ],
    ),
    (
        "thinking turned off where it cannot be",
        "provider: openai\n      model: gpt-4o-mini",
        "provider: google\n      thinking: none\n      model: gemini-2.5-pro",
        &[
            "trial.yaml:32:17: thinking is `none` for model `gemini-2.5-pro`: this model cannot do without: use one of `low`, `medium`, `high`",
        ],
    ),
    (
        "thinking for a model that does not think",
        "model: gpt-4o-mini",
        "model: gpt-4o-mini\n      thinking: high",
        &[
            "trial.yaml:33:17: thinking is given for model `gpt-4o-mini`: this model cannot be asked to think: leave it out",
        ],
    ),
    (
        "a server of one's own without its address",
        "provider: openai\n      model: gpt-4o-mini\n      base_url: https://api.openai.com/v1\n",
        "provider: openai-compatible\n      model: llama\n",
        &[
            "trial.yaml:29:7: a judge of provider `openai-compatible` has no `base_url`: such a server has no address of its own: name it, up to `/v1`",
        ],
    ),
    (
        "batches of a server of one's own",
        "provider: openai\n      model: gpt-4o-mini\n",
        "provider: openai-compatible\n      batch: true\n      model: llama\n",
        &[
            "trial.yaml:32:14: a judge of provider `openai-compatible` has `batch: true`: the labs alone have batch APIs: leave it out",
        ],
    ),
    (
        "a replay without its ledger",
        "provider: openai\n",
        "provider: replay\n",
        &["trial.yaml:29:7: a judge of provider `replay` has no `ledger`: name the file of recorded answers"],
    ),
    (
        "a ledger that nobody reads",
        "provider: openai\n",
        "provider: openai\n      ledger: old.jsonl\n",
        &[
            "trial.yaml:32:15: a judge of provider `openai` has a `ledger`: only `replay` answers from a recorded ledger",
        ],
    ),
    (
        "a URL without a scheme",
        "https://api.openai.com/v1",
        "api.openai.com/v1",
        &[
            "trial.yaml:33:17: base_url is `api.openai.com/v1`: a URL that starts with `https://` (or `http://` for a local server) is needed",
        ],
    ),
    (
        "a key where its variable's name belongs",
        "key_env: OPENAI_API_KEY",
        "key_env: sk-abc123",
        &[
            "trial.yaml:34:16: key_env is not the name of an environment variable: capital letters, digits and `_` are needed; the key itself never stands in a matrix",
        ],
    ),
    (
        "a rule about a recipe that is not defined",
        "variants:",
        "exclude:\n  - {recipe: lora-r61}\nvariants:",
        &[
            "trial.yaml:37:14: recipe `lora-r61` is not defined: use one of `lora-r16`, `lora-r8`; did you mean `lora-r16`?",
        ],
    ),
    (
        "a rule about a seed that is not used",
        "variants:",
        "exclude:\n  - {seed: [42, 43]}\nvariants:",
        &["trial.yaml:37:17: seed `43` is not defined: use `42`; did you mean `42`?"],
    ),
    (
        "a rule that matches nothing",
        "variants:",
        "include:\n  - {recipe: lora-r8}\nexclude:\n  - {recipe: lora-r16}\nvariants:",
        &[
            "trial.yaml:39:5: the exclude rule matches nothing: take it away, or name a combination that is run",
        ],
    ),
    (
        "rules that leave nothing",
        "variants:",
        "exclude:\n  - {model: small}\nvariants:",
        &["trial.yaml:37:3: the rules leave nothing: at least one combination must be left to run"],
    ),
    (
        "a rule without an axis",
        "variants:",
        "exclude:\n  - {}\nvariants:",
        &[
            "trial.yaml:37:5: the rule names no axis: use at least one of `model`, `data`, `recipe`, `seed`, `prompts`, `sampling`",
        ],
    ),
    (
        "an evaluated step outside training",
        "  - {name: lora-r8, rank: 8, accumulate: 2, warmup_steps: 2}\n",
        "evaluate: {steps: [6, 13]}\n",
        &[
            "trial.yaml:15:23: step 13 is no checkpoint: recipe `lora-r16` keeps the steps 6, 12 on 24 rows of `talks`",
        ],
    ),
    (
        "an evaluated epoch outside training",
        "  - {name: lora-r8, rank: 8, accumulate: 2, warmup_steps: 2}\n",
        "evaluate: {epochs: [1, 3]}\n",
        &[
            "trial.yaml:15:24: epoch 3 (step 18) is no checkpoint: recipe `lora-r16` keeps the steps 6, 12 on 24 rows of `talks`",
            "trial.yaml:15:24: epoch 3 is no checkpoint: recipe `lora-r16` trains 2 epochs",
        ],
    ),
    (
        "an unknown word for what is evaluated",
        "variants:",
        "evaluate: lsat\nvariants:",
        &["trial.yaml:36:11: `evaluate` is the text `lsat`: use one of `all`, `last`; did you mean `last`?"],
    ),
    (
        "an unknown key for what is evaluated",
        "variants:",
        "evaluate: {epoch: [1]}\nvariants:",
        &[
            "trial.yaml:36:12: unknown field `epoch`: `evaluate` has `epochs`, `steps`; did you mean `epochs`?",
        ],
    ),
    (
        "a number for what is evaluated",
        "variants:",
        "evaluate: 3\nvariants:",
        &[
            "trial.yaml:36:11: `evaluate` is 3: one of `all`, `last` or a map with `epochs` or a map with `steps` is needed",
        ],
    ),
    (
        "a warm-up that never ends",
        "    warmup_steps: 2\n",
        "    warmup_steps: 12\n",
        &[
            "trial.yaml:14:19: warmup_steps is 12 in recipe `lora-r16`: fewer than its 12 steps on 24 rows of `talks` are needed",
        ],
    ),
    (
        "the best of checkpoints without a validation loss",
        "    valid: data/valid.jsonl\nrecipes:\n  - name: lora-r16\n",
        "recipes:\n  - name: lora-r16\n    keep_best: true\n",
        &[
            "trial.yaml:11:16: keep_best of recipe `lora-r16` goes by the validation loss: give data set `talks` a `valid` file",
        ],
    ),
    (
        "no patience at all",
        "    warmup_steps: 2\n",
        "    warmup_steps: 2\n    early_stopping: {patience: 0}\n",
        &[
            "trial.yaml:15:21: early_stopping of recipe `lora-r16` may end training before a checkpoint that is evaluated: use `evaluate: last`",
            "trial.yaml:15:32: `recipes[0].early_stopping.patience` is 0: a whole number, 1 or more is needed",
        ],
    ),
    (
        "an early end before what is evaluated",
        "    warmup_steps: 2\n",
        "    warmup_steps: 2\n    early_stopping: {patience: 2}\n",
        &[
            "trial.yaml:15:21: early_stopping of recipe `lora-r16` may end training before a checkpoint that is evaluated: use `evaluate: last`",
        ],
    ),
    (
        "an override of a recipe that is not defined",
        "    path: ../models/small\n",
        "    path: ../models/small\n    overrides: [{recipe: lora-r4, rank: 4}]\n",
        &[
            "trial.yaml:5:26: recipe `lora-r4` is not defined: use one of `lora-r16`, `lora-r8`; did you mean `lora-r8`?",
        ],
    ),
    (
        "a model from nowhere",
        "    path: ../models/small\n",
        "",
        &["trial.yaml:3:11: model `small` has neither `path` nor `hub`: one of them is needed"],
    ),
    (
        "a model from two places, on a day that is none",
        "    path: ../models/small\n",
        "    path: ../models/small\n    hub: small\n    date: today\n",
        &[
            "trial.yaml:5:10: model `small` has both `path` and `hub`: one of them is needed",
            "trial.yaml:5:10: model `small` has the hub repository `small`: write `organisation/name`",
            "trial.yaml:6:11: the date of model `small` is `today`: write YYYY-MM-DD, such as 2024-07-26",
        ],
    ),
    (
        "a revision of a folder",
        "    path: ../models/small\n",
        "    path: ../models/small\n    revision: main\n",
        &[
            "trial.yaml:5:15: model `small` has the revision `main` and no `hub`: name the repository or leave it out",
        ],
    ),
    (
        "rows of a file that is not named",
        "    valid: data/valid.jsonl\n",
        "    valid_rows: 8\n",
        &[
            "trial.yaml:9:17: valid_rows is 8 in data set `talks`, which has no `valid` file: name the file or leave it out",
        ],
    ),
    (
        "two ways to choose prompts",
        "    file: data/prompts.jsonl\n",
        "    file: data/prompts.jsonl\n    take: {in-domain: 8}\n    ids: [a]\n",
        &["trial.yaml:19:11: prompt set `eval` has both `take` and `ids`: use one of them"],
    ),
    (
        "a negative count",
        "    file: data/prompts.jsonl\n",
        "    file: data/prompts.jsonl\n    take: {in-domain: -8}\n",
        &["trial.yaml:19:23: `prompts[0].take.in-domain` is -8: a whole number, 0 or more is needed"],
    ),
    (
        "samples that would all be the same",
        "temperature: 0.75",
        "temperature: 0\n    samples: 4",
        &[
            "trial.yaml:22:14: samples is 4 at temperature 0 in sampling `t075`: every sample would be the same: use 1 sample or a temperature above 0",
        ],
    ),
    (
        "a seed twice",
        "variants:",
        "seeds: [1, 2, 1]\nvariants:",
        &["trial.yaml:36:15: seed 1 is given twice: each seed is used once"],
    ),
    (
        "an error in a variant that was not chosen",
        "{name: talks, train_rows: null}",
        "{name: talks, train_rows: -1}",
        &["trial.yaml:39:35: `data[0].train_rows` is -1: a whole number, 1 or more is needed"],
    ),
    (
        "a variant in a variant",
        "  full:\n",
        "  full:\n    variants: {}\n",
        &[
            "trial.yaml:38:15: `variants.full` has variants of its own: a map of overlays by name is needed, each a partial matrix without variants",
        ],
    ),
];

#[test]
fn every_kind_of_bad_matrix_gives_its_exact_message() {
    assert!(CASES.len() >= 20);
    let mut wrong = String::new();
    for (kind, from, to, expected) in CASES {
        let given = after(from, to);
        if given != *expected {
            wrong.push_str(&format!("{kind}:\n{given:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "other messages than expected:\n{wrong}");
}

#[test]
fn the_good_matrix_is_good() {
    assert_eq!(messages(GOOD, None), [""; 0]);
    assert_eq!(messages(GOOD, Some("full")), [""; 0]);
}

#[test]
fn what_is_no_matrix_at_all() {
    assert_eq!(messages("", None), ["trial.yaml:1:1: the matrix is empty: a map is needed"]);
    assert_eq!(messages("hello", None), ["trial.yaml:1:1: the matrix is the text `hello`: a map is needed"]);
    let large = format!("name: {}", "x".repeat(1 << 20));
    let message = "trial.yaml: the file has 1048582 bytes: 1 MiB at most: keep data in files of their own";
    assert_eq!(messages(&large, None), [message]);
}

#[test]
fn a_variant_that_is_not_there() {
    let message = "trial.yaml: the file has no variant `ful`: it has `full`; did you mean `full`?";
    assert_eq!(messages(GOOD, Some("ful")), [message]);
}

#[test]
fn all_errors_are_reported_together_in_the_order_of_the_file() {
    let text =
        GOOD.replace("rank: 16", "rank: 0").replace("model: small", "model: big").replace("0.75", "warm");
    let expected = [
        "trial.yaml:12:11: `recipes[0].rank` is 0: a whole number from 1 to 1024 is needed",
        "trial.yaml:21:18: `sampling[0].temperature` is the text `warm`: a number from 0 to 10 is needed",
        "trial.yaml:27:14: model `big` is not defined: use `small`",
    ];
    assert_eq!(messages(&text, None), expected);
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    for message in after("key_env: OPENAI_API_KEY", "key_env: sk-abc123") {
        assert!(!message.contains("abc123"), "{message}");
    }
}

proptest::proptest! {
    /// Whatever a slip of the hand does to a file, it is read or refused with reasons, and reading never panics.
    #[test]
    fn a_damaged_file_is_read_or_refused(
        line in 0_usize..40, cut in 0_usize..60, insert in "[-:{}\\[\\],&*!|>'\"%@ a-z0-9.~]{0,6}", drop in proptest::bool::ANY,
    ) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        let place = line % lines.len();
        if drop {
            lines.remove(place);
        } else {
            let at = cut.min(lines[place].len());
            lines[place].insert_str(at, &insert);
        }
        let text = lines.join("\n");
        if let Err(errors) = matrix::parse("trial.yaml", &text, Some("full")) {
            proptest::prop_assert!(!errors.is_empty());
        }
    }
}
