//! What the kernel takes for a durable file in a folder of its own: the least that a file of a hive key can cost.
//!
//! `cargo bench --bench floor`: 5,000 files of 6 kB as the ledger handles them, one step after another, on one thread.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Instant;

const FILES: usize = 5_000;
const BYTES: usize = 6_000;

fn main() -> std::io::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/floor");
    let (staging, data) = (root.join("staging"), root.join("data"));
    fs::create_dir_all(&staging)?;
    fs::create_dir_all(&data)?;
    let staged = |at: usize| staging.join(at.to_string());
    let folder = |at: usize| data.join(format!("key={at}"));
    let content = vec![7; BYTES];
    step("make the folder", |at| fs::create_dir(folder(at)))?;
    step("create, write, close", |at| File::create_new(staged(at))?.write_all(&content))?;
    step("fsync the file", |at| File::open(staged(at))?.sync_all())?;
    step("link", |at| fs::hard_link(staged(at), folder(at).join("file")))?;
    step("fsync the folder", |at| File::open(folder(at))?.sync_all())?;
    step("unlink", |at| fs::remove_file(staged(at)))?;
    fs::remove_dir_all(root)
}

/// Does a step for each file, and tells what it took.
fn step(what: &str, act: impl Fn(usize) -> std::io::Result<()>) -> std::io::Result<()> {
    let (started, cpu) = (Instant::now(), cpu_ms()?);
    (0..FILES).try_for_each(act)?;
    let a_file = |ms: f64| ms * 1e3 / FILES as f64;
    let (cpu, wall) = (a_file(cpu_ms()? - cpu), a_file(started.elapsed().as_secs_f64() * 1e3));
    println!("{what:22} {cpu:6.0} us of processor time, {wall:6.0} us");
    Ok(())
}

/// Processor time of this process, in steps of 10 ms.
fn cpu_ms() -> std::io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = numbers.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks * 10.0)
}
