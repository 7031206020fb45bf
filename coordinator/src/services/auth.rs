//! Every RPC needs the bearer token, health and reflection included.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq as _;
use tonic::Status;

/// The token as clients send it.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes).into())
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Lets a call through that carries the token.
pub(crate) async fn require(State(token): State<Token>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix(assay_proto::client::BEARER)) {
        Some(given) if token.is(given.trim()) => next.run(request).await,
        Some(_) => refused(
            "the token is not this coordinator's: use the text of the file `token` in its data folder",
        ),
        None => refused(
            "the call carries no token: send `authorization: Bearer TOKEN` with the text of the file `token` in the \
             coordinator's data folder",
        ),
    }
}

fn refused(message: &str) -> Response {
    Status::unauthenticated(message).into_http::<Body>()
}
