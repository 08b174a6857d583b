//! What was found in a backup, as text for a terminal of 80 columns. Keys are anything: what a terminal might obey is
//! escaped, and what is too long is cut in the middle.

use std::{collections::BTreeMap, fmt::Write};

use backup_plugin::{
    clock::rfc3339,
    import::Warning,
    inspect::{Count, Inspection, Keys, LogFacts, Reach},
    record::{MAX_KEY_BYTES, Node, StoredMembership},
    seal::Seal,
};
use indicatif::{BinaryBytes, HumanCount};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Shown;
use crate::{ctl::escape::escaped, error_chain::chain};

const COLUMNS: usize = 80;
/// Where what stands behind a label begins.
const LABEL: usize = 14;
/// What the first number of a row takes.
const NUMBER: usize = 13;

impl Shown<'_> {
    pub(super) fn as_text(&self) -> String {
        let Shown { file, found, damage } = *self;
        let mut page = Page::default();
        if let Some(damage) = damage {
            page.paragraph(&format!("DAMAGED: {}", chain(damage)));
            page.paragraph("What follows was read up to there, and nothing vouches for it.");
            page.gap();
        }
        page.file(file, found, damage.is_some());
        page.gap();
        page.node(found, damage.is_some());
        page.gap();
        page.members(found.membership.as_ref(), &found.nodes);
        page.records(found);
        page.keys(&found.keys);
        if damage.is_none() {
            warnings(found).iter().for_each(|warning| page.paragraph(&format!("warning: {warning}")));
        }
        page.0
    }
}

/// What an operator should know of a file that is not damaged.
pub(super) fn warnings(found: &Inspection) -> Vec<String> {
    let mut warnings = Vec::new();
    if !found.sealed {
        warnings.push(Warning::Unsealed.to_string());
    }
    if found.log.is_none() && found.keys.count == 0 && found.last_applied.is_none() {
        warnings.push("it holds no log and no state: there is nothing to restore".to_owned());
    }
    if found.log.as_ref().is_some_and(|log| !log.contiguous) {
        warnings.push("entries of the log are missing or not in order: an import refuses that".to_owned());
    }
    if !found.retired.is_empty() {
        let kinds: Vec<String> = found.retired.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        warnings.push(format!(
            "no current server can hold some of it, and an import needs --drop-retired: {}",
            kinds.join(", ")
        ));
    }
    if found.keys.bad_length > 0 {
        warnings.push(format!(
            "{} keys do not have 1 to {MAX_KEY_BYTES} bytes: an import refuses them",
            found.keys.bad_length
        ));
    }
    warnings
}

