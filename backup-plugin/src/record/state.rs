//! Records of the state machine: key-value records with their sequence number and expiry, and nodes with their addresses.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest key of a record, in bytes. The shortest has one.
pub const MAX_KEY_BYTES: usize = 65_000;

/// Above this an `expire_at` is in milliseconds, otherwise in seconds.
const MAX_SECONDS: u64 = 100_000_000_000;

/// Whether an `expire_at` is in milliseconds.
pub fn is_milliseconds(expire_at: u64) -> bool {
    expire_at > MAX_SECONDS
}

/// An `expire_at` as milliseconds since 1970, whichever unit it is in.
pub fn expiry_ms(expire_at: u64) -> u64 {
    if is_milliseconds(expire_at) { expire_at } else { expire_at * 1000 }
}

/// When a record expires and when it was proposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvMeta {
    /// Seconds since 1970, or milliseconds (see [`expiry_ms`]); kept as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<u64>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_at_ms: Option<u64>,
}

/// A value with its sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqV {
    /// Unique in the store; a later write has a larger one.
    pub seq: u64,
    #[serde(default)]
    pub meta: Option<KvMeta>,
    /// Written to JSON as an array of byte values.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl SeqV {
    /// When this record expires, in milliseconds since 1970; `None`: never.
    pub fn expiry_ms(&self) -> Option<u64> {
        self.meta.and_then(|meta| meta.expire_at).map(expiry_ms)
    }

    /// Whether this record has expired at `time_ms`. At the very time of its expiry it still stands.
    pub fn is_expired(&self, time_ms: u64) -> bool {
        self.expiry_ms().is_some_and(|expiry_ms| expiry_ms < time_ms)
    }
}

/// Host and port of a node's Raft service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub addr: String,
    pub port: u16,
}

/// `host:port`, with brackets around an IPv6 address.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addr.contains(':') {
            write!(f, "[{}]:{}", self.addr, self.port)
        } else {
            write!(f, "{}:{}", self.addr, self.port)
        }
    }
}

/// Reads `host:port`: a name, an IPv4 address, or an IPv6 address in brackets.
impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bracket closes an IPv6 address, whose own colons start no port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => return Err(EndpointError::NoPort),
        };
        let addr = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(ip) => ip.parse::<Ipv6Addr>().map_err(|_| EndpointError::Host(host.to_owned()))?.to_string(),
            None if host.is_empty() => return Err(EndpointError::NoHost),
            None if host.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)) => host.to_owned(),
            None => return Err(EndpointError::Host(host.to_owned())),
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits => Ok(Endpoint { addr, port }),
            _ if port.is_empty() => Err(EndpointError::NoPort),
            _ => Err(EndpointError::Port(port.to_owned())),
        }
    }
}

/// Why a text is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("the host is missing")]
    NoHost,
    #[error("the port is missing")]
    NoPort,
    #[error("`{0}` is not a host name, an IPv4 address or an IPv6 address in brackets")]
    Host(String),
    #[error("`{0}` is not a port between 0 and 65535")]
    Port(String),
}

/// A member's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub endpoint: Endpoint,
    /// Where clients reach its gRPC service, as `host:port`.
    #[serde(default)]
    pub grpc_api_advertise_address: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, KvMeta, SeqV};

    #[test]
    fn a_record_expires_after_its_time() {
        let expired = |expire_at, time_ms| {
            let meta = Some(KvMeta { expire_at, proposed_at_ms: None });
            SeqV { meta, ..SeqV::default() }.is_expired(time_ms)
        };
        assert!(!expired(None, u64::MAX));
        assert!(!expired(Some(100), 100_000));
        assert!(expired(Some(100), 100_001));
    }

    #[test]
    fn endpoints_are_read_and_written_alike() {
        for text in ["db-1:28004", "10.0.0.1:1", "a.b_c.example:65535", "[::1]:28004", "[fe80::1:2]:0"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("[0:0::1]:7".parse::<Endpoint>().unwrap(), Endpoint { addr: "::1".to_owned(), port: 7 });
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        let no_host =
            |host: &str| format!("`{host}` is not a host name, an IPv4 address or an IPv6 address in brackets");
        let cases = [
            ("", "the port is missing".to_owned()),
            ("db-1", "the port is missing".to_owned()),
            ("db-1:", "the port is missing".to_owned()),
            ("[::1]", "the port is missing".to_owned()),
            (":28004", "the host is missing".to_owned()),
            ("db-1:65536", "`65536` is not a port between 0 and 65535".to_owned()),
            ("db-1:+80", "`+80` is not a port between 0 and 65535".to_owned()),
            ("::1:28004", no_host("::1")),
            ("[db-1]:28004", no_host("[db-1]")),
            ("[]:28004", no_host("[]")),
            ("http://db-1:28004", no_host("http://db-1")),
            ("db 1:28004", no_host("db 1")),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Endpoint>().unwrap_err().to_string(), expected, "{text}");
        }
    }
}
