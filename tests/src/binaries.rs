//! Finds the real programs beside the test's or the bench's own executable.

use std::{
    env,
    path::{Path, PathBuf},
};

/// `databend-meta`, the server.
pub fn server() -> PathBuf {
    beside_the_test("databend-meta")
}

/// `databend-metactl`, the operator's tool.
pub fn tool() -> PathBuf {
    beside_the_test("databend-metactl")
}

/// The test is `target/<profile>/deps/main-<hash>`, the programs are in `target/<profile>`.
fn beside_the_test(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own executable");
    let folder = test.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo build --workspace` in this profile", path.display());
    path
}
