//! The backup that is measured: a V004 export of one node with N keys, the same bytes at every run. What stands before the keys
//! is the harness's; how a line looks is the plugin's.

use std::{
    fs::File,
    io::{BufWriter, Write},
    iter,
    path::Path,
};

use anyhow::{Context, Result};
use backup_plugin::{
    codec,
    record::{KvMeta, Record, SeqV, StateRecord},
    seal::{self, Sealer},
};
use integration_tests::generate;
pub use integration_tests::generate::key;

/// Bytes of a value.
const VALUE_BYTES: usize = 128;
/// When the keys were written, in milliseconds since 1970.
const WRITTEN_AT_MS: u64 = 1_795_349_325_299;

/// The value of key `i`: bytes that look random and follow from the number.
pub fn value(i: u64) -> Vec<u8> {
    let words = VALUE_BYTES as u64 / 8;
    (i * words..(i + 1) * words).flat_map(|word| mix(word).to_le_bytes()).collect()
}

/// Writes the sealed export of a node that took `keys` single writes and purged them from its log. Returns its length in bytes.
pub fn write(path: &Path, keys: u64) -> Result<u64> {
    let written = || -> Result<u64> {
        let mut file = BufWriter::with_capacity(1024 * 1024, File::create_new(path)?);
        let head = generate::head(keys);
        let mut sealer = Sealer::new(&head[0]).context("the first line is a header")?;
        let mut bytes = 0;
        let mut write = |line: &[u8]| -> Result<()> {
            sealer.push(line, 1);
            bytes += line.len() as u64;
            Ok(file.write_all(line)?)
        };
        let marked = seal::mark(&head[0]).context("the first line is a header")?;
        for line in iter::once(&marked).chain(&head[1..]) {
            write(format!("{line}\n").as_bytes())?;
        }
        let mut line = Vec::new();
        for i in 0..keys {
            line.clear();
            codec::encode(&kv(i), &mut line);
            line.push(b'\n');
            write(&line)?;
        }
        let seal = sealer.finish(None, "figures");
        file.write_all(seal.as_bytes())?;
        file.into_inner()?.sync_all()?;
        Ok(bytes + seal.len() as u64)
    };
    written().with_context(|| format!("cannot write the backup of {keys} keys to {}", path.display()))
}

fn kv(i: u64) -> Record {
    let meta = KvMeta { expire_at: None, proposed_at_ms: Some(WRITTEN_AT_MS + i) };
    Record::State(StateRecord::Kv { key: key(i), value: SeqV { seq: i + 1, meta: Some(meta), data: value(i) } })
}

/// SplitMix64: the number `n` of its sequence that starts at 0.
fn mix(n: u64) -> u64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
