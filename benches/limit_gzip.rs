//! As `limit.rs`, with weir's gzip in the place of librdkafka's: what the limit is when batches are decompressed in one pass.

use weir as _;

#[path = "limit.rs"]
mod limit;

fn main() {
    limit::main();
}
