//! What people do with matrices.

use std::time::Duration;

use assay_domain::budget::Cap;
use assay_domain::{MatrixId, UnixMillis};
use assay_proto::convert;
use assay_proto::v1;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::named::Named;
use super::rejected;
use crate::clock::Clock;
use crate::config::Limits;
use crate::engine::Handle;
use crate::engine::archive::{Cursor, MatrixLine};
use crate::engine::command::{Command, MatrixNow};
use crate::engine::steer::Steering;
use crate::hub::HubAccess;

mod logs;
mod submit;

/// Messages that wait for a reader of a stream.
const STREAM_QUEUE: usize = 4;
const WATCH_INTERVAL_MS: u32 = 200;
const PAGE_DEFAULT: u32 = 50;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct MatricesService {
    pub(crate) engine: Handle,
    pub(crate) limits: Limits,
    pub(crate) named: Named,
    pub(crate) hub: HubAccess,
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends streams when the coordinator stops.
    pub(crate) stop: CancellationToken,
    /// Places for streams.
    pub(crate) streams: Arc<Semaphore>,
}

#[tonic::async_trait]
impl v1::matrices_server::Matrices for MatricesService {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        self.accept(request.into_inner()).await.map(Response::new)
    }

    async fn retry(
        &self,
        request: Request<v1::RetryRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        self.try_again(request.into_inner()).await.map(Response::new)
    }

    async fn get(
        &self,
        request: Request<v1::GetMatrixRequest>,
    ) -> Result<Response<v1::GetMatrixResponse>, Status> {
        let now = self.now(&MatrixId::new(request.into_inner().matrix_id)).await?;
        Ok(Response::new(v1::GetMatrixResponse { matrix: Some(view(&now, true)) }))
    }

    async fn list(
        &self,
        request: Request<v1::ListMatricesRequest>,
    ) -> Result<Response<v1::ListMatricesResponse>, Status> {
        let request = request.into_inner();
        let before = parse_token(&request.page_token)?;
        let size = if request.page_size == 0 { PAGE_DEFAULT } else { request.page_size };
        let size = size.min(self.limits.page_max) as usize;
        let mut lines = self.engine.ask(|reply| Command::List { before, count: size + 1, reply }).await?;
        let more = lines.len() > size;
        lines.truncate(size);
        let next = lines.last().filter(|_| more).map(|line| token(&line.cursor())).unwrap_or_default();
        let matrices = lines.into_iter().map(summary).collect();
        Ok(Response::new(v1::ListMatricesResponse { matrices, next_page_token: next }))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let matrix = MatrixId::new(request.matrix_id);
        self.now(&matrix).await?;
        let place = self.place()?;
        let interval_ms = if request.interval_ms == 0 { WATCH_INTERVAL_MS } else { request.interval_ms };
        let interval = Duration::from_millis(interval_ms.max(self.limits.watch_interval_min_ms).into());
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let following = service.follow(&matrix, interval, &sender);
            service.until_stopped(following, &sender).await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let matrix = MatrixId::new(request.into_inner().matrix_id);
        let changed = self.steer(Steering::Cancel(matrix)).await?;
        Ok(Response::new(v1::CancelResponse { changed }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let v1::CancelJobRequest { job_id, branch } = request.into_inner();
        let job = convert::job_id(&job_id)?;
        let changed = self.steer(Steering::CancelJob { job, branch }).await?;
        Ok(Response::new(v1::CancelResponse { changed }))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let matrix = MatrixId::new(request.into_inner().matrix_id);
        let changed = self.steer(Steering::Pause(matrix)).await?;
        Ok(Response::new(v1::PauseResponse { changed }))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let matrix = MatrixId::new(request.into_inner().matrix_id);
        let changed = self.steer(Steering::Unpause(matrix)).await?;
        Ok(Response::new(v1::ResumeResponse { changed }))
    }

    async fn set_budget(
        &self,
        request: Request<v1::SetBudgetRequest>,
    ) -> Result<Response<v1::SetBudgetResponse>, Status> {
        let v1::SetBudgetRequest { matrix_id, usd, hours } = request.into_inner();
        for (name, number) in [("usd", usd), ("hours", hours)] {
            if number.is_some_and(|number| !(number.is_finite() && number > 0.0)) {
                let given = number.unwrap_or_default();
                return Err(Status::invalid_argument(format!(
                    "{name} is {given}: a number above 0 is needed"
                )));
            }
        }
        let (matrix, budget) = (MatrixId::new(matrix_id), Cap::of(usd, hours));
        let changed = self.steer(Steering::Budget { matrix, budget }).await?;
        Ok(Response::new(v1::SetBudgetResponse { changed }))
    }

    async fn budgets(
        &self,
        _request: Request<v1::BudgetsRequest>,
    ) -> Result<Response<v1::BudgetsResponse>, Status> {
        let balances = self.engine.ask(|reply| Command::Budgets { reply }).await?;
        Ok(Response::new(v1::BudgetsResponse { balances_json: convert::to_json(&balances) }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let job = convert::job_id(&request.into_inner().job_id)?;
        let explained = self.engine.ask(|reply| Command::Explain { job, reply }).await?;
        let explanation_json = convert::to_json(&explained.map_err(rejected)?);
        Ok(Response::new(v1::ExplainResponse { explanation_json }))
    }

    type LogsStream = ReceiverStream<Result<v1::LogsResponse, Status>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let wanted = logs::wanted(&request)?;
        let first = self.log_page(&wanted, None).await?;
        let place = self.place()?;
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let telling = service.tell_logs(&wanted, first, request.follow, &sender);
            service.until_stopped(telling, &sender).await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl MatricesService {
    async fn steer(&self, steering: Steering) -> Result<bool, Status> {
        self.engine.ask(|reply| Command::Steer { steering, reply }).await?.map_err(rejected)
    }

    async fn now(&self, matrix: &MatrixId) -> Result<MatrixNow, Status> {
        let matrix = matrix.clone();
        self.engine.ask(|reply| Command::Get { matrix, reply }).await?.map_err(rejected)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| {
            Status::resource_exhausted(format!(
                "{} streams are open already: end some `watch` or `logs`, or poll with Get",
                self.limits.streams_max
            ))
        })
    }

    /// Runs a stream until it ends, its reader goes, or the coordinator stops; an error is the stream's last word.
    async fn until_stopped<T>(
        &self,
        stream: impl Future<Output = Result<(), Status>>,
        sender: &mpsc::Sender<Result<T, Status>>,
    ) {
        let outcome = tokio::select! {
            outcome = stream => outcome,
            () = sender.closed() => Ok(()),
            () = self.stop.cancelled() => Err(crate::engine::Stopped.into()),
        };
        if let Err(status) = outcome {
            // The reader may be gone.
            let _ = sender.send(Err(status)).await;
        }
    }

    async fn follow(
        &self,
        matrix: &MatrixId,
        interval: Duration,
        sender: &mpsc::Sender<Result<v1::WatchResponse, Status>>,
    ) -> Result<(), Status> {
        let mut changes = self.engine.changes();
        let mut last = None;
        loop {
            changes.mark_unchanged();
            let view = view(&self.now(matrix).await?, false);
            let finished = view.summary.as_ref().is_some_and(|summary| summary.finished_at_unix_ms > 0);
            if last.as_ref() != Some(&view) {
                last = Some(view.clone());
                if sender.send(Ok(v1::WatchResponse { matrix: Some(view), finished })).await.is_err() {
                    return Ok(());
                }
            }
            if finished {
                return Ok(());
            }
            tokio::time::sleep(interval).await;
            changes.changed().await.map_err(|_| crate::engine::Stopped)?;
        }
    }
}

fn view(now: &MatrixNow, with_resolved: bool) -> v1::MatrixView {
    convert::matrix_view(&now.matrix, |ordinal| now.progress.get(&ordinal).cloned(), with_resolved)
}

fn summary(line: MatrixLine) -> v1::MatrixSummary {
    v1::MatrixSummary {
        matrix_id: line.id.to_string(),
        name: line.name,
        submitted_at_unix_ms: line.submitted_at,
        finished_at_unix_ms: line.finished_at,
        cancelled: line.cancelled,
        paused: line.paused,
        held: line.held,
        jobs: line.jobs.into_iter().collect(),
    }
}

fn token(cursor: &Cursor) -> String {
    format!("{}:{}", cursor.submitted_at, cursor.id)
}

fn parse_token(token: &str) -> Result<Option<Cursor>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.split_once(':').and_then(|(at, id)| {
        Some(Cursor { submitted_at: UnixMillis(at.parse().ok()?).0, id: MatrixId::new(id) })
    });
    let bad =
        || Status::invalid_argument("page_token is not one: send the next_page_token of the page before");
    parsed.map(Some).ok_or_else(bad)
}
