//! The calls in what `strace -f -y` wrote, and how to meet one of them again in another run of the same work.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::Fault;
use crate::tool::args;

/// Calls that say by a number which file they mean; the others name it.
const BY_NUMBER: [&str; 9] =
    ["write", "pwrite64", "writev", "fsync", "fdatasync", "sync_file_range", "ftruncate", "fallocate", "flock"];

/// One call: the `n`-th of its kind in its own thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Point {
    pub call: String,
    /// Of those that are about this path; `None`: of all, for a file whose name is another one each time.
    pub path: Option<PathBuf>,
    pub n: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { call, path, n } = self;
        match path {
            Some(path) => write!(f, "{call} {n} of {}", path.display()),
            None => write!(f, "{call} {n}"),
        }
    }
}

impl Point {
    /// What `strace` is told: to do this to that call. A file whose name is drawn again for the next attempt is met once.
    pub(super) fn meet(&self, fault: Fault) -> Vec<OsString> {
        match &self.path {
            Some(path) => [args([&"-P", path]), fault.at(&self.call, self.n)].concat(),
            None => fault.once_at(&self.call, self.n),
        }
    }

    /// The calls in a trace that are about something below a folder, in the order they were made. An `openat` counts where it may
    /// create a file. A `write` to a file with a name that was drawn is left out: among all, it is not to be told from one that wakes
    /// a thread or answers a client.
    pub(super) fn all_below(folder: &Path, trace: &str) -> Vec<Point> {
        let (mut counts, mut points) = (HashMap::<_, u32>::new(), Vec::new());
        for (line, (thread, call, path)) in trace.lines().filter_map(|line| Some((line, read(line)?))) {
            let mut count = |path| {
                let n = counts.entry((thread, call, path)).or_default();
                *n += 1;
                *n
            };
            let (of_all, of_path) = (count(None), count(path));
            let Some(path) = path.filter(|path| path.starts_with(folder)) else { continue };
            let (path, n) = if is_drawn(path) { (None, of_all) } else { (Some(path.to_owned()), of_path) };
            let point = Point { call: call.to_owned(), path, n };
            let is_met = match call {
                "openat" => line.contains("O_CREAT"),
                "write" => point.path.is_some(),
                _ => true,
            };
            if is_met && !points.contains(&point) {
                points.push(point);
            }
        }
        points
    }
}

/// Whether a file has a name that `tempfile` has drawn.
fn is_drawn(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".tmp") || name.starts_with(".CURRENT-")
}

/// `THREAD CALL(…` with the path that the call is about, if it is about one; the new one of two. `None`: no call.
fn read(line: &str) -> Option<(&str, &str, Option<&Path>)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, args) = rest.trim_start().split_once('(')?;
    let named = match call {
        _ if BY_NUMBER.contains(&call) => None,
        _ if call.starts_with("rename") => args.rfind("\"/"),
        _ => args.find("\"/"),
    };
    let path = match named {
        Some(at) => upto(&args[at + 1..], '"'),
        None => args.find("</").and_then(|at| upto(&args[at + 1..], '>')),
    };
    call.starts_with(|c: char| c.is_ascii_lowercase()).then_some((thread, call, path.map(Path::new)))
}

fn upto(text: &str, end: char) -> Option<&str> {
    text.split_once(end).map(|(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_with_their_paths_and_counted_by_thread() {
        let trace = r#"7 mkdir("/m/base-2", 0777) = 0
8 write(9<socket:[12]>, "\0", 1) = 1
8 write(10</m/a>, "/m/b \"/m/c\"", 12 <unfinished ...>
7 write(10</m/a>, "x", 1) = 1
8 <... write resumed>) = 12
8 write(10</m/a>, "y", 1) = -1 EIO (Input/output error) (INJECTED)
8 openat(AT_FDCWD</home>, "/m/a", O_RDONLY|O_CLOEXEC) = 11</m/a>
8 openat(AT_FDCWD</home>, "/m/a", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 11</m/a>
8 unlinkat(4</m/base-1>, "META", 0) = 0
8 openat(AT_FDCWD</home>, "/m/.tmpXyZ", O_RDWR|O_CREAT, 0600) = 12</m/.tmpXyZ>
8 write(12</m/.tmpXyZ>, "z", 1) = 1
8 renameat(AT_FDCWD</home>, "/m/.tmpXyZ", AT_FDCWD</home>, "/m/CURRENT") = 0
8 fsync(5</elsewhere/m>) = 0
7 --- SIGCHLD {si_signo=SIGCHLD} ---
7 +++ killed by SIGKILL +++
"#;
        let found: Vec<String> = Point::all_below(Path::new("/m"), trace).iter().map(Point::to_string).collect();
        assert_eq!(
            found,
            [
                "mkdir 1 of /m/base-2",
                "write 1 of /m/a",
                "write 2 of /m/a",
                "openat 2 of /m/a",
                "unlinkat 1 of /m/base-1",
                "openat 3",
                "renameat 1 of /m/CURRENT"
            ]
        );
    }
}
