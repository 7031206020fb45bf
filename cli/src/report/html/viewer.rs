//! All pairs side by side with their verdicts. The script shows one at a time; without it, and on paper, all follow.

use assay_judging::leaks::{Leak, scan};
use assay_judging::records::{FinishReason, SideScores, Slot, VerdictStatus, Winner};
use assay_judging::report::{ComparisonReport, PairReport, PairVerdict, PassReport, Report, ResponseReport};

use super::escape::escape;
use crate::report::format;

pub(super) fn viewer(report: &Report) -> String {
    if report.pairs.is_empty() {
        return String::new();
    }
    let names: Vec<Named<'_>> = report.all_comparisons().map(Named::of).collect();
    let pairs: String =
        report.pairs.iter().enumerate().map(|(index, pair)| article(report, &names, index, pair)).collect();
    let options = |values: Vec<(String, String)>| -> String {
        values
            .iter()
            .map(|(value, name)| format!("<option value=\"{}\">{}</option>", escape(value), escape(name)))
            .collect()
    };
    let comparisons = options(names.iter().map(|one| (one.id.to_owned(), one.name.clone())).collect());
    let mut domains: Vec<&str> = report.pairs.iter().map(|pair| pair.domain.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    let domains =
        options(domains.iter().map(|domain| ((*domain).to_owned(), (*domain).to_owned())).collect());
    let [this, that] = if report.direct.is_empty() { ["", ""] } else { [" (this)", " (that)"] };
    format!(
        "<section id=\"pairs\">\n<h2>Pairs</h2>\n\
         <div class=\"controls\" hidden>\n\
         <button type=\"button\" id=\"previous\" aria-keyshortcuts=\"ArrowLeft k\">\u{2190} Previous</button>\n\
         <output id=\"place\" aria-live=\"polite\"></output>\n\
         <button type=\"button\" id=\"next\" aria-keyshortcuts=\"ArrowRight j\">Next \u{2192}</button>\n\
         <label>Comparison <select id=\"by-comparison\"><option value=\"\">all</option>{comparisons}</select></label>\n\
         <label>Domain <select id=\"by-domain\"><option value=\"\">all</option>{domains}</select></label>\n\
         <label>Verdict <select id=\"by-verdict\"><option value=\"\">any</option><option value=\"tuned\">a judge chose tuned{this}</option>\
         <option value=\"base\">a judge chose base{that}</option><option value=\"tie\">a judge tied or flipped</option>\
         <option value=\"split\">judges disagree</option><option value=\"missing\">a verdict is missing</option>\
         <option value=\"leak\">a response holds a trace</option></select></label>\n\
         <label><input type=\"search\" id=\"by-text\" placeholder=\"find in text\" aria-label=\"Find in text\"></label>\n\
         <label><input type=\"checkbox\" id=\"print-all\"> print all</label>\n\
         <p class=\"hint\">Keys: \u{2190} and \u{2192}, or k and j, go from pair to pair; Home and End to the first and the last.</p>\n</div>\n\
         <div id=\"articles\">\n{pairs}</div>\n</section>\n"
    )
}

/// A comparison and its two sides, in words.
struct Named<'a> {
    id: &'a str,
    name: String,
    sides: Sides,
}

/// The side whose wins are counted, and the other.
#[derive(Clone, Copy)]
struct Sides {
    tuned: &'static str,
    base: &'static str,
}

const OWN_BASE: Sides = Sides { tuned: "tuned", base: "base" };

impl<'a> Named<'a> {
    fn of(c: &'a ComparisonReport) -> Self {
        let c = &c.comparison;
        let sides = if c.against.is_some() { Sides { tuned: "this", base: "that" } } else { OWN_BASE };
        Self { id: &c.id, name: format!("{}, {}", format::system(c), format::checkpoint(c)), sides }
    }
}

impl Sides {
    fn word(self, winner: Winner) -> &'static str {
        match winner {
            Winner::Tuned => self.tuned,
            Winner::Base => self.base,
            Winner::Tie => "tie",
        }
    }
}

fn article(report: &Report, names: &[Named<'_>], index: usize, pair: &PairReport) -> String {
    let named = names.iter().find(|one| one.id == pair.comparison);
    let comparison = named.map_or(pair.comparison.as_str(), |one| one.name.as_str());
    let sides = named.map_or(OWN_BASE, |one| one.sides);
    let side = sides.tuned;
    let sample = if pair.sample > 0 { format!(", sample {}", pair.sample + 1) } else { String::new() };
    let verdicts: String = pair.verdicts.iter().map(|verdict| verdict_rows(report, sides, verdict)).collect();
    format!(
        "<article class=\"pair\" id=\"pair-{index}\" data-comparison=\"{}\" data-domain=\"{}\" data-verdicts=\"{}\">\n\
         <p class=\"where\">{}{} \u{b7} {} \u{b7} {}</p>\n<h3>{}</h3>\n\
         <div class=\"two\">\n{}{}</div>\n\
         <div class=\"scroll\"><table class=\"verdicts\">\n<thead><tr><th scope=\"col\">judge</th><th scope=\"col\">verdict</th>\
         <th scope=\"col\" class=\"r\">P({side})</th><th scope=\"col\">{side} shown first</th><th scope=\"col\">{side} shown second</th></tr></thead>\n\
         <tbody>\n{verdicts}</tbody>\n</table></div>\n</article>\n",
        escape(&pair.comparison),
        escape(&pair.domain),
        kinds(pair).join(" "),
        escape(&pair.prompt_id),
        escape(&sample),
        escape(&format!("{}, {}", pair.domain, pair.split)),
        escape(comparison),
        escape(&pair.prompt),
        response("base", sides.base, &pair.base),
        response("tuned", sides.tuned, &pair.tuned),
    )
}

/// What the filter knows of a pair.
fn kinds(pair: &PairReport) -> Vec<&'static str> {
    let any = |wanted| pair.verdicts.iter().any(|verdict| verdict.winner == Some(wanted));
    let winners: Vec<Winner> = pair.verdicts.iter().filter_map(|verdict| verdict.winner).collect();
    let all = [
        ("tuned", any(Winner::Tuned)),
        ("base", any(Winner::Base)),
        ("tie", any(Winner::Tie)),
        ("split", winners.windows(2).any(|two| two[0] != two[1])),
        ("leak", [&pair.base, &pair.tuned].iter().any(|response| !scan(&response.text).is_empty())),
        ("missing", pair.verdicts.iter().any(|verdict| verdict.status != VerdictStatus::Ok)),
    ];
    all.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect()
}

