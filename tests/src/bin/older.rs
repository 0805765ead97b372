//! `sipsteer` as a version that reads the layouts of [`lb_tests::older`] too.

fn main() -> std::process::ExitCode {
    sipsteer::cli::main_that_reads(lb_tests::older::LAYOUTS, std::env::args_os())
}
