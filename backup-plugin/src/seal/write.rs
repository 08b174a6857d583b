//! Makes the two lines of a sealed file: the first, with its mark, and the seal.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{END, HASH, START, Seal};
use crate::{
    clock::{now_ms, rfc3339},
    hex::hex,
    provenance::{Origin, Provenance},
};

/// How a header line of every version ends.
const HEADER_END: &str = "}}}]";

/// The header line of an unsealed export, with the mark that a seal must follow; `None`: it is no such line.
pub fn mark(header: &str) -> Option<String> {
    let open = header.strip_suffix(HEADER_END)?;
    version(header).map(|_| format!("{open},\"sealed\":true{HEADER_END}"))
}

/// The version in a header line.
fn version(header: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line(String, Record);
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        data_header: KeyValue,
    }
    #[derive(Deserialize)]
    struct KeyValue {
        key: String,
        value: Value,
    }
    #[derive(Deserialize)]
    struct Value {
        version: String,
        #[serde(default)]
        sealed: bool,
    }
    let Line(tree, Record { data_header: KeyValue { key, value } }) = serde_json::from_str(header).ok()?;
    (tree == "header" && key == "header" && !value.sealed).then_some(value.version)
}

/// Takes the bytes of a file as they are written, and makes its seal.
#[derive(Debug)]
pub struct Sealer {
    version: String,
    hasher: Sha256,
    lines: u64,
}

impl Sealer {
    /// For a file that begins with the [`mark`] of this header line; `None`: it is no header line of an unsealed export.
    pub fn new(header: &str) -> Option<Sealer> {
        Some(Sealer { version: version(header)?, hasher: Sha256::new(), lines: 0 })
    }

    /// Takes so many whole lines, newlines included.
    pub fn push(&mut self, bytes: &[u8], lines: u64) {
        self.hasher.update(bytes);
        self.lines += lines;
    }

    /// The seal's line, with its newline. `provenance`: `None` where the server sent none.
    pub fn finish(self, provenance: Option<&Provenance>, program: &str) -> String {
        let Sealer { version, mut hasher, lines } = self;
        let Origin { cluster_id, node_id, role, last_applied, committed, tail } =
            provenance.map(|known| known.origin.clone()).unwrap_or_default();
        let seal = Seal {
            version,
            records: lines,
            cluster_id,
            node_id,
            role,
            last_applied,
            committed,
            tail: provenance.map(|_| tail),
            consistency: provenance.map(|known| known.consistency),
            written_at: rfc3339(now_ms()),
            program: program.to_owned(),
        };
        // Text, numbers and no map: there is nothing that JSON cannot write.
        let value = serde_json::to_string(&seal).expect("a seal is always written");
        let open = value.strip_suffix('}').expect("a seal is an object");
        let mut line = format!("{START}{open}{HASH}");
        hasher.update(&line);
        line.push_str(&hex(&hasher.finalize()));
        line.push_str(END);
        line
    }
}
