//! What every client of the coordinator sends with each call: the bearer token and, when there is one, the trace.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The scheme before the token in `authorization`.
pub const BEARER: &str = "Bearer ";

/// The metadata key of W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// A channel that carries the credentials.
pub type AuthorizedChannel = InterceptedService<Channel, Credentials>;

/// Adds the token and the trace to each call.
#[derive(Clone)]
pub struct Credentials {
    authorization: MetadataValue<Ascii>,
    traceparent: Option<MetadataValue<Ascii>>,
}

/// Credentials that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum BadCredentials {
    /// A token with bytes that a header cannot carry. The token is not shown.
    #[error(
        "token has characters that a header cannot carry: use the text of the coordinator's token file as it is"
    )]
    Token,
    /// A `traceparent` that a header cannot carry.
    #[error("traceparent `{given}` has characters that a header cannot carry")]
    Traceparent {
        /// What was given.
        given: String,
    },
    /// An address that is not a URL.
    #[error("`{given}` is not a coordinator URL: write http://HOST:PORT")]
    Address {
        /// What was given.
        given: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Credentials {
    /// Credentials with the token's text (white space around it is dropped).
    pub fn new(token: &str) -> Result<Self, BadCredentials> {
        let mut authorization: MetadataValue<Ascii> =
            format!("{BEARER}{}", token.trim()).parse().map_err(|_| BadCredentials::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { authorization, traceparent: None })
    }

    /// The same with a trace for all calls.
    pub fn with_traceparent(mut self, traceparent: &str) -> Result<Self, BadCredentials> {
        let value =
            traceparent.parse().map_err(|_| BadCredentials::Traceparent { given: traceparent.to_owned() })?;
        self.traceparent = Some(value);
        Ok(self)
    }

    /// A channel to `address` (`http://HOST:PORT`) that connects at the first call and again after failures.
    pub fn channel(self, address: &str) -> Result<AuthorizedChannel, BadCredentials> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|source| BadCredentials::Address { given: address.to_owned(), source })?
            .http2_keep_alive_interval(std::time::Duration::from_secs(10))
            .keep_alive_timeout(std::time::Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .connect_timeout(std::time::Duration::from_secs(5))
            .tcp_nodelay(true);
        Ok(InterceptedService::new(endpoint.connect_lazy(), self))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("traceparent", &self.traceparent).finish_non_exhaustive()
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        if let Some(traceparent) = &self.traceparent {
            metadata.insert(TRACEPARENT, traceparent.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_carries_token_and_trace_and_debug_hides_the_token() {
        let mut credentials =
            Credentials::new("secret-text\n").unwrap().with_traceparent("00-ab-cd-01").unwrap();
        let request = credentials.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret-text");
        assert_eq!(request.metadata().get(TRACEPARENT).unwrap(), "00-ab-cd-01");
        assert!(!format!("{credentials:?}").contains("secret-text"));
    }

    #[test]
    fn a_token_with_a_line_break_inside_is_refused_without_showing_it() {
        let message = Credentials::new("secret\ntext").unwrap_err().to_string();
        assert!(message.contains("token") && !message.contains("secret"), "{message}");
    }
}
