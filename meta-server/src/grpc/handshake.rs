//! The first call of every client: versions are compared, a name is traded for a token. Knows nothing
//! of the calls that follow, except how they carry the token.

use meta_proto::{PROTOCOL_VERSION, pb};
use prost::Message;
use tonic::{Status, metadata::MetadataMap};

use super::token::TokenKey;

/// Older clients speak a protocol that is no longer served.
const OLDEST_CLIENT: u64 = 1_002_676;
/// Where later calls carry the token.
const TOKEN_METADATA: &str = "auth-token-bin";
/// Who every client is. No password is asked for.
const USER: &str = "root";

/// Who may log in, and what they get for it.
pub struct Gate {
    tokens: TokenKey,
}

impl Gate {
    /// Tokens of another gate, so of another run, do not pass this one.
    pub fn with_random_key() -> Self {
        Self { tokens: TokenKey::random() }
    }

    /// Answers a handshake, or refuses the client for its version, its name or its password.
    pub fn handshake(&self, request: &pb::HandshakeRequest) -> Result<pb::HandshakeResponse, Status> {
        // 0 is a client that does not say.
        if (1..OLDEST_CLIENT).contains(&request.protocol_version) {
            return Err(Status::invalid_argument(format!(
                "a client of version {} is too old for this server; the oldest it serves is {}",
                DisplayVersion(request.protocol_version),
                DisplayVersion(OLDEST_CLIENT),
            )));
        }
        let auth = pb::BasicAuth::decode(request.payload.as_slice())
            .map_err(|error| Status::invalid_argument(format!("the handshake's payload is no BasicAuth: {error}")))?;
        if auth.username != USER {
            return Err(Status::unauthenticated(format!("unknown user `{}`", auth.username)));
        }
        Ok(pb::HandshakeResponse { protocol_version: PROTOCOL_VERSION, payload: self.tokens.issue(&auth.username) })
    }

    /// Lets a call pass that carries a good token.
    pub fn require_token(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let token = metadata.get_bin(TOKEN_METADATA).ok_or_else(|| {
            Status::unauthenticated(format!("the call carries no token in `{TOKEN_METADATA}`; log in with Handshake"))
        })?;
        let token = token
            .to_bytes()
            .map_err(|_| Status::unauthenticated(format!("the token in `{TOKEN_METADATA}` is not base64")))?;
        self.tokens.check(&token).map_err(|error| Status::unauthenticated(error.to_string()))
    }
}

/// A protocol version as `major.minor.patch`.
pub struct DisplayVersion(pub u64);

impl std::fmt::Display for DisplayVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, metadata::MetadataValue};

    use super::*;

    fn request(protocol_version: u64, username: &str, password: &str) -> pb::HandshakeRequest {
        let auth = pb::BasicAuth { username: username.into(), password: password.into() };
        pb::HandshakeRequest { protocol_version, payload: auth.encode_to_vec() }
    }

    #[test]
    fn versions_are_told_apart() {
        let gate = Gate::with_random_key();
        for (version, expected) in [
            (0, Ok(PROTOCOL_VERSION)),
            (1, Err(Code::InvalidArgument)),
            (1_002_675, Err(Code::InvalidArgument)),
            (1_002_676, Ok(PROTOCOL_VERSION)),
            (PROTOCOL_VERSION + 1, Ok(PROTOCOL_VERSION)),
        ] {
            let found = gate.handshake(&request(version, "root", "any"));
            assert_eq!(
                found.map(|reply| reply.protocol_version).map_err(|status| status.code()),
                expected,
                "{version}"
            );
        }
        assert_eq!(DisplayVersion(PROTOCOL_VERSION).to_string(), meta_proto::PROTOCOL_VERSION_TEXT);
        let refusal = gate.handshake(&request(1_002_675, "root", "")).unwrap_err();
        assert_eq!(
            refusal.message(),
            "a client of version 1.2.675 is too old for this server; the oldest it serves is 1.2.676"
        );
    }

    #[test]
    fn root_is_let_in_with_any_password_and_nobody_else() {
        let gate = Gate::with_random_key();
        assert!(gate.handshake(&request(0, "root", "xxx")).is_ok());
        let refused = gate.handshake(&request(0, "mallory", "xxx")).unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "unknown user `mallory`"));
    }

    #[test]
    fn a_call_passes_with_the_token_of_a_handshake() {
        let gate = Gate::with_random_key();
        let mut metadata = MetadataMap::new();
        assert_eq!(gate.require_token(&metadata).unwrap_err().code(), Code::Unauthenticated);

        let token = gate.handshake(&request(0, "root", "")).unwrap().payload;
        metadata.insert_bin(TOKEN_METADATA, MetadataValue::from_bytes(&token));
        assert!(gate.require_token(&metadata).is_ok());
        assert_eq!(Gate::with_random_key().require_token(&metadata).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn a_payload_that_is_no_login_is_refused() {
        let request = pb::HandshakeRequest { protocol_version: 0, payload: vec![0xff; 3] };
        assert_eq!(Gate::with_random_key().handshake(&request).unwrap_err().code(), Code::InvalidArgument);
    }
}
