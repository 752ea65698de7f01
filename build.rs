//! Lists the shipped mapping tables, so that a new file in `mappings/` is part of the program
//! without being named anywhere else, and says what the program is built from.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("mappings"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    let mut list = String::from("[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.display().to_string();
        writeln!(list, "({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    list.push(']');
    fs::write(out.join("mappings.rs"), list)?;
    println!("cargo::rerun-if-changed=mappings");
    println!("cargo::rustc-env=ENVOY_EXPORTER_REVISION={}", revision());
    println!("cargo::rustc-env=ENVOY_EXPORTER_RUSTC={}", compiler());
    println!("cargo::rerun-if-env-changed=ENVOY_EXPORTER_REVISION");
    println!("cargo::rerun-if-changed=.git/HEAD");
    Ok(())
}

/// The commit: from the environment (an image is built without `.git`), else from git.
fn revision() -> String {
    env::var("ENVOY_EXPORTER_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn compiler() -> String {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    output(&rustc, &["--version"])
        .and_then(|line| line.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
