//! Compiles the protocols in `proto/` with protox, so that no protoc has to be installed, and keeps the descriptor set of
//! the public one for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let public = protox::compile(["meta.proto"], ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("meta_descriptor.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        // Written by hand, in `src/chunk.rs`.
        .extern_path(".meta.ExportedChunk", "crate::chunk::ExportedChunk")
        .compile_fds(protox::compile(["meta.proto", "raft.proto"], ["proto"])?)?;
    Ok(())
}
