//! Tells the benches what they were built with.

use std::{env, path::Path, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    println!(
        "cargo::rustc-env=FOURWAY_BENCHES_RUSTC={}",
        version.unwrap_or_default().trim()
    );
    // `target/PROFILE/build/PACKAGE/out`: cargo says a custom profile's name nowhere else.
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name);
    println!(
        "cargo::rustc-env=FOURWAY_BENCHES_PROFILE={}",
        profile.unwrap_or_default().to_string_lossy()
    );
    println!("cargo::rerun-if-changed=build.rs");
}
