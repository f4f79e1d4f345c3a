//! The `weir` binary: see the library for how it works.

fn main() -> std::process::ExitCode {
    // Initialised by librdkafka, OpenSSL would clean up when the process ends, under the hands of threads of clients that are
    // still being closed: a run that has done everything would end by a SIGSEGV. Initialised so, it doesn't.
    openssl_sys::init();
    weir::cli::main()
}
