//! sipsteer.

fn main() -> std::process::ExitCode {
    sipsteer::cli::main(std::env::args_os())
}
