//! `assay judge annotate`: a person sees the panel's pairs blind, one after the other, and answers what a judge is asked. The
//! coordinator draws what stands where, and keeps each verdict.

use std::io;

use assay_proto::v1;

use super::screen::{Answer, Screen};
use crate::connect::Coordinator;
use crate::{args, print};

/// Runs the command.
pub(crate) async fn run(args: &args::JudgeAnnotate) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let mut screen = Screen::new(io::BufReader::new(io::stdin()));
    let mut skip = Vec::new();
    let (judged, total) = loop {
        let next = next(&coordinator, args, skip.clone()).await?;
        let Some(shown) = next.presentation else { break (next.judged, next.total) };
        screen.show(&shown, next.judged as usize + skip.len() + 1, next.total as usize);
        match screen.ask()? {
            Answer::Stop => break (next.judged, next.total),
            Answer::Skip => skip.push(shown.id),
            Answer::Verdict(text) => give(&coordinator, args, shown.id, text).await?,
        }
    };
    print::say(format!("{judged} of {total} are judged"));
    if judged == total {
        print::say(format!("assay report {} --people shows the agreement", args.matrix));
    }
    Ok(())
}

async fn next(
    coordinator: &Coordinator,
    args: &args::JudgeAnnotate,
    skip: Vec<String>,
) -> anyhow::Result<v1::NextPairResponse> {
    let request = v1::NextPairRequest {
        matrix_id: args.matrix.clone(),
        annotator: args.name.clone(),
        orders: args.orders.clone().unwrap_or_default(),
        skip,
    };
    let next = coordinator.people().next_pair(request).await;
    Ok(next.map_err(|status| coordinator.failed(&status))?.into_inner())
}

async fn give(
    coordinator: &Coordinator,
    args: &args::JudgeAnnotate,
    presentation_id: String,
    verdict_json: String,
) -> anyhow::Result<()> {
    let request = v1::GiveVerdictRequest {
        matrix_id: args.matrix.clone(),
        annotator: args.name.clone(),
        presentation_id,
        verdict_json,
    };
    coordinator.people().give_verdict(request).await.map_err(|status| coordinator.failed(&status))?;
    Ok(())
}
