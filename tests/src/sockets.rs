//! Whose a local TCP connection is, as the kernel tells in /proc: all connections within one machine come from the same
//! address, so only the process behind a socket says who calls.

use std::{
    fs,
    net::{SocketAddr, SocketAddrV4},
};

/// The inode of the socket at the other end of a connection that was accepted at `local` from `peer`.
pub fn inode_of_peer(peer: SocketAddr, local: SocketAddr) -> Option<u64> {
    let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (peer, local) else { return None };
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    // The table may be long, and this is asked for every connection.
    let from = table.find(&format!(": {} {} ", in_table(peer), in_table(local)))?;
    table[from..].lines().next()?.split_ascii_whitespace().nth(9)?.parse().ok()
}

/// Whether the process holds the socket.
pub fn holds(process: u32, inode: u64) -> bool {
    let link = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str()))
}

/// The kernel prints the bytes of an address as one number in the machine's order.
fn in_table(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_traced_to_the_process_that_made_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let _connection = TcpStream::connect(local).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        let inode = inode_of_peer(peer, local).unwrap();
        assert!(holds(std::process::id(), inode));
        assert!(!holds(std::process::id(), 0) && !holds(u32::MAX, inode));
        assert_eq!(inode_of_peer(local, local), None);
    }
}
