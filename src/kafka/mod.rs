//! Kafka's client: every question to brokers, and all unsafe code for it.
//!
//! `client.rs` asks and subscribes, `consumer.rs` owns a consumer and how it leaves its group, `bulk.rs` takes records over in bulk.
//! `gate.rs` stands before functions of librdkafka and keeps what it decompresses inside the memory that there is. Everything that
//! calls C, or is called by it, is here.

pub(crate) mod bulk;
pub(crate) mod client;
pub(crate) mod consumer;
pub(crate) mod context;
pub(crate) mod damage;
pub(crate) mod fetched;
pub(crate) mod ffi;
pub(crate) mod gate;
pub(crate) mod gzip;
pub(crate) mod membership;
pub(crate) mod refusal;
pub(crate) mod room;
pub(crate) mod zstd;

pub use client::{Bounds, Broker, BrokerError, client_config};
pub use gzip::gzip_batches;
pub use refusal::{Denied, Refusal};
