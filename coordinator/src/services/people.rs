//! People as judges: what they see next, and what they say of it.

use assay_domain::MatrixId;
use assay_domain::job::{Orders, ReportSpec, Work};
use assay_domain::matrix::ResolvedMatrix;
use assay_domain::state::Matrix;
use assay_judging::pair::BlindPair;
use assay_judging::people::{PeopleError, Session, Shown, check_name};
use assay_judging::prompt::template;
use assay_judging::records::{Label, RawVerdictRecord, to_jsonl};
use assay_proto::{convert, v1};
use tonic::{Request, Response, Status};

use super::{internal, rejected};
use crate::annotations::{AnnotationError, Annotations, orders_word};
use crate::engine::Handle;
use crate::engine::command::Command;
use crate::objects::local::LocalObjects;

mod pairs;

/// Presentations that may be passed over in one call.
const SKIPPED_MAX: usize = 100_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct PeopleService {
    pub(crate) engine: Handle,
    pub(crate) objects: LocalObjects,
    pub(crate) annotations: Annotations,
}

#[tonic::async_trait]
impl v1::people_server::People for PeopleService {
    async fn next_pair(
        &self,
        request: Request<v1::NextPairRequest>,
    ) -> Result<Response<v1::NextPairResponse>, Status> {
        let v1::NextPairRequest { matrix_id, annotator, orders, skip } = request.into_inner();
        let asked = parse_orders(&orders)?;
        if skip.len() > SKIPPED_MAX {
            return Err(Status::invalid_argument(format!(
                "{} are passed over: {SKIPPED_MAX} at most",
                skip.len()
            )));
        }
        let matrix = self.judged_by(&matrix_id, &annotator).await?;
        let service = self.clone();
        blocking(move || service.next(&matrix, &annotator, asked, &skip)).await.map(Response::new)
    }

    async fn give_verdict(
        &self,
        request: Request<v1::GiveVerdictRequest>,
    ) -> Result<Response<v1::GiveVerdictResponse>, Status> {
        let request = request.into_inner();
        let matrix = self.judged_by(&request.matrix_id, &request.annotator).await?;
        let service = self.clone();
        blocking(move || service.keep(&matrix, request)).await.map(Response::new)
    }

    async fn list_people(
        &self,
        request: Request<v1::ListPeopleRequest>,
    ) -> Result<Response<v1::ListPeopleResponse>, Status> {
        let matrix = self.matrix(&request.into_inner().matrix_id).await?;
        let service = self.clone();
        blocking(move || service.list(&matrix)).await.map(Response::new)
    }

    async fn person_verdicts(
        &self,
        request: Request<v1::PersonVerdictsRequest>,
    ) -> Result<Response<v1::PersonVerdictsResponse>, Status> {
        let v1::PersonVerdictsRequest { matrix_id, annotator } = request.into_inner();
        let matrix = self.judged_by(&matrix_id, &annotator).await?;
        let service = self.clone();
        blocking(move || service.verdicts(&matrix, &annotator)).await.map(Response::new)
    }
}

impl PeopleService {
    async fn matrix(&self, id: &str) -> Result<Matrix, Status> {
        let matrix = MatrixId::new(id);
        let now = self.engine.ask(|reply| Command::Get { matrix, reply }).await?.map_err(rejected)?;
        Ok(now.matrix)
    }

    /// A matrix that this person may judge: a name in the report is one judge's.
    async fn judged_by(&self, id: &str, annotator: &str) -> Result<Matrix, Status> {
        check_name(annotator).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let matrix = self.matrix(id).await?;
        if report_of(&matrix)?.judges.iter().any(|judge| judge.name == annotator) {
            return Err(Status::invalid_argument(format!(
                "the annotator's name is `{annotator}`, which is a judge of the panel: use another name"
            )));
        }
        Ok(matrix)
    }

    fn next(
        &self,
        matrix: &Matrix,
        annotator: &str,
        asked: Option<Orders>,
        skip: &[String],
    ) -> Result<v1::NextPairResponse, Status> {
        // Before a session is begun it is known that it can be judged.
        let pairs = pairs::pairs(matrix, &self.objects)?;
        let id = matrix.submitted.id.as_str();
        let usual = panel_orders(matrix)?;
        let session = self.annotations.go_on(id, annotator, asked, usual).map_err(refused)?;
        let shown = session.show(&pairs).map_err(wrong)?;
        let judged = self.annotations.verdicts(&session).map_err(refused)?;
        let open = |one: &&BlindPair| !is_judged(&judged, one) && !skip.contains(&presentation_id(one));
        Ok(v1::NextPairResponse {
            presentation: shown.presentations.iter().find(open).map(presentation),
            judged: judged.len() as u32,
            total: shown.presentations.len() as u32,
        })
    }

    fn keep(
        &self,
        matrix: &Matrix,
        request: v1::GiveVerdictRequest,
    ) -> Result<v1::GiveVerdictResponse, Status> {
        let (session, shown) = self.begun(matrix, &request.annotator)?;
        let found = shown.presentations.iter().find(|one| presentation_id(one) == request.presentation_id);
        let found = found.ok_or_else(|| {
            Status::not_found(format!(
                "presentation `{}` is none that `{}` was shown of {}: NextPair gives their ids",
                request.presentation_id, request.annotator, request.matrix_id
            ))
        })?;
        let verdict = session.verdict(found, request.verdict_json).map_err(wrong)?;
        let added = self.annotations.add(&session, &verdict).map_err(refused)?;
        Ok(v1::GiveVerdictResponse {
            repeated: added.repeated,
            judged: added.judged as u32,
            total: shown.presentations.len() as u32,
        })
    }

