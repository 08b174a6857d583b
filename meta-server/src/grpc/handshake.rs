//! The first call of every client: versions are compared, a name and a password are traded for a token. Knows nothing
//! of the calls that follow, except how they carry the token.

use meta_proto::pb;
use prost::Message;
use tonic::{Status, metadata::MetadataMap};

use super::token::TokenKey;
use crate::config::Credentials;

/// The version this server answers to clients: major * 1000000 + minor * 1000 + patch. Present clients refuse an older
/// one.
pub const PROTOCOL_VERSION: u64 = 260_304_000_000;
/// Older clients speak a protocol that is no longer served.
const OLDEST_CLIENT: u64 = 1_002_676;
/// Where later calls carry the token.
const TOKEN_METADATA: &str = "auth-token-bin";
/// Who every client is, unless it was told otherwise.
const DEFAULT_USER: &str = "root";

/// Who may log in, and what they get for it.
pub struct Gate {
    tokens: TokenKey,
    /// `None`: `root`, with any password.
    credentials: Option<Credentials>,
}

impl Gate {
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self { tokens: TokenKey::random(), credentials }
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
        if !self.admits(&auth) {
            return Err(Status::unauthenticated(format!("unknown user or wrong password for `{}`", auth.username)));
        }
        Ok(pb::HandshakeResponse { protocol_version: PROTOCOL_VERSION, payload: self.tokens.issue(&auth.username) })
    }

    fn admits(&self, auth: &pb::BasicAuth) -> bool {
        match &self.credentials {
            None => auth.username == DEFAULT_USER,
            Some(expected) => {
                let name = same(expected.username.as_bytes(), auth.username.as_bytes());
                let password = same(expected.password.as_bytes(), auth.password.as_bytes());
                name & password
            }
        }
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

    /// The same for the calls that clients make without a token where anyone may log in: exports.
    pub fn require_token_when_authenticating(&self, metadata: &MetadataMap) -> Result<(), Status> {
        if self.credentials.is_some() { self.require_token(metadata) } else { Ok(()) }
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
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

    fn with_password() -> Gate {
        Gate::new(Some(Credentials { username: "admin".into(), password: "hush".into() }))
    }

    #[test]
    fn versions_are_told_apart() {
        let gate = Gate::new(None);
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
        assert_eq!(DisplayVersion(PROTOCOL_VERSION).to_string(), "260304.0.0");
        let refusal = gate.handshake(&request(1_002_675, "root", "")).unwrap_err();
        assert_eq!(
            refusal.message(),
            "a client of version 1.2.675 is too old for this server; the oldest it serves is 1.2.676"
        );
    }

    #[test]
    fn names_and_passwords_are_checked_as_configured() {
        let cases = [
            (Gate::new(None), "root", "xxx", true),
            (Gate::new(None), "mallory", "xxx", false),
            (with_password(), "admin", "hush", true),
            (with_password(), "admin", "hus", false),
            (with_password(), "admin", "hush!", false),
            (with_password(), "root", "hush", false),
        ];
        for (gate, name, password, admitted) in cases {
            let found = gate.handshake(&request(0, name, password));
            assert_eq!(found.is_ok(), admitted, "{name}/{password}");
            assert!(admitted || found.unwrap_err().code() == Code::Unauthenticated);
        }
    }

    #[test]
    fn a_call_passes_with_the_token_of_a_handshake() {
        let gate = Gate::new(None);
        let mut metadata = MetadataMap::new();
        assert_eq!(gate.require_token(&metadata).unwrap_err().code(), Code::Unauthenticated);

        let token = gate.handshake(&request(0, "root", "")).unwrap().payload;
        metadata.insert_bin(TOKEN_METADATA, MetadataValue::from_bytes(&token));
        assert!(gate.require_token(&metadata).is_ok());
        assert_eq!(with_password().require_token(&metadata).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn an_export_needs_a_token_only_when_authentication_is_on() {
        let metadata = MetadataMap::new();
        assert!(Gate::new(None).require_token_when_authenticating(&metadata).is_ok());
        assert!(with_password().require_token_when_authenticating(&metadata).is_err());
    }

    #[test]
    fn a_payload_that_is_no_login_is_refused() {
        let request = pb::HandshakeRequest { protocol_version: 0, payload: vec![0xff; 3] };
        assert_eq!(Gate::new(None).handshake(&request).unwrap_err().code(), Code::InvalidArgument);
    }
}
