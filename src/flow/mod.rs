//! What the stages of a lane say to each other, and what everybody may know of them.

pub mod lane;
pub mod messages;
pub mod meters;
pub mod progress;
pub mod rows;
pub mod run;
pub mod supervisor;
