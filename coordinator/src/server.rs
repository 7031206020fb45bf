//! The whole coordinator in one process: opens the data folder, starts the engine, serves gRPC and `/objects` on one port.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_proto::{MESSAGE_BYTES_MAX, v1};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::admin::BACKUP_FILE;
use crate::admin::schedule::Backups;
use crate::annotations::Annotations;
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::engine::{self, EngineError, Handle};
use crate::fatal::Fatal;
use crate::incoming;
use crate::index::ProbeCommand;
use crate::objects::http::Endpoint;
use crate::objects::local::{LocalObjects, ObjectError};
use crate::objects::signature::Signer;
use crate::secrets::{self, SecretError};
use crate::services::artifacts::ArtifactsService;
use crate::services::auth::{self, Token};
use crate::services::events::EventsService;
use crate::services::fleet::FleetService;
use crate::services::leases::LeasesService;
use crate::services::matrices::MatricesService;
use crate::services::named::Named;
use crate::services::people::PeopleService;
use crate::services::trace;

/// A connection on which nothing was called or said for so long is probed; a peer's own probes do not count, hyper never sees them.
/// That of a worker which is gone without a word is closed after this and the time-out; what it was offered goes back with its lease.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls at once on one connection.
const CONCURRENT_STREAMS_MAX: u32 = 256;

/// Why a coordinator cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address that others could reach.
    #[error(
        "{listen} is not a loopback address: without TLS and roles the coordinator listens on 127.0.0.1 or [::1] only; \
             reach it from elsewhere through an SSH tunnel"
    )]
    NotLoopback {
        /// What was given.
        listen: SocketAddr,
    },
    /// The port cannot be had.
    #[error("cannot listen on {listen}: another process may have it; --listen 127.0.0.1:0 picks a free port")]
    Bind {
        /// What was given.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder cannot be made.
    #[error("cannot create the data folder {path}", path = path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data folder is a backup.
    #[error(
        "{path} is a backup: serving it would hand out tokens of the history it was taken from; make a data folder of it with \
         `assay admin restore`", path = path.display()
    )]
    IsBackup {
        /// Which.
        path: PathBuf,
    },
    /// A secret cannot be read or made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The object store cannot be opened.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The engine cannot start or go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A part of the program is made wrongly.
    #[error("cannot build the reflection service")]
    Reflection {
        /// Why.
        #[source]
        source: tonic_reflection::server::Error,
    },
    /// The server failed.
    #[error("cannot serve")]
    Serve {
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The object store must not be used any more.
    #[error("the object store stopped the process: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
    /// A task of ours ended without an answer.
    #[error("a task of the server ended unexpectedly: this is a bug")]
    TaskEnded,
}

/// A running coordinator.
pub struct Server {
    address: SocketAddr,
    epoch: u64,
    token_path: PathBuf,
    data_dir: PathBuf,
    engine: Handle,
    engine_ended: oneshot::Receiver<Result<(), EngineError>>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    fatal: Fatal,
    drain: Duration,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a coordinator; it serves when this answers. `probe` starts this program's hidden `index-probe`.
    ///
    /// # Errors
    /// Whatever is wrong with configuration, data folder or port. Nothing is left half-made.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        probe: ProbeCommand,
    ) -> Result<Self, ServerError> {
        if !config.listen.ip().is_loopback() {
            return Err(ServerError::NotLoopback { listen: config.listen });
        }
        let bind = |source| ServerError::Bind { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let opened = open(&config, &clock, probe.clone()).await?;
        let stop = CancellationToken::new();
        let fatal = Fatal::new();
        let routes = routes(&config, &opened, &clock, address, &stop, &fatal)?;
        let incoming = incoming::incoming(listener, &config.limits);
        let serving = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(HTTP2_PING_INTERVAL))
            .http2_keepalive_timeout(Some(HTTP2_PING_TIMEOUT))
            .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let server = Self {
            address,
            epoch: opened.running.epoch,
            token_path: config.data_dir.join("token"),
            data_dir: config.data_dir.clone(),
            engine: opened.running.handle,
            engine_ended: opened.running.ended,
            stop,
            serving: tokio::spawn(serving),
            fatal,
            drain: Duration::from_millis(config.limits.drain_ms),
        };
        server.announce()?;
        if let Some(schedule) = config.backups {
            let (engine, stop) = (server.engine.clone(), server.stop.clone());
            let backups = Backups { schedule, data_dir: config.data_dir, probe, clock, engine, stop };
            tokio::spawn(backups.run());
        }
        Ok(server)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that holds the bearer token.
    pub fn token_path(&self) -> &Path {
        &self.token_path
    }

    /// Has the engine look at the clock and at what is due: for tests that move the clock.
    pub async fn tick(&self) {
        // A stopped engine has nothing due.
        let _ = self.engine.ask(|reply| engine::command::Command::Tick { reply }).await;
    }

    /// Waits until something forces the process to stop, and says what.
    pub async fn failed(&mut self) -> ServerError {
        tokio::select! {
            ended = &mut self.engine_ended => match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) | Err(_) => ServerError::TaskEnded,
            },
            reason = self.fatal.reason() => ServerError::Fatal { reason },
            served = &mut self.serving => match served {
                Ok(Err(source)) => ServerError::Serve { source },
                Ok(Ok(())) | Err(_) => ServerError::TaskEnded,
            },
        }
    }

    /// Takes no more calls, ends the streams, lets open calls finish for a while, and stops the engine after them.
    ///
    /// # Errors
    /// What the engine could not make durable.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        // Who looks for us later must not find a dead address.
        let _ = std::fs::remove_file(self.data_dir.join(ADDRESS_FILE));
        self.stop.cancel();
        if tokio::time::timeout(self.drain, &mut self.serving).await.is_err() {
            tracing::warn!(
                drain_ms = self.drain.as_millis() as u64,
                "calls are still open: they are cut off"
            );
            self.serving.abort();
            let _ = (&mut self.serving).await;
        }
        self.engine.stop();
        match self.engine_ended.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(ServerError::TaskEnded),
        }
    }

    fn announce(&self) -> Result<(), ServerError> {
        let announced = serde_json::json!({
            "address": self.address.to_string(),
            "pid": std::process::id(),
            "epoch": self.epoch,
        });
        Ok(secrets::write_whole(
            &self.data_dir.join(ADDRESS_FILE),
            format!("{announced}\n").as_bytes(),
            0o644,
        )?)
    }
}