/// Text that grows. Writing to a String does not fail.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.0, "{}", shown(line.trim_end(), COLUMNS));
    }

    fn gap(&mut self) {
        self.line("");
    }

    /// Words, on as many lines as it takes.
    fn paragraph(&mut self, text: &str) {
        wrapped(text, COLUMNS).iter().for_each(|line| self.line(line));
    }

    /// A label and what is to be said, on as many lines as it takes.
    fn fact(&mut self, label: &str, text: &str) {
        let lines = wrapped(text, COLUMNS - LABEL);
        for (n, line) in lines.iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            self.line(&format!("{label:<LABEL$}{line}"));
        }
    }

    fn file(&mut self, file: &str, found: &Inspection, damaged: bool) {
        self.fact("file", file);
        let Inspection { version, compression, lines, bytes, read_bytes, .. } = found;
        let packed = match compression.as_str() {
            "none" => String::new(),
            compression => format!("; {compression}, {}", size(*read_bytes)),
        };
        self.fact("format", &format!("{version}, {} lines, {}{packed}", HumanCount(*lines), size(*bytes)));
        self.fact(
            "seal",
            match (&found.seal, damaged) {
                (Some(_), false) => "whole: every byte is as it was when the file was sealed",
                (_, true) if found.sealed => "not proved",
                (None, _) | (_, true) => "none",
            },
        );
        if let Some(Seal { cluster_id, node_id, role, consistency, written_at, program, .. }) = &found.seal {
            self.fact("written", &format!("{written_at} by {program}"));
            let node = node_id.map_or_else(|| "a node that did not say".to_owned(), |id| format!("node {id}"));
            let role = role.map(|role| format!(" ({role:?})")).unwrap_or_default();
            let consistency = consistency.map_or("consistency unknown".to_owned(), |known| known.to_string());
            self.fact("from", &format!("{node}{role}, {consistency}"));
            self.fact("cluster", cluster_id.as_deref().unwrap_or("not known"));
        }
        if let Some(sha256) = &found.sha256 {
            self.fact("sha256", sha256);
        }
    }

    fn node(&mut self, found: &Inspection, damaged: bool) {
        let node = found.node_id.map_or_else(|| "does not say".to_owned(), |id| id.to_string());
        let vote = found.vote.map_or_else(String::new, |vote| {
            let leader = vote.leader_id;
            let committed = if vote.committed { ", granted by a quorum" } else { "" };
            format!("; its vote is T{}-N{}{committed}", leader.term, leader.node_id)
        });
        self.fact("node", &format!("{node}{vote}"));
        let sequence = found.sequence.map_or_else(String::new, |sequence| format!("; sequence {sequence}"));
        match found.last_applied {
            Some(log_id) => self.fact("state", &format!("up to {log_id}{sequence}")),
            None => self.fact("state", &format!("none, or it does not say where it ends{sequence}")),
        }
        if let Some(log_id) = found.committed {
            let tail = found.seal.as_ref().and_then(|seal| seal.tail).filter(|tail| *tail > 0);
            let tail = tail.map_or_else(String::new, |tail| format!("; {tail} entries after it may not be committed"));
            self.fact("committed", &format!("up to {log_id}{tail}"));
        }
        if let Some(log_id) = found.purged {
            self.fact("purged", &format!("up to {log_id}"));
        }
        match &found.log {
            None => self.fact("log", "none"),
            Some(log) => self.log(log),
        }
        match &found.reach {
            // An import of it stops nowhere.
            _ if damaged => {}
            None => self.fact("stop at", "nowhere: no state can be made of it"),
            Some(reach) => self.reach(*reach),
        }
    }

    fn log(&mut self, log: &LogFacts) {
        let kinds = [
            (log.commands, "commands"),
            (log.blanks, "blank"),
            (log.memberships, "memberships"),
            (log.retired, "retired"),
        ];
        let kinds: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        self.fact("log", &format!("{} to {}, {} entries", log.first, log.last, log.entries));
        self.fact("", &kinds.join(", "));
        if let (Some(first), Some(last)) = (log.first_time_ms, log.last_time_ms) {
            self.fact("", &format!("proposed {} to {}", rfc3339(first), rfc3339(last)));
        }
    }

    fn reach(&mut self, reach: Reach) {
        let Reach { first_index, last_index, moments, needs_new_cluster } = reach;
        if first_index == last_index {
            self.fact("stop at", &format!("--to-index {last_index}: its end"));
        } else {
            self.fact("stop at", &format!("--to-index {first_index} to {last_index}"));
        }
        match moments {
            None => self.fact("", "no --to-time: no entry tells the time of such a state"),
            Some(moments) if moments.from_ms == moments.to_ms => {
                self.fact("", &format!("--to-time {}", rfc3339(moments.to_ms)));
            }
            Some(moments) => {
                self.fact("", &format!("--to-time {} to {}", rfc3339(moments.from_ms), rfc3339(moments.to_ms)));
            }
        }
        if needs_new_cluster {
            self.fact("", "with --initial-cluster: one of several voters can not go back");
        }
    }

    fn members(&mut self, membership: Option<&StoredMembership>, nodes: &BTreeMap<u64, Node>) {
        /// Of a real cluster, all of them.
        const SHOWN: usize = 20;
        let Some(StoredMembership { log_id, membership }) = membership else { return };
        let as_of = log_id.map_or_else(|| "as it began".to_owned(), |log_id| format!("as of {log_id}"));
        let changing = if membership.configs.len() > 1 { ", a change is under way" } else { "" };
        self.fact("members", &format!("{as_of}{changing}"));
        let (voters, learners) = (membership.voters(), membership.learners());
        let all: Vec<(u64, &str)> =
            voters.iter().map(|id| (*id, "voter")).chain(learners.iter().map(|id| (*id, "learner"))).collect();
        for (id, role) in all.iter().take(SHOWN) {
            let (raft, grpc) = match nodes.get(id) {
                Some(node) => (node.endpoint.to_string(), node.grpc_api_advertise_address.as_deref()),
                None => ("address not known".to_owned(), None),
            };
            let grpc = grpc.map(|grpc| format!("  grpc {}", shown(grpc, 24))).unwrap_or_default();
            self.line(&format!("{id:>6}  {role:<7}  {:<28}{grpc}", shown(&raft, 28)));
        }
        if all.len() > SHOWN {
            self.line(&format!("        and {} more", all.len() - SHOWN));
        }
        self.gap();
    }

    fn records(&mut self, found: &Inspection) {
        let records = &found.records;
        self.row("lines", "text", "share", "records");
        for (kind, count) in [
            ("log entries", records.log_entries),
            ("nodes", records.nodes),
            ("expiries", records.expires),
            ("keys", records.keys),
            ("retired", records.retired),
            ("others", records.others),
        ] {
            if count.count > 0 {
                self.counted(count, found.bytes, kind);
            }
        }
        self.gap();
    }

    fn keys(&mut self, keys: &Keys) {
        if keys.count == 0 {
            return;
        }
        let all = Count { count: keys.count, bytes: keys.bytes };
        let order = if keys.sorted { "" } else { ", which are not in order" };
        self.row("keys", "bytes", "share", &format!("under{order}"));
        for row in &keys.prefixes.rows {
            self.counted(row.keys, keys.bytes, &format!("{}/", row.prefix));
        }
        if keys.prefixes.others.count > 0 && !keys.prefixes.rows.is_empty() {
            let others = match keys.prefixes.more {
                0 => "(none of these)".to_owned(),
                more => format!("(none of these; {} more prefixes)", HumanCount(more)),
            };
            self.counted(keys.prefixes.others, keys.bytes, &others);
        }
        self.counted(all, keys.bytes, "(all keys)");
        if !keys.prefixes.exact {
            self.paragraph(
                "The prefixes are too many to count exactly where keys are not in order: they have at least that.",
            );
        }
        self.gap();
        if !keys.largest.is_empty() {
            self.item("bytes", "largest values");
            for value in &keys.largest {
                self.item(&size(value.value_bytes), &value.key);
            }
            self.gap();
        }
        self.expiring(keys);
    }

    fn expiring(&mut self, keys: &Keys) {
        let expiring = &keys.expiring;
        if expiring.count == 0 {
            self.line("no key expires");
            return;
        }
        self.item("keys", &format!("expire, as of {}", rfc3339(expiring.now_ms)));
        for (count, span) in [
            (expiring.expired, "have expired"),
            (expiring.within_an_hour, "within an hour"),
            (expiring.within_a_day, "within a day"),
            (expiring.within_a_week, "within a week"),
            (expiring.later, "later"),
            (keys.count - expiring.count, "never"),
        ] {
            if count > 0 {
                self.item(&HumanCount(count).to_string(), span);
            }
        }
        for (n, next) in expiring.next.iter().enumerate() {
            let label = if n == 0 { "next" } else { "" };
            let moment = rfc3339(next.expires_at_ms);
            self.item(label, &format!("{moment:<24}  {}", shown(&next.key, COLUMNS - NUMBER - 2 - 26)));
        }
    }

    /// A row of a table of counts.
    fn counted(&mut self, Count { count, bytes }: Count, of: u64, name: &str) {
        let share = if of == 0 { String::new() } else { format!("{:.1}%", bytes as f64 * 100.0 / of as f64) };
        self.row(&HumanCount(count).to_string(), &size(bytes), &share, name);
    }

    fn row(&mut self, count: &str, bytes: &str, share: &str, name: &str) {
        const BYTES_AND_SHARE: usize = 2 + 11 + 1 + 6;
        let name = shown(name, COLUMNS - NUMBER - BYTES_AND_SHARE - 2);
        self.item(count, &format!("{bytes:>11} {share:>6}  {name}"));
    }

    /// A row of a list: a number, and what it is of.
    fn item(&mut self, number: &str, text: &str) {
        self.line(&format!("{number:>NUMBER$}  {}", shown(text, COLUMNS - NUMBER - 2)));
    }
}

fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Text that a terminal shows and does not obey, at most so many columns wide: a long one without its middle.
fn shown(text: &str, columns: usize) -> String {
    let escaped = escaped(text);
    if escaped.width() <= columns {
        return escaped;
    }
    let room = columns.saturating_sub(1);
    let head = fitting(escaped.chars(), room.div_ceil(2));
    let tail = fitting(escaped.chars().rev(), room / 2);
    format!("{head}…{}", tail.chars().rev().collect::<String>())
}

/// As many chars as fit into so many columns.
fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |char: &char| {
        used += char.width().unwrap_or(0);
        used <= columns
    };
    chars.take_while(fits).collect()
}

/// Words on lines of so many columns; a longer word has a line of its own, cut in the middle.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = shown(word, columns);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_its_middle_and_nothing_is_obeyed() {
        for (text, columns, expected) in [
            ("a/b", 3, "a/b"),
            ("a/b/c/d", 5, "a/…/d"),
            ("a/b/c/d", 4, "a/…d"),
            ("\u{1b}[2J\n", 20, r"\u{1b}[2J\n"),
            (r#"it's "\""#, 20, r#"it's "\""#),
            ("漢字漢字漢字", 7, "漢…字"),
            ("漢字", 4, "漢字"),
            ("abc", 0, "…"),
        ] {
            assert_eq!(shown(text, columns), expected, "{text}");
        }
    }

    #[test]
    fn words_go_to_the_next_line_where_they_do_not_fit() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensibilities a", 7), ["inc…ies", "a"]);
        assert_eq!(wrapped("", 7), [""]);
    }
}
