//! sipsteer.
fn main() {}
