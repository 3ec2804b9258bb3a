//! Generates the client from the folder that `mistralwire proto --out DIR` wrote, `CONTRACT`.
//!
//! protox compiles the files; with protoc installed, `tonic_prost_build::compile_protos` does the same.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=CONTRACT");
    let contract = PathBuf::from(env::var("CONTRACT").unwrap_or("contract".into()));
    println!("cargo:rerun-if-changed={}", contract.display());

    let descriptors = protox::compile(proto_files(&contract)?, [&contract])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}

fn proto_files(contract: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let folder = contract.join("mistralwire/v1");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
