//! Builds the XDP program and hands it to `dataplane` for embedding.

#[path = "build/ebpf.rs"]
mod ebpf;

fn main() {
    ebpf::embed("sipsteer", "SIPSTEER_EBPF_OBJECT");
}
