//! The `weir` binary: see the library for how it works.

fn main() -> std::process::ExitCode {
    weir::allocator::one_arena_per_core();
    weir::cli::main()
}
