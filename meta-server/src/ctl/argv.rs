//! The old command line, `databend-metactl --export …` and `--import …`, in today's words. Knows nothing of what a flag means.

use std::ffi::OsString;

/// Where the old flag stands for a subcommand, puts the subcommand in its place at the front.
///
/// Only a line that starts with a flag is of the old kind, so that `upsert --value --export` is left alone.
pub(super) fn with_subcommand(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let starts_with_flag = args.get(1).is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"-"));
    let old = args.iter().position(|arg| arg == "--export" || arg == "--import").filter(|_| starts_with_flag);
    if let Some(at) = old {
        let subcommand = if args.remove(at) == "--export" { "export" } else { "import" };
        args.insert(1, subcommand.into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_forms_become_subcommands_and_the_rest_stays() {
        for (line, expected) in [
            ("metactl", "metactl"),
            ("metactl --export", "metactl export"),
            ("metactl --export --db b", "metactl export --db b"),
            ("metactl --raft-dir d --import --db b", "metactl import --raft-dir d --db b"),
            ("metactl --json --export", "metactl export --json"),
            ("metactl export --db b", "metactl export --db b"),
            ("metactl upsert --value --export", "metactl upsert --value --export"),
            ("metactl --help", "metactl --help"),
        ] {
            assert_eq!(with_subcommand(line.split(' ').map(OsString::from)).join(" ".as_ref()), expected);
        }
    }
}