/// Where others find a serving coordinator.
const ADDRESS_FILE: &str = "coordinator.json";

struct Opened {
    running: engine::Running,
    objects: LocalObjects,
    token: Token,
    signer: Signer,
}

/// Opens all that is stored. Blocking work, off the async threads; the engine's lock comes first, so that a second
/// coordinator on the same folder touches nothing.
async fn open(config: &Config, clock: &Arc<dyn Clock>, probe: ProbeCommand) -> Result<Opened, ServerError> {
    let (config, clock) = (config.clone(), Arc::clone(clock));
    let work = move || {
        let data_dir = config.data_dir;
        let made = |source| ServerError::DataDir { path: data_dir.clone(), source };
        make_private(&data_dir).map_err(made)?;
        if data_dir.join(BACKUP_FILE).exists() {
            return Err(ServerError::IsBackup { path: data_dir });
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let running = engine::start(&disk, &data_dir, &probe, config.limits, clock)?;
        let rest = || {
            let objects = LocalObjects::open_store(Arc::clone(&disk), &data_dir.join("objects"))?;
            let token = Token::new(secrets::load_or_create(&data_dir.join("token"))?);
            let signer = Signer::new(secrets::load_or_create(&data_dir.join("signing-key"))?);
            Ok::<_, ServerError>((objects, token, signer))
        };
        match rest() {
            Ok((objects, token, signer)) => Ok(Opened { running, objects, token, signer }),
            Err(error) => {
                running.handle.stop();
                // Its locks are free when it has ended.
                let _ = running.ended.blocking_recv();
                Err(error)
            }
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| ServerError::TaskEnded)?
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn routes(
    config: &Config,
    opened: &Opened,
    clock: &Arc<dyn Clock>,
    address: SocketAddr,
    stop: &CancellationToken,
    fatal: &Fatal,
) -> Result<Routes, ServerError> {
    let engine = &opened.running.handle;
    let limits = &config.limits;
    let named = Named { objects: opened.objects.clone(), fatal: fatal.clone() };
    let endpoint =
        Endpoint::new(opened.objects.clone(), opened.signer.clone(), Arc::clone(clock), fatal.clone());
    let streams = Arc::new(Semaphore::new(limits.streams_max));
    let matrices = MatricesService {
        engine: engine.clone(),
        limits: limits.clone(),
        named: named.clone(),
        hub: config.hub.clone(),
        clock: Arc::clone(clock),
        stop: stop.clone(),
        streams: Arc::clone(&streams),
    };
    let events = EventsService {
        engine: engine.clone(),
        journal: config.data_dir.join("journal"),
        clock: Arc::clone(clock),
        stop: stop.clone(),
        streams,
    };
    let leases = LeasesService { engine: engine.clone(), limits: limits.clone(), named, stop: stop.clone() };
    let artifacts = ArtifactsService {
        engine: engine.clone(),
        limits: limits.clone(),
        endpoint: endpoint.clone(),
        address,
        hub: config.hub.clone(),
    };
    let fleet = FleetService { engine: engine.clone() };
    let people = PeopleService {
        engine: engine.clone(),
        objects: opened.objects.clone(),
        annotations: Annotations::new(Arc::new(RealDisk), &config.data_dir),
    };
    let grpc = services(matrices, leases, artifacts, fleet, events, people)?.prepare().into_axum_router();
    // The last layer is the first that a call meets: without the token it is not traced either.
    let guarded = grpc
        .layer(axum::middleware::from_fn(trace::join))
        .layer(axum::middleware::from_fn_with_state(opened.token.clone(), auth::require));
    Ok(Routes::from(guarded.merge(endpoint.router())))
}

fn services(
    matrices: MatricesService,
    leases: LeasesService,
    artifacts: ArtifactsService,
    fleet: FleetService,
    events: EventsService,
    people: PeopleService,
) -> Result<Routes, ServerError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(assay_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|source| ServerError::Reflection { source })?;
    // All services serve for as long as the process lives: an engine that cannot go on ends it.
    let (reporter, health) = tonic_health::server::health_reporter();
    drop(reporter);
    let limit = MESSAGE_BYTES_MAX;
    Ok(Routes::new(health)
        .add_service(reflection)
        .add_service(v1::matrices_server::MatricesServer::new(matrices).max_decoding_message_size(limit))
        .add_service(v1::leases_server::LeasesServer::new(leases).max_decoding_message_size(limit))
        .add_service(v1::artifacts_server::ArtifactsServer::new(artifacts))
        .add_service(v1::fleet_server::FleetServer::new(fleet))
        .add_service(v1::events_server::EventsServer::new(events))
        .add_service(v1::people_server::PeopleServer::new(people)))
}
