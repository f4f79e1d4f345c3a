//! Builds `src/kafka/gate.c` with the headers of the librdkafka that is linked, and has the linker
//! put this crate's functions before some of librdkafka's: see `src/kafka/gate.rs`.

use std::path::PathBuf;

/// The functions of librdkafka that `src/kafka/gate.rs` and `src/kafka/zstd.rs` stand before.
const WRAPPED: [&str; 4] =
    ["rd_kafka_msgset_parse", "rd_kafka_buf_new_shadow", "rd_kafka_toppar_fetch_decide", "rd_kafka_zstd_decompress"];

fn main() {
    let (gate, plain) = ("src/kafka/gate.c", "src/kafka/plain.c");
    for file in ["build.rs", gate, plain] {
        println!("cargo:rerun-if-changed={file}");
    }
    c(gate).compile("weir_gate");
    c(plain).cargo_metadata(false).compile("weir_plain");
    for function in WRAPPED {
        println!("cargo:rustc-link-arg=-Wl,--wrap={function}");
    }
    // At the end: the linker takes of it what nobody else has defined.
    let out = told("OUT_DIR");
    println!("cargo:rustc-link-arg={}", out.join("libweir_plain.a").display());
}

/// How a C file is compiled that looks into librdkafka's structures.
fn c(file: &str) -> cc::Build {
    // The crates tell where they were built, and Cargo passes that on to those that depend on them.
    let (librdkafka, openssl) = (told("DEP_RDKAFKA_ROOT"), told("DEP_OPENSSL_INCLUDE"));
    let mut build = cc::Build::new();
    let includes = [librdkafka.as_path(), &librdkafka.join("src"), &openssl];
    // The headers' warnings are not ours.
    build.file(file).includes(includes).warnings(false);
    build
}

fn told(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(
        value.unwrap_or_else(|| panic!("{name} is not set: has a crate that this one needs changed its build?")),
    )
}