    fn list(&self, matrix: &Matrix) -> Result<v1::ListPeopleResponse, Status> {
        let id = matrix.submitted.id.as_str();
        let mut people = Vec::new();
        for name in self.annotations.people(id).map_err(refused)? {
            let Some(session) = self.annotations.session(id, &name).map_err(refused)? else { continue };
            let judged = self.annotations.verdicts(&session).map_err(refused)?.len() as u32;
            people.push(v1::PersonView {
                annotator: name,
                orders: orders_word(session.orders).into(),
                judged,
            });
        }
        Ok(v1::ListPeopleResponse { people })
    }

    fn verdicts(&self, matrix: &Matrix, annotator: &str) -> Result<v1::PersonVerdictsResponse, Status> {
        let (session, shown) = self.begun(matrix, annotator)?;
        let verdicts = self.annotations.verdicts(&session).map_err(refused)?;
        let keys: Vec<_> = shown.key.records().collect();
        let jsonl = |text: Result<String, serde_json::Error>| {
            text.map_err(|error| internal("writing records", &error))
        };
        Ok(v1::PersonVerdictsResponse {
            judge_json: convert::to_json(&session.info()),
            verdicts_jsonl: jsonl(to_jsonl(&verdicts))?,
            keys_jsonl: jsonl(to_jsonl(&keys))?,
        })
    }

    /// A session that NextPair has begun, with all that it shows.
    fn begun(&self, matrix: &Matrix, annotator: &str) -> Result<(Session, Shown), Status> {
        let id = matrix.submitted.id.as_str();
        let session = self.annotations.session(id, annotator).map_err(refused)?;
        let session = session.ok_or_else(|| {
            Status::not_found(format!("`{annotator}` has not begun to judge {id}: NextPair begins"))
        })?;
        let shown = session.show(&pairs::pairs(matrix, &self.objects)?).map_err(wrong)?;
        Ok((session, shown))
    }
}

fn presentation_id(shown: &BlindPair) -> String {
    format!("{}-{}", shown.pair_id, shown.pass)
}

fn is_judged(verdicts: &[RawVerdictRecord], shown: &BlindPair) -> bool {
    verdicts.iter().any(|one| (&one.pair_id, one.pass) == (&shown.pair_id, shown.pass))
}

/// What a person may see of a pair: neither fence nor key.
fn presentation(shown: &BlindPair) -> v1::Presentation {
    let labels = template(assay_judging::people::TEMPLATE).map_or(["1", "2"], |template| template.labels);
    let label = |label: Label| if label == Label::A { labels[0] } else { labels[1] };
    let response = |label_of: Label, text: &String| v1::LabelledResponse {
        label: label(label_of).to_owned(),
        text: text.clone(),
    };
    v1::Presentation {
        id: presentation_id(shown),
        prompt: shown.prompt.clone(),
        responses: vec![
            response(shown.first_label, &shown.first),
            response(shown.first_label.other(), &shown.second),
        ],
    }
}

fn report_of(matrix: &Matrix) -> Result<&ReportSpec, Status> {
    let report = matrix.submitted.plan.iter().find_map(|job| match &job.work {
        Work::Report(spec) => Some(spec),
        Work::Train(_) | Work::Generate(_) | Work::Score(_) | Work::Judge(_) => None,
    });
    report.ok_or_else(|| Status::failed_precondition("the matrix has no report: there is nothing to judge"))
}

fn panel_orders(matrix: &Matrix) -> Result<Orders, Status> {
    let resolved: Result<ResolvedMatrix, _> = serde_json::from_str(&matrix.submitted.spec_json);
    resolved
        .map(|resolved| resolved.matrix.panel.orders)
        .map_err(|error| internal("reading a matrix", &error))
}

fn parse_orders(text: &str) -> Result<Option<Orders>, Status> {
    let known = [Orders::Single, Orders::Both, Orders::Full];
    match known.into_iter().find(|orders| orders_word(*orders) == text) {
        None if text.is_empty() => Ok(None),
        None => Err(Status::invalid_argument(format!(
            "orders is `{text}`: use `single`, `both` or `full`, or leave it out"
        ))),
        found => Ok(found),
    }
}

/// A rule of judging that a call breaks.
fn wrong(error: PeopleError) -> Status {
    match error {
        PeopleError::Name { .. } | PeopleError::Verdict(_) => Status::invalid_argument(error.to_string()),
        PeopleError::Pairs(source) => Status::failed_precondition(assay_domain::chain(&source)),
        PeopleError::Secret { .. } | PeopleError::Template(_) => internal("showing pairs", &error),
    }
}

fn refused(error: AnnotationError) -> Status {
    match error {
        AnnotationError::Rule(rule) => wrong(rule),
        AnnotationError::Orders { .. } => Status::failed_precondition(error.to_string()),
        AnnotationError::Judged { .. } => Status::already_exists(error.to_string()),
        AnnotationError::Crowded { .. } => Status::resource_exhausted(error.to_string()),
        AnnotationError::Poisoned { .. } => Status::unavailable(error.to_string()),
        AnnotationError::Io { .. }
        | AnnotationError::Folder(_)
        | AnnotationError::Whole(_)
        | AnnotationError::Session { .. }
        | AnnotationError::Records(_) => internal("keeping annotations", &error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(internal("judging by hand", &error)))
}
