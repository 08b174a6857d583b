//! Addresses as an operator writes them: `<host>:<port>`, with brackets around an IPv6 address.

use backup_plugin::record::Endpoint;

/// Reads `<host>:<port>`. Port 0 is left to the caller: it means something for a listener only.
pub fn parse_host_port(text: &str) -> Result<Endpoint, String> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing; expected <host>:<port>")?;
    let port = port.parse().map_err(|_| format!("`{port}` is not a port; expected <host>:<port>"))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address needs brackets: [<address>]:<port>".into());
    }
    Ok(Endpoint { addr: parse_host(host)?, port })
}

/// Reads a host: a name, an IPv4 address, or an IPv6 address with or without brackets. The result has none.
pub fn parse_host(text: &str) -> Result<String, String> {
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or("the closing bracket is missing")?,
        None => text,
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    if host.contains(|c: char| c.is_whitespace() || "[]/".contains(c)) {
        return Err(format!("`{host}` is not a host"));
    }
    if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(format!("`{host}` is neither a host nor an IPv6 address"));
    }
    Ok(host.into())
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
        for text in
            ["", "db-1", ":9191", "db-1:", "db-1:70000", "db-1:x", "::1:9191", "[::1:9191", "a b:1", "http://a:1"]
        {
            assert!(parse_host_port(text).is_err(), "{text}");
        }
    }
}
