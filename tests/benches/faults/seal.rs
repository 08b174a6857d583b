//! Every cut and every flipped bit of sealed backups as the real tool makes them, and other ways to change one: each is refused.

use std::{
    fmt, fs,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use backup_plugin::input::{InputError, Reader};
use integration_tests::{
    generate,
    tool::{import, metactl},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Seal {
    /// In the backup
    #[arg(long, default_value_t = 20)]
    keys: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 10)]
    value: usize,
}

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Change {
    Cut(usize),
    Flip(usize),
    /// Two lines change places.
    Swap(usize, usize),
    Drop(usize),
    Repeat(usize),
    /// This byte behind the end.
    Append(u8),
    /// The file behind itself.
    Join,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Change {
    /// Every change of a kind there is, kind by kind.
    fn all(file: &[u8], has_lines: bool) -> Vec<(&'static str, Vec<Change>)> {
        let lines = if has_lines { lines(file).len() } else { 0 };
        let pairs = (0..lines).flat_map(|a| (a + 1..lines).map(move |b| Change::Swap(a, b)));
        vec![
            ("cuts", (0..file.len()).map(Change::Cut).collect()),
            ("bits flipped", (0..file.len() * 8).map(Change::Flip).collect()),
            ("pairs of lines swapped", pairs.collect()),
            ("lines left out", (0..lines).map(Change::Drop).collect()),
            ("lines repeated", (0..lines).map(Change::Repeat).collect()),
            ("bytes added", (0..=255).map(Change::Append).collect()),
            ("joined to itself", vec![Change::Join]),
        ]
    }

    fn make(self, file: &[u8]) -> Vec<u8> {
        let in_lines = |change: fn(&mut Vec<&[u8]>, usize, usize), a, b| {
            let mut lines = lines(file);
            change(&mut lines, a, b);
            lines.concat()
        };
        match self {
            Change::Cut(len) => file[..len].to_vec(),
            Change::Flip(bit) => {
                let mut changed = file.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                changed
            }
            Change::Swap(a, b) => in_lines(|lines, a, b| lines.swap(a, b), a, b),
            Change::Drop(at) => in_lines(
                |lines, at, _| {
                    lines.remove(at);
                },
                at,
                0,
            ),
            Change::Repeat(at) => in_lines(|lines, at, _| lines.insert(at, lines[at]), at, 0),
            Change::Append(byte) => [file, &[byte]].concat(),
            Change::Join => file.repeat(2),
        }
    }
}

fn lines(file: &[u8]) -> Vec<&[u8]> {
    file.split_inclusive(|byte| *byte == b'\n').collect()
}

/// The way that every import and every check of a backup takes.
fn is_refused(file: &[u8]) -> bool {
    Reader::open(file, "the file").and_then(|mut reader| reader.for_each(|_, _, _| Ok::<(), InputError>(()))).is_err()
}

impl Seal {
    /// A line for each form of file and each kind of change, with how many were tried.
    pub async fn run(self) -> ExitCode {
        let (began, temp) = (Instant::now(), tempfile::tempdir().expect("a folder"));
        let (seed, raft_dir) = (temp.path().join("seed"), temp.path().join("meta"));
        generate::write(&seed, self.keys, self.value);
        import(&raft_dir, &seed).await;
        let (mut tried, mut taken) = (0, 0);
        for name in ["b.ndjson", "b.ndjson.zst", "b.ndjson.gz"] {
            let path = temp.path().join(name);
            metactl([&"export", &"--raft-dir", &raft_dir, &"--db", &path]).await.expect(0);
            let file = fs::read(path).expect("a backup");
            assert!(!is_refused(&file), "{name} is whole");
            for (kind, changes) in Change::all(&file, name == "b.ndjson").into_iter().filter(|(_, all)| !all.is_empty())
            {
                let wrong = refuse(&file, &changes);
                println!("{name}, {} bytes: {} {kind}, {wrong} taken for whole", file.len(), changes.len());
                tried += changes.len();
                taken += wrong;
            }
        }
        println!("{tried} changes in {:.0} s, {taken} taken for whole", began.elapsed().as_secs_f64());
        if taken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Tries them on all processors; how many were not refused, each of which is told.
fn refuse(file: &[u8], changes: &[Change]) -> u64 {
    let taken = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in changes.chunks(changes.len().div_ceil(threads)) {
            let taken = &taken;
            scope.spawn(move || {
                for change in part {
                    let changed = change.make(file);
                    // Two lines may be the same.
                    if changed != file && !is_refused(&changed) {
                        println!("taken for whole: {change}");
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    taken.into_inner()
}
