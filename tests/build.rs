//! Builds the test-only programs of `lb-ebpf`.

#[path = "../lb-userspace/build/ebpf.rs"]
mod ebpf;

fn main() {
    ebpf::embed("probes", "SIPSTEER_PROBES_OBJECT");
    ebpf::embed("race", "SIPSTEER_RACE_OBJECT");
}