fn response(class: &str, side: &str, response: &ResponseReport) -> String {
    let cut = match response.finish_reason {
        FinishReason::Length => " \u{b7} <span class=\"cut\">cut off</span>",
        FinishReason::Stop => "",
    };
    let leaks: String = scan(&response.text).iter().map(leak).collect();
    // An imported file does not say how many.
    let tokens =
        if response.new_tokens == 0 { String::new() } else { format!("{} tokens", response.new_tokens) };
    let body = if response.text.trim().is_empty() {
        "<p class=\"faint\">(empty)</p>".to_owned()
    } else {
        format!("<div class=\"text\" dir=\"auto\">{}</div>", escape(&response.text))
    };
    format!(
        "<section class=\"response {class}\" aria-label=\"{side}\">\n<h4>{side} <small>{tokens}{cut}{leaks}</small></h4>\n{body}\n</section>\n"
    )
}

/// A trace of who wrote it.
fn leak(leak: &Leak) -> String {
    format!(" \u{b7} <span class=\"cut\">trace: {}</span>", escape(&leak.found))
}

fn verdict_rows(report: &Report, sides: Sides, verdict: &PairVerdict) -> String {
    let (class, said) = match verdict.winner {
        Some(Winner::Tuned) => ("won", sides.tuned.to_owned()),
        Some(Winner::Base) => ("lost", sides.base.to_owned()),
        Some(Winner::Tie) if flipped(verdict) => ("tied", "tie (flipped with the order)".to_owned()),
        Some(Winner::Tie) => ("tied", "tie".to_owned()),
        None => ("gone", format!("missing: {}", verdict.status.name())),
    };
    // What an imported file does not place stands in the first column, and says so.
    let in_slot = |slot: Slot| {
        let here = |pass: &&PassReport| pass.tuned_slot.unwrap_or(Slot::First) == slot;
        let passes: Vec<String> =
            verdict.passes.iter().filter(here).map(|pass| pass_text(sides, pass)).collect();
        if passes.is_empty() { format::NOTHING.to_owned() } else { passes.join("; ") }
    };
    let notes: String = verdict.passes.iter().filter_map(|pass| note(sides, pass)).collect();
    let notes = if notes.is_empty() {
        notes
    } else {
        format!("<tr class=\"notes\"><td colspan=\"5\"><ul>{notes}</ul></td></tr>\n")
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td class=\"{class}\">{}</td><td class=\"r\">{}</td><td>{}</td><td>{}</td></tr>\n{notes}",
        escape(&format::judge(report, Some(&verdict.judge))),
        escape(&said),
        format::number(verdict.p_tuned, 3),
        escape(&in_slot(Slot::First)),
        escape(&in_slot(Slot::Second)),
    )
}

fn flipped(verdict: &PairVerdict) -> bool {
    verdict.passes.windows(2).any(|two| two[0].winner != two[1].winner)
}

fn pass_text(sides: Sides, pass: &PassReport) -> String {
    let winner = pass.winner.map_or(pass.status.name(), |winner| sides.word(winner));
    let p = pass.p_tuned.map_or_else(String::new, |p| format!(" {p:.3}"));
    let confidence = pass.confidence.map_or_else(String::new, |c| format!(", confidence {c}"));
    let place = if pass.tuned_slot.is_none() { " (order unknown)" } else { "" };
    format!("{winner}{p}{confidence}{place}")
}

fn note(sides: Sides, pass: &PassReport) -> Option<String> {
    let place = match pass.tuned_slot {
        Some(Slot::First) => format!("{} first", sides.tuned),
        Some(Slot::Second) => format!("{} second", sides.tuned),
        None => "order unknown".to_owned(),
    };
    let scores = pass.scores.as_ref().map(|scores| scores_text(sides, scores)).unwrap_or_default();
    let text = pass.note.as_deref().filter(|note| !note.is_empty())?;
    Some(format!("<li><small>{place}</small> {} <small>{}</small></li>", escape(text), escape(&scores)))
}

fn scores_text(sides: Sides, scores: &SideScores) -> String {
    let pairs = scores.tuned.named().into_iter().zip(scores.base.named());
    let parts: Vec<String> =
        pairs.map(|((name, tuned), (_, base))| format!("{name} {tuned}:{base}")).collect();
    format!("({}:{} {})", sides.tuned, sides.base, parts.join(", "))
}
