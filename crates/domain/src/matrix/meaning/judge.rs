//! What one API judge can get wrong by itself: an address, a key's name, a parameter that its model refuses.

use crate::job::{ApiJudge, Provider, Thinking};
use crate::judge_models::{self, Accepts, Knob, When};
use crate::matrix::Judge;

/// One thing that is wrong.
pub(super) struct Wrong {
    pub(super) field: &'static str,
    pub(super) what: String,
    pub(super) rule: String,
}

fn wrong(field: &'static str, what: impl Into<String>, rule: impl Into<String>) -> Wrong {
    Wrong { field, what: what.into(), rule: rule.into() }
}

/// All that is wrong with a judge; nothing for a local model.
pub(super) fn wrong_with(judge: &Judge) -> Vec<Wrong> {
    let Some(api) = judge.api() else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(address(&api));
    found.extend(key(&api));
    found.extend(ledger(judge, &api));
    found.extend(batch(&api));
    found.extend(model(&api));
    if let Some(accepts) = accepts(&api) {
        found.extend(temperature(&api, accepts));
        found.extend(thinking(&api, accepts));
    }
    found
}

fn address(api: &ApiJudge) -> Option<Wrong> {
    let (base_url, provider) = (&api.base_url, api.provider);
    if provider == Provider::Replay {
        return None;
    }
    if base_url.is_empty() {
        let what = format!("a judge of provider `{}` has no `base_url`", provider.as_str());
        return Some(wrong(
            "base_url",
            what,
            "such a server has no address of its own: name it, up to `/v1`",
        ));
    }
    let sound = base_url.starts_with("http://") || base_url.starts_with("https://");
    let rule = "a URL that starts with `https://` (or `http://` for a local server) is needed";
    (!sound).then(|| wrong("base_url", format!("base_url is `{base_url}`"), rule))
}

fn key(api: &ApiJudge) -> Option<Wrong> {
    let name = api.key_env.as_ref()?;
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let named = name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit());
    // The value may be a key by mistake: it is not repeated.
    let what = "key_env is not the name of an environment variable";
    let rule = "capital letters, digits and `_` are needed; the key itself never stands in a matrix";
    (!named).then(|| wrong("key_env", what, rule))
}

fn ledger(judge: &Judge, api: &ApiJudge) -> Option<Wrong> {
    match (judge.ledger(), api.provider == Provider::Replay) {
        (None, true) => {
            let rule = "name the file of recorded answers";
            Some(wrong("ledger", "a judge of provider `replay` has no `ledger`", rule))
        }
        (Some(_), false) => {
            let what = format!("a judge of provider `{}` has a `ledger`", api.provider.as_str());
            Some(wrong("ledger", what, "only `replay` answers from a recorded ledger"))
        }
        (Some(_), true) | (None, false) => None,
    }
}

fn batch(api: &ApiJudge) -> Option<Wrong> {
    let what = || format!("a judge of provider `{}` has `batch: true`", api.provider.as_str());
    let rule = "the labs alone have batch APIs: leave it out";
    (api.batch && !api.provider.has_batches()).then(|| wrong("batch", what(), rule))
}

fn model(api: &ApiJudge) -> Option<Wrong> {
    if matches!(api.provider, Provider::OpenaiCompatible | Provider::Replay) {
        return None;
    }
    let (models, model) = (judge_models::builtin(), &api.model);
    if let Some(on) = models.retired(model) {
        let rule = "use a current model, or `provider: replay` with recorded answers";
        return Some(wrong("model", format!("model `{model}` was retired ({on})"), rule));
    }
    let lab = models.provider(model)?;
    let same = lab == api.provider || (lab, api.provider) == (Provider::Openai, Provider::OpenaiResponses);
    let what = format!("model `{model}` is not one of provider `{}`", api.provider.as_str());
    (!same).then(|| wrong("model", what, format!("use provider `{}`", lab.as_str())))
}

/// Nothing is known of models on servers of one's own, and a recorded answer was accepted when it was asked for.
fn accepts(api: &ApiJudge) -> Option<Accepts> {
    if matches!(api.provider, Provider::OpenaiCompatible | Provider::Replay) {
        return None;
    }
    judge_models::builtin().accepts(&api.model)
}

fn temperature(api: &ApiJudge, accepts: Accepts) -> Option<Wrong> {
    let given = api.temperature?;
    let what = format!("temperature is {given} for model `{}`", api.model);
    let thinks = api.thinking.is_some_and(|thinking| thinking != Thinking::None);
    match accepts.temperature {
        When::Never => Some(wrong("temperature", what, "this model accepts none: leave it out")),
        When::WithoutThinking if thinks => {
            let rule = "this model accepts one only with `thinking: none`: leave one of them out";
            Some(wrong("temperature", what, rule))
        }
        When::WithoutThinking | When::Always => None,
    }
}

fn thinking(api: &ApiJudge, accepts: Accepts) -> Option<Wrong> {
    let off = api.thinking? == Thinking::None;
    let model = &api.model;
    if off && !accepts.thinking_off {
        let what = format!("thinking is `none` for model `{model}`");
        return Some(wrong(
            "thinking",
            what,
            "this model cannot do without: use one of `low`, `medium`, `high`",
        ));
    }
    let rule = "this model cannot be asked to think: leave it out";
    let what = format!("thinking is given for model `{model}`");
    (!off && accepts.thinking == Knob::None).then(|| wrong("thinking", what, rule))
}
