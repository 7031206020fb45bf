//! The workers, as people see them.

use assay_domain::WorkerId;
use assay_domain::state::DrainMode;
use assay_proto::{convert, v1};
use tonic::{Request, Response, Status};

use crate::engine::Handle;
use crate::engine::command::Command;
use crate::engine::steer::Steering;
use crate::services::rejected;

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
            standing_json: convert::to_json(&worker.standing),
            offer_json: convert::to_json(&worker.offer),
            connected: worker.connected,
            job_ids: worker.jobs.iter().map(ToString::to_string).collect(),
        };
        Ok(Response::new(v1::ListWorkersResponse { workers: workers.into_iter().map(view).collect() }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        let v1::DrainRequest { worker_id, mode } = request.into_inner();
        let mode: DrainMode = convert::from_json("mode", &convert::to_json(&mode))?;
        let steering = Steering::Drain { worker: WorkerId::new(worker_id), mode };
        let changed = self.engine.ask(|reply| Command::Steer { steering, reply }).await?.map_err(rejected)?;
        Ok(Response::new(v1::DrainResponse { changed }))
    }

    async fn lift(&self, request: Request<v1::LiftRequest>) -> Result<Response<v1::LiftResponse>, Status> {
        let steering = Steering::Lift(WorkerId::new(request.into_inner().worker_id));
        let changed = self.engine.ask(|reply| Command::Steer { steering, reply }).await?.map_err(rejected)?;
        Ok(Response::new(v1::LiftResponse { changed }))
    }
}
