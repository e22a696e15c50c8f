//! Passes the Cargo profile and the target to the binding, and libpython's directory to its tests.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    // Only the name of the build folder distinguishes a custom profile (`dist`) from `release`.
    let mut folders = out.ancestors().filter_map(|folder| folder.file_name().and_then(OsStr::to_str));
    let profile = folders.find_map(|folder| match folder {
        "debug" => Some("dev"),
        "release" => Some("release"),
        "dist" => Some("dist"),
        _ => None,
    });
    println!("cargo::rustc-env=MELTICA_PROFILE={}", profile.unwrap_or("custom"));
    println!("cargo::rustc-env=MELTICA_TARGET={}", env::var("TARGET").expect("Cargo sets TARGET"));
    println!("cargo::rerun-if-changed=build.rs");
    // Tests load the interpreter. Nothing is added to an extension module, as maturin builds it.
    pyo3_build_config::add_libpython_rpath_link_args();
}
