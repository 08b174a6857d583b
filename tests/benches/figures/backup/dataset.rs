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
pub use integration_tests::generate::key;
use integration_tests::generate::{self, mix};

/// Bytes of a value.
const VALUE_BYTES: usize = 128;
/// When the keys were written, in milliseconds since 1970.
const WRITTEN_AT_MS: u64 = 1_795_349_325_299;

/// The value of key `i`: bytes that look random and follow from the number.
pub fn value(i: u64) -> Vec<u8> {
    let words = VALUE_BYTES as u64 / 8;
    (i * words..(i + 1) * words).flat_map(|word| mix(word).to_le_bytes()).collect()
}

/// A value as programs have them: the JSON of a few fields, of which some repeat from key to key.
pub fn json_value(i: u64) -> Vec<u8> {
    let drawn = mix(i);
    let part = |shift: u32, many: u64| (drawn >> shift) % many;
    let engine = ["FUSE", "MEMORY", "VIEW", "STREAM"][part(0, 4) as usize];
    let (database, rows) = (part(8, 200), part(20, 1_000_000));
    format!(
        r#"{{"id":{i},"db":"sales_{database:03}","engine":"{engine}","owner":"role_{:02}","rows":{rows},"updated_ms":{}}}"#,
        part(2, 40),
        WRITTEN_AT_MS + i
    )
    .into_bytes()
}

/// Writes the sealed export of a node that took `keys` single writes, with these values, and purged them from its log. Returns its
/// length in bytes.
pub fn write(path: &Path, keys: u64, value: fn(u64) -> Vec<u8>) -> Result<u64> {
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
            codec::encode(&kv(i, value(i)), &mut line);
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

fn kv(i: u64, data: Vec<u8>) -> Record {
    let meta = KvMeta { expire_at: None, proposed_at_ms: Some(WRITTEN_AT_MS + i) };
    Record::State(StateRecord::Kv { key: key(i), value: SeqV { seq: i + 1, meta: Some(meta), data } })
}
