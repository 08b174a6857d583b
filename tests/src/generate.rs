//! V004 exports of any size, of a node that led a cluster of one, and numbers that look random and are the same at every run.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// The name of key `n`.
pub fn key(n: u64) -> String {
    format!("bench/k{n:010}")
}

/// The value of key `n`: bytes of all sizes in their text form.
pub fn value(n: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (n.wrapping_mul(31) + i * 7) as u8).collect()
}

/// SplitMix64: the number `n` of its sequence that starts at 0.
pub fn mix(n: u64) -> u64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The lines before the keys: node 1 in term 1, everything applied, one log entry a key.
pub fn head(keys: u64) -> Vec<String> {
    let id = format!(r#"{{"leader_id":{{"term":1,"node_id":1}},"index":{keys}}}"#);
    let membership = format!(
        r#"{{"Membership":{{"log_id":{{"leader_id":{{"term":0,"node_id":0}},"index":0}},"membership":{MEMBERSHIP}}}}}"#
    );
    vec![
        r#"["header",{"DataHeader":{"key":"header","value":{"version":"V004"}}}]"#.to_owned(),
        r#"["raft_log",{"NodeId":1}]"#.to_owned(),
        r#"["raft_log",{"Vote":{"leader_id":{"term":1,"node_id":1},"committed":true}}]"#.to_owned(),
        format!(r#"["raft_log",{{"Committed":{id}}}]"#),
        format!(r#"["raft_log",{{"Purged":{id}}}]"#),
        format!(r#"["state_machine/0",{{"Sequences":{{"key":"generic-kv","value":{keys}}}}}]"#),
        format!(r#"["state_machine/0",{{"StateMachineMeta":{{"key":"LastApplied","value":{{"LogId":{id}}}}}}}]"#),
        format!(r#"["state_machine/0",{{"StateMachineMeta":{{"key":"LastMembership","value":{membership}}}}}]"#),
        format!(r#"["state_machine/0",{{"Nodes":{{"key":1,"value":{NODE}}}}}]"#),
    ]
}

const MEMBERSHIP: &str = r#"{"configs":[[1]],"nodes":{"1":{}}}"#;
const NODE: &str =
    r#"{"name":"1","endpoint":{"addr":"127.0.0.1","port":28004},"grpc_api_advertise_address":"127.0.0.1:9191"}"#;

/// The line of a key.
pub fn key_line(key: &str, seq: u64, data: &[u8]) -> String {
    let mut bytes = String::with_capacity(data.len() * 4);
    for (i, byte) in data.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(bytes, "{comma}{byte}").expect("writing to a String does not fail");
    }
    format!(
        r#"["state_machine/0",{{"GenericKV":{{"key":"{key}","value":{{"seq":{seq},"meta":null,"data":[{bytes}]}}}}}}]"#
    )
}

/// Writes an export of `keys` keys with values of `len` bytes; seq `n + 1` for key `n`.
pub fn write(path: &Path, keys: u64, len: usize) {
    write_in_order(path, keys, 0..keys, len);
}

/// The same with the keys in an order of its own.
pub fn write_in_order(path: &Path, keys: u64, order: impl Iterator<Item = u64>, len: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for line in head(keys) {
        writeln!(file, "{line}").unwrap();
    }
    for n in order {
        writeln!(file, "{}", key_line(&key(n), n + 1, &value(n, len))).unwrap();
    }
    file.into_inner().unwrap();
}
