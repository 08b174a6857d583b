//! Hosts and addresses as an operator writes them. What an address may look like is [`Endpoint`]'s to say.

use std::net::Ipv6Addr;

use backup_plugin::record::{Endpoint, EndpointError};

/// Reads `<host>:<port>`. Port 0 is left to the caller: it means something for a listener only.
pub fn parse_host_port(text: &str) -> Result<Endpoint, String> {
    text.parse().map_err(|error: EndpointError| error.to_string())
}

/// Reads a host: a name, an IPv4 address, or an IPv6 address with or without brackets. The result has none.
pub fn parse_host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.to_string());
    }
    parse_host_port(&format!("{text}:0")).map(|endpoint| endpoint.addr)
}

/// Whether only this host reaches what listens on `host`.
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_be_names_ipv4_or_bracketed_ipv6() {
        for (text, addr, port) in
            [("db-1:28004", "db-1", 28004), ("0.0.0.0:0", "0.0.0.0", 0), ("[::1]:9191", "::1", 9191)]
        {
            let endpoint = parse_host_port(text).unwrap();
            assert_eq!((endpoint.addr.as_str(), endpoint.port), (addr, port));
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "db-1",
            ":9191",
            "db-1:",
            "db-1:70000",
            "db-1:+80",
            "db-1:x",
            "::1:9191",
            "[::1:9191",
            "[db-1]:1",
            "a b:1",
            "http://a:1",
        ] {
            assert!(parse_host_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        for (text, host) in [("db-1", "db-1"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            assert_eq!(parse_host(text).as_deref(), Ok(host));
        }
        for text in ["", "db-1:80", "[db-1]", "[::1", "a b", "::1::2"] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
