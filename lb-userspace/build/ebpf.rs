//! Finds a rustc that can build for BPF, builds `lb-ebpf` with it and copies one of its objects into `OUT_DIR`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
const FLAGS: [&str; 4] = ["-Cdebuginfo=2", "-Clinker=bpf-linker", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];

/// Leaves the object `name` as `OUT_DIR/<name>.bpf.o`. A prebuilt one is taken from the file that the environment
/// variable `prebuilt` names.
pub(crate) fn embed(name: &str, prebuilt: &str) {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let root = manifest.parent().expect("every crate lies below the root").to_path_buf();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = out.join(format!("{name}.bpf.o"));
    for path in
        ["lb-ebpf/src", "lb-ebpf/Cargo.toml", "lb-ebpf/Cargo.lock", "lb-common/src", "lb-common/Cargo.toml"]
    {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    for variable in [prebuilt, "SIPSTEER_BPF_RUSTC"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if let Some(file) = env::var_os(prebuilt) {
        fs::copy(&file, &object)
            .unwrap_or_else(|e| panic!("{prebuilt} names {}, which cannot be read: {e}", file.display()));
        return;
    }
    // One target directory for every crate that wants an object: OUT_DIR is target/<profile>/build/<crate>/out.
    let target_dir = out.ancestors().nth(4).expect("OUT_DIR lies in target").join("ebpf");
    let built = build(&root, &target_dir).join(name);
    fs::copy(&built, &object).unwrap_or_else(|e| panic!("cannot copy {}: {e}", built.display()));
}

/// Builds `lb-ebpf` and returns the folder of its objects.
fn build(root: &Path, target_dir: &Path) -> PathBuf {
    let mut command = match rustc_with_bpf_core() {
        Some(rustc) => {
            let mut c = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            c.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg("build");
            c
        }
        None => {
            let mut c = Command::new("rustup");
            c.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]).env_remove("RUSTC");
            c
        }
    };
    command
        .args(["--release", "--locked", "--target", TARGET, "--manifest-path"])
        .arg(root.join("lb-ebpf/Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    for variable in
        ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_TARGET_DIR"]
    {
        command.env_remove(variable);
    }
    let status = command.status().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        status.success(),
        "the XDP program was not built. It needs bpf-linker and a rustc with a core library for {TARGET}: \
         run scripts/setup, or name a prebuilt object in SIPSTEER_EBPF_OBJECT"
    );
    target_dir.join(TARGET).join("release")
}

/// A rustc whose installation holds `core` for BPF: Debian's rustc-web with libstd-rust-web-dev-bpf is one.
fn rustc_with_bpf_core() -> Option<String> {
    let candidates = env::var("SIPSTEER_BPF_RUSTC").into_iter().chain(["/usr/bin/rustc".to_owned()]);
    candidates.into_iter().find(|rustc| has_bpf_core(rustc))
}

fn has_bpf_core(rustc: &str) -> bool {
    let Ok(output) = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output()
    else {
        return false;
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libcore-")))
    })
}
