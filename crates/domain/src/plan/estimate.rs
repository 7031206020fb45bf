//! How much a job does: tokens and floating point operations from a model's parameters. Upper bounds where lengths are drawn.

use super::PriceTable;
use crate::job::{ApiJudge, Estimate, Method, Orders, Provider, Quantization, Recipe};
use crate::judge_models::Price;
use crate::matrix::{ModelFacts, TokenCount};

/// Tokens of `assay-v1` around prompt and responses, rounded up.
const API_TEMPLATE_TOKENS: u64 = 400;
/// Tokens of the longer smoke template around prompt and responses, rounded up: 120 to 130 were counted with SmolLM2's tokenizer.
const SMOKE_TEMPLATE_TOKENS: u64 = 140;
/// Tokens of an API judge's answer: 150 to 250 were seen with the method's judges.
const VERDICT_TOKENS: u64 = 250;

/// Operations of one token going forward: two for each parameter that it is multiplied with, and attention's two
/// products with `context` earlier tokens.
pub(super) fn forward_flops(model: &ModelFacts, context: f64) -> f64 {
    let parameters = (model.linear_parameters + model.head_parameters) as f64;
    let attention = 4.0 * context * f64::from(model.attention_width) * f64::from(model.layers);
    2.0 * parameters + attention
}

/// Training: forward and the gradient of the inputs for each training token (frozen weights need no gradient of their
/// own: 4 operations for each parameter; 6 where all are trained, or forward is computed twice over weights in 4 bits), and one forward pass over the validation rows at the start and each checkpoint.
pub(super) fn train(
    model: &ModelFacts,
    count: &TokenCount,
    rows: u32,
    evaluations: u64,
    recipe: &Recipe,
) -> Estimate {
    let trained = count.train_tokens * u64::from(recipe.epochs);
    let forward = forward_flops(model, count.train_tokens as f64 / f64::from(rows.max(1)));
    let evaluated = count.valid_tokens * evaluations;
    let passes_as_forward = match (recipe.method, recipe.quantization) {
        (Method::Lora, None) => 2.0,
        (Method::Full, _) | (Method::Lora, Some(Quantization::Nf4)) => 3.0,
    };
    Estimate {
        input_tokens: trained,
        flops: passes_as_forward * forward * trained as f64 + forward * evaluated as f64,
        ..Estimate::default()
    }
}

/// Answers: each prompt forward once for each sample, then every new token.
pub(super) fn generate(
    model: &ModelFacts,
    prompt_tokens: u64,
    answers: u64,
    samples: u32,
    new: u32,
) -> Estimate {
    let input_tokens = prompt_tokens * u64::from(samples);
    let new_tokens = answers * u64::from(new);
    let context = input_tokens as f64 / answers.max(1) as f64 + f64::from(new) / 2.0;
    Estimate {
        input_tokens,
        new_tokens,
        flops: forward_flops(model, context) * (input_tokens + new_tokens) as f64,
        ..Estimate::default()
    }
}

/// The presentations of one pair.
pub(super) const fn passes(orders: Orders) -> u64 {
    match orders {
        Orders::Single => 1,
        Orders::Both => 2,
        Orders::Full => 4,
    }
}

/// What the judging of a comparison reads.
pub(super) struct Judged {
    /// Pairs of answers.
    pub(super) pairs: u64,
    /// Tokens of their prompts.
    pub(super) prompt_tokens: u64,
    /// The most tokens of an answer.
    pub(super) new: u32,
    /// The presentations of each.
    pub(super) orders: Orders,
}

impl Judged {
    fn tokens(&self, template: u64) -> u64 {
        let each = template + 2 * u64::from(self.new);
        passes(self.orders) * (self.prompt_tokens + self.pairs * each)
    }

    /// Tokens of all prompts of a local judge.
    pub(super) fn local_tokens(&self) -> u64 {
        self.tokens(SMOKE_TEMPLATE_TOKENS)
    }
}

/// Judging by a local model: every judge's prompt forward once.
pub(super) fn score(judge: &ModelFacts, judged: &Judged) -> Estimate {
    let input_tokens = judged.local_tokens();
    let context = input_tokens as f64 / (judged.pairs * passes(judged.orders)).max(1) as f64;
    Estimate {
        input_tokens,
        flops: forward_flops(judge, context) * input_tokens as f64,
        ..Estimate::default()
    }
}

/// Judging through an API. Answers from a recorded ledger are no calls; what a model of no known price costs is unknown.
pub(super) fn judge(judged: &Judged, api: &ApiJudge, prices: &PriceTable) -> Estimate {
    let (input, calls) = (judged.tokens(API_TEMPLATE_TOKENS), judged.pairs * passes(judged.orders));
    if api.provider == Provider::Replay {
        return Estimate::default();
    }
    let output = calls * VERDICT_TOKENS;
    // A server of one's own may call its model whatever it likes.
    let known = if api.provider == Provider::OpenaiCompatible { None } else { prices.judge(&api.model) };
    let usd = |price: Price| price.usd(api.batch, input, output);
    Estimate {
        input_tokens: input,
        new_tokens: output,
        api_calls: calls,
        api_usd: known.map(usd),
        ..Estimate::default()
    }
}
