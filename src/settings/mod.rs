//! What people write: pipeline files and service settings.
//!
//! A pipeline file becomes a [`Pipeline`](crate::model::Pipeline) or a [`Broken`] that holds every mistake in it; the service settings become a
//! [`Service`]. Nothing here opens a connection or makes a file; of other files, only
//! secrets are read: whether brokers answer and folders can be written is
//! found out by those who use them.

mod client;
mod column;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod documentation;
pub(crate) mod http;
mod keys;
mod mask;
mod mistake;
mod parse;
mod resolved;
pub(crate) mod secret;
mod section;
pub mod service;
mod sink;
mod source;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod time;
mod tree;
mod value;
mod variables;
mod window;

pub(crate) use crate::base::units::duration;
pub use http::{Http, Token};
pub(crate) use mask::is_secret;
pub use mistake::{Broken, Mistake};
pub(crate) use parse::read;
pub use service::Service;
pub(crate) use sink::url;
