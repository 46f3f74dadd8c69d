//! Builds `programs` and leaves the object as `OUT_DIR/nexin.bpf.o`, for the loader to include.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The target of the programs: little-endian BPF, as all supported machines are little-endian.
const TARGET: &str = "bpfel-unknown-none";
/// Flags for the linker: emit types (BTF), source lines for the verifier's log, and the instructions of Linux 5.1 and later;
/// copy and zero memory in place by words, where the linker's default is a call of a loop over bytes.
const FLAGS: &str =
    "-Clink-arg=--btf\x1f-Clink-arg=--disable-expand-memcpy-in-order\x1f-Cdebuginfo=2\x1f-Ctarget-cpu=v3";
/// The environment variable that names a linker other than `bpf-linker` on PATH.
const LINKER: &str = "NEXIN_BPF_LINKER";
/// The environment variable that names a compiled object, which is then taken instead of a build.
const READY: &str = "NEXIN_BPF_OBJECT";

fn main() -> ExitCode {
    match object() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Copies the object to its place, after a build if none is given. An error is a sentence.
fn object() -> Result<(), String> {
    let out = PathBuf::from(required("OUT_DIR")?);
    let root = Path::new(&required("CARGO_MANIFEST_DIR")?).join("../..");
    println!("cargo::rerun-if-env-changed={READY}");
    let built = match env::var_os(READY) {
        Some(ready) => {
            println!("cargo::rerun-if-changed={}", Path::new(&ready).display());
            PathBuf::from(ready)
        }
        None => build(&root, &out)?,
    };
    let place = out.join("nexin.bpf.o");
    fs::copy(&built, &place)
        .map(drop)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), place.display()))
}

/// Builds the programs, in a target directory of their own.
fn build(root: &Path, out: &Path) -> Result<PathBuf, String> {
    for source in [
        "programs/src",
        "programs/Cargo.toml",
        "programs/Cargo.lock",
        "crates/datapath/src",
        "crates/abi/src",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed={LINKER}");
    let path = search_path();
    let linker = linker(&path)?;
    look_for_sources()?;
    // `OUT_DIR` is `target/PROFILE/build/PACKAGE/out`. The programs are the same for all profiles.
    let target = out.ancestors().nth(4).unwrap_or(out).join("bpf");
    let built = Command::new(required("CARGO")?)
        .current_dir(root.join("programs"))
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", format!("-Clinker={linker}\x1f{FLAGS}"))
        // `build-std` is not stable. It is the only unstable feature that is used, and the toolchain is pinned.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path)
        // Wrappers and flags of the outer cargo are for the outer target.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .output()
        .map_err(|error| format!("cannot start cargo to build the eBPF programs: {error}"))?;
    if built.status.success() {
        return Ok(target.join(TARGET).join("release/nexin"));
    }
    Err(format!("the eBPF programs do not build:\n{}", String::from_utf8_lossy(&built.stderr)))
}

/// `PATH`, and then the directory in which `make setup` installs tools.
fn search_path() -> OsString {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let mut places: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    places.extend(cache.map(|cache| cache.join("nexin/tools/bin")));
    env::join_paths(places).unwrap_or_default()
}

fn linker(path: &OsStr) -> Result<String, String> {
    if let Ok(named) = env::var(LINKER) {
        return Ok(named);
    }
    if env::split_paths(path).any(|place| place.join("bpf-linker").is_file()) {
        return Ok("bpf-linker".into());
    }
    Err(format!(
        "the eBPF programs need `bpf-linker`, which is not on PATH: run `make setup`, which installs it, or name \
         a linker in {LINKER} or a ready object in {READY}"
    ))
}

/// Checks that the standard library's sources are there, from which `core` is built for the BPF target.
fn look_for_sources() -> Result<(), String> {
    let asked = Command::new(required("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("rustc did not print its sysroot: {error}"))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    if sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
        return Ok(());
    }
    Err(format!(
        "the eBPF programs need the sources of Rust's core, which {} lacks: run `make setup`, which adds the \
         component `rust-src`",
        sysroot.display()
    ))
}

fn required(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}: build.rs runs under cargo only"))
}
