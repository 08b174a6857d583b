//! Key-value records, of which a backup has millions: their lines without a general JSON writer, and without a general reader where
//! a line looks exactly as it is written here.
//!
//! The format is the same as ever. What is not recognised to the byte is declined and left to the reader of everything else, so
//! no line is refused here, and none is read as anything but what that reader makes of it.

use super::{bytes::write_array, scan::read_array};
use crate::record::{KvMeta, SeqV, StateRecord};

const KEY: &str = r#"["state_machine/0",{"GenericKV":{"key":"#;
const SEQ: &str = r#","value":{"seq":"#;
const META: &str = r#","meta":"#;
const EXPIRE_AT: &str = r#""expire_at":"#;
const PROPOSED_AT: &str = r#""proposed_at_ms":"#;
const DATA: &str = r#","data":"#;
const END: &str = "}}}]";

/// Appends the line of a record, without a newline.
pub(super) fn write(key: &str, value: &SeqV, out: &mut Vec<u8>) {
    text(out, KEY);
    if key.bytes().all(is_plain) {
        out.push(b'"');
        text(out, key);
        out.push(b'"');
    } else {
        json(out, key);
    }
    text(out, SEQ);
    json(out, &value.seq);
    text(out, META);
    match &value.meta {
        None => text(out, "null"),
        Some(KvMeta { expire_at, proposed_at_ms }) => {
            out.push(b'{');
            if let Some(expire_at) = expire_at {
                text(out, EXPIRE_AT);
                json(out, expire_at);
            }
            if let Some(proposed_at_ms) = proposed_at_ms {
                text(out, if expire_at.is_some() { "," } else { "" });
                text(out, PROPOSED_AT);
                json(out, proposed_at_ms);
            }
            out.push(b'}');
        }
    }
    text(out, DATA);
    write_array(&value.data, out);
    text(out, END);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // A Vec takes every byte, and strings and numbers are always written.
    serde_json::to_writer(out, value).expect("a string or a number is always written");
}

/// A byte that stands for itself in a JSON string.
fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

/// The record of a line that looks as [`write`] writes it, keys without escapes; `None`: it looks otherwise.
pub(super) fn read(line: &str) -> Option<StateRecord> {
    let rest = line.strip_prefix(KEY)?.strip_prefix('"')?;
    let key_len = rest.bytes().position(|byte| !is_plain(byte))?;
    let (key, rest) = (rest.get(..key_len)?, rest.get(key_len..)?.strip_prefix('"')?);
    let (seq, rest) = number(rest.strip_prefix(SEQ)?)?;
    let (meta, rest) = meta(rest.strip_prefix(META)?)?;
    let array = rest.strip_prefix(DATA)?.strip_prefix('[')?;
    let numbers = array.strip_suffix(END)?.strip_suffix(']')?;
    let start = line.len() - array.len();
    let data = read_array(line.as_bytes(), start..start + numbers.len())?;
    Some(StateRecord::Kv { key: key.to_owned(), value: SeqV { seq, meta, data } })
}

fn meta(text: &str) -> Option<(Option<KvMeta>, &str)> {
    if let Some(rest) = text.strip_prefix("null") {
        return Some((None, rest));
    }
    let mut rest = text.strip_prefix('{')?;
    let mut meta = KvMeta::default();
    if let Some(text) = rest.strip_prefix(EXPIRE_AT) {
        let (expire_at, after) = number(text)?;
        meta.expire_at = Some(expire_at);
        // A comma promises one more, and nothing else does.
        rest = match after.strip_prefix(',') {
            Some(more) if more.starts_with(PROPOSED_AT) => more,
            _ => return Some((Some(meta), after.strip_prefix('}')?)),
        };
    }
    if let Some(text) = rest.strip_prefix(PROPOSED_AT) {
        let (proposed_at_ms, after) = number(text)?;
        meta.proposed_at_ms = Some(proposed_at_ms);
        rest = after;
    }
    Some((Some(meta), rest.strip_prefix('}')?))
}

/// A number that JSON would take, and what comes after its digits.
fn number(text: &str) -> Option<(u64, &str)> {
    let len = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(len);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}
