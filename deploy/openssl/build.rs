//! Finds the OpenSSL that weir links, or compiles it.
//!
//! To compile OpenSSL takes a third of weir's first build. Where `pkg-config` finds OpenSSL 3 with its headers, that one is
//! linked, as a shared library. Everywhere else it is compiled and becomes a part of the binary. `WEIR_OPENSSL=compiled` asks
//! for that in any case: a binary for other machines must not depend on the libraries of this one.

use std::env;

/// The oldest OpenSSL that is taken.
const OLDEST: &str = "3.0";

fn main() {
    println!("cargo:rerun-if-env-changed=WEIR_OPENSSL");
    if !of_the_system() {
        let made = openssl_src::Build::new().build();
        made.print_cargo_metadata();
        // rdkafka-sys looks for headers and libraries below it.
        let root = made.lib_dir().parent().expect("OpenSSL is installed in a folder of this build's own");
        println!("cargo:root={}", root.display());
    }
}

/// Links the one that is installed, if weir is built for this machine; whether it did.
fn of_the_system() -> bool {
    let asked_to_compile = env::var_os("WEIR_OPENSSL").is_some_and(|wanted| wanted == "compiled");
    if asked_to_compile || env::var_os("HOST") != env::var_os("TARGET") {
        return false;
    }
    let Ok(headers) = pkg_config::get_variable("openssl", "includedir") else { return false };
    let found = pkg_config::Config::new().atleast_version(OLDEST).probe("openssl").is_ok();
    if found {
        // Where weir's own C code finds what librdkafka's headers include.
        println!("cargo:include={headers}");
    }
    found
}
