//! `assay judge annotate`: a person sees the panel's pairs blind, one after the other, and answers what a judge is asked.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::PathBuf;

use assay_domain::job::Orders;
use assay_domain::matrix::ResolvedMatrix;
use assay_judging::pair::BlindPair;
use assay_judging::prompt::template;
use assay_judging::records::{Evidence, RawVerdictRecord, VerdictStatus};

use super::screen::{Answer, Screen};
use super::session::{Annotations, TEMPLATE};
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::records::{self, get};
use crate::{args, print, show_report};

/// Runs the command.
pub(crate) async fn run(args: &args::JudgeAnnotate) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let matrix = get(&coordinator, &args.matrix).await?;
    let (_, report) = show_report::fetch(&coordinator, &matrix).await?;
    let inputs = records::inputs(&coordinator, &matrix, &report).await?;
    if inputs.spec.judges.iter().any(|judge| judge.name == args.name) {
        let what = format!("--as is `{}`, which is a judge of the panel: use another name", args.name);
        return Err(Failed::Input(what).into());
    }
    let resolved: ResolvedMatrix = serde_json::from_str(&matrix.resolved_json)?;
    let orders = args.orders.unwrap_or(resolved.matrix.panel.orders);
    let folder = folder(args)?;
    let mut session = Annotations::open_or_begin(&folder, &args.matrix, &args.name, orders)?;
    let blinded = session.blinded(&inputs)?;
    let presentations = in_order(&blinded.presentations);
    let left = judge_all(&mut session, &presentations, io::stdin().lock())?;
    print::say(format!(
        "{} of {} are judged; {}",
        presentations.len() - left,
        presentations.len(),
        folder.display()
    ));
    if left == 0 {
        print::say(format!(
            "assay report {} --annotations {} shows the agreement",
            args.matrix,
            folder.display()
        ));
    }
    Ok(())
}

fn folder(args: &args::JudgeAnnotate) -> Result<PathBuf, Failed> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if args.name.is_empty() || args.name.starts_with('.') || !args.name.chars().all(sound) {
        let what = format!("--as is `{}`: letters, digits, `-`, `_` and `.` are needed", args.name);
        return Err(Failed::Input(what));
    }
    let usual = || args.connection.data_dir.join("annotations").join(&args.matrix).join(&args.name);
    Ok(args.folder.clone().unwrap_or_else(usual))
}

/// All first looks before any second: nobody remembers, of so many, what stood where.
fn in_order(presentations: &[BlindPair]) -> Vec<&BlindPair> {
    let mut ordered: Vec<&BlindPair> = presentations.iter().collect();
    // Pair ids are drawn from the secret: their order says nothing.
    ordered.sort_by(|a, b| (a.pass, &a.pair_id).cmp(&(b.pass, &b.pair_id)));
    ordered
}

/// Asks until all is judged, or the person stops; how many are left.
fn judge_all(
    session: &mut Annotations,
    presentations: &[&BlindPair],
    input: impl BufRead,
) -> anyhow::Result<usize> {
    let judged: BTreeSet<(String, u8)> =
        session.verdicts.iter().map(|one| (one.pair_id.clone(), one.pass)).collect();
    let open: Vec<&&BlindPair> =
        presentations.iter().filter(|one| !judged.contains(&(one.pair_id.clone(), one.pass))).collect();
    let mut screen = Screen::new(input);
    let mut left = open.len();
    for shown in &open {
        screen.show(shown, presentations.len() - left + 1, presentations.len());
        match screen.ask()? {
            Answer::Stop => break,
            Answer::Skip => continue,
            Answer::Verdict(text) => session.add(record(session, shown, text)?)?,
        }
        left -= 1;
    }
    Ok(left)
}

fn record(session: &Annotations, shown: &BlindPair, text: String) -> anyhow::Result<RawVerdictRecord> {
    Ok(RawVerdictRecord {
        pair_id: shown.pair_id.clone(),
        pass: shown.pass,
        judge: session.settings.name.clone(),
        template: String::from(TEMPLATE),
        template_digest: template(TEMPLATE)?.digest(),
        replicate: 0,
        model: String::from(assay_judging::report::HUMAN),
        status: VerdictStatus::Ok,
        detail: None,
        evidence: Evidence::Text { text },
        prompt_tokens: 0,
        new_tokens: 0,
        seconds: 0.0,
    })
}

/// `--orders`.
pub(crate) fn orders(text: &str) -> Result<Orders, String> {
    match text {
        "single" => Ok(Orders::Single),
        "both" => Ok(Orders::Both),
        "full" => Ok(Orders::Full),
        _ => Err(String::from("single, both or full")),
    }
}
