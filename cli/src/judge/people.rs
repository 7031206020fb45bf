//! Verdicts of people, as the coordinator keeps them, for a report.

use assay_judging::records::from_jsonl;
use assay_judging::report::ReportInputs;
use assay_proto::v1;

use crate::connect::Coordinator;
use crate::exit::Failed;

/// Adds all people who have judged a matrix to what its report is computed from.
pub(crate) async fn join(
    coordinator: &Coordinator,
    matrix: &str,
    inputs: &mut ReportInputs,
) -> anyhow::Result<()> {
    let failed = |status: tonic::Status| coordinator.failed(&status);
    let request = v1::ListPeopleRequest { matrix_id: matrix.to_owned() };
    let people = coordinator.people().list_people(request).await.map_err(failed)?.into_inner().people;
    let judging: Vec<_> = people.into_iter().filter(|person| person.judged > 0).collect();
    if judging.is_empty() {
        let what =
            format!("nobody has judged {matrix} yet: `assay judge annotate {matrix} --as NAME` begins");
        return Err(Failed::Input(what).into());
    }
    for person in judging {
        let annotator = person.annotator;
        let request =
            v1::PersonVerdictsRequest { matrix_id: matrix.to_owned(), annotator: annotator.clone() };
        let given = coordinator.people().person_verdicts(request).await.map_err(failed)?.into_inner();
        inputs.spec.judges.push(serde_json::from_str(&given.judge_json)?);
        inputs.verdicts.extend(from_jsonl(&annotator, &given.verdicts_jsonl)?);
        inputs.keys.extend(from_jsonl(&annotator, &given.keys_jsonl)?);
    }
    Ok(())
}
