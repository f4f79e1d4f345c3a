//! The `weir` binary: see the library for how it works.

fn main() -> std::process::ExitCode {
    weir::cli::main()
}
