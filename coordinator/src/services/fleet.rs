//! The workers, as people see them.

use assay_proto::{convert, v1};
use tonic::{Request, Response, Status};

use crate::engine::Handle;
use crate::engine::command::Command;

/// The service.
#[derive(Debug)]
pub(crate) struct FleetService {
    pub(crate) engine: Handle,
}

#[tonic::async_trait]
impl v1::fleet_server::Fleet for FleetService {
    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = self.engine.ask(|reply| Command::Workers { reply }).await?;
        let view = |worker: crate::engine::command::WorkerNow| v1::WorkerView {
            worker_id: worker.info.id.to_string(),
            worker_json: convert::to_json(&worker.info),
            connected: worker.connected,
            job_ids: worker.jobs.iter().map(ToString::to_string).collect(),
        };
        Ok(Response::new(v1::ListWorkersResponse { workers: workers.into_iter().map(view).collect() }))
    }
}
