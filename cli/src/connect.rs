//! The way to a coordinator: its address and token from the data folder or from flags, and typed clients.

use std::path::Path;

use assay_proto::MESSAGE_BYTES_MAX;
use assay_proto::client::{AuthorizedChannel, BadCredentials, Credentials};
use assay_proto::v1::artifacts_client::ArtifactsClient;
use assay_proto::v1::events_client::EventsClient;
use assay_proto::v1::fleet_client::FleetClient;
use assay_proto::v1::matrices_client::MatricesClient;
use assay_proto::v1::people_client::PeopleClient;
use serde::Deserialize;

use crate::args::Connection;
use crate::exit::Failed;

/// What a running coordinator writes to its data folder.
#[derive(Debug, Deserialize)]
struct Running {
    address: String,
}

/// A coordinator that can be called.
#[derive(Clone)]
pub(crate) struct Coordinator {
    /// Its address, for messages.
    pub(crate) address: String,
    channel: AuthorizedChannel,
}

impl Coordinator {
    /// Finds address and token; nothing is sent yet.
    pub(crate) fn find(connection: &Connection) -> Result<Self, Failed> {
        let address = match &connection.coordinator {
            Some(address) => address.clone(),
            None => address_of(&connection.data_dir)?,
        };
        let token_file = connection.token_file.clone().unwrap_or_else(|| connection.data_dir.join("token"));
        let token = std::fs::read_to_string(&token_file)
            .map_err(|error| Failed::Input(format!("token file {}: {error}", token_file.display())))?;
        let wrong = |error: BadCredentials| Failed::Input(error.to_string());
        let mut credentials = Credentials::new(&token).map_err(wrong)?;
        if let Some(traceparent) = assay_telemetry::propagate::current_traceparent() {
            credentials = credentials.with_traceparent(&traceparent).map_err(wrong)?;
        }
        let channel = credentials.channel(&address).map_err(wrong)?;
        Ok(Self { address, channel })
    }

    pub(crate) fn matrices(&self) -> MatricesClient<AuthorizedChannel> {
        MatricesClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn artifacts(&self) -> ArtifactsClient<AuthorizedChannel> {
        ArtifactsClient::new(self.channel.clone())
    }

    pub(crate) fn events(&self) -> EventsClient<AuthorizedChannel> {
        EventsClient::new(self.channel.clone())
    }

    pub(crate) fn fleet(&self) -> FleetClient<AuthorizedChannel> {
        FleetClient::new(self.channel.clone())
    }

    /// What people have judged may be long.
    pub(crate) fn people(&self) -> PeopleClient<AuthorizedChannel> {
        PeopleClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// An error of a call, in the command's own terms.
    pub(crate) fn failed(&self, status: &tonic::Status) -> Failed {
        Failed::status(&self.address, status)
    }

    /// Whether it answers at all.
    pub(crate) async fn is_healthy(&self) -> bool {
        let mut health = tonic_health::pb::health_client::HealthClient::new(self.channel.clone());
        let asked = tonic_health::pb::HealthCheckRequest::default();
        health.check(asked).await.is_ok()
    }
}

fn address_of(data_dir: &Path) -> Result<String, Failed> {
    let path = data_dir.join("coordinator.json");
    let text = std::fs::read_to_string(&path).map_err(|_| {
        Failed::Unreachable(format!(
            "no coordinator has run in `{}`: start one with `assay up`, or name another with `--data-dir` or `--coordinator`",
            data_dir.display()
        ))
    })?;
    let running: Running =
        serde_json::from_str(&text).map_err(|error| Failed::Input(format!("{}: {error}", path.display())))?;
    Ok(if running.address.contains("://") { running.address } else { format!("http://{}", running.address) })
}
