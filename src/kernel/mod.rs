//! Every rule of features, and nothing else: no I/O, no clock, no randomness, no async. It cannot fail for
//! reasons of the world, so the stream, the backfill, the training set and the lookup can share it to the bit.
//!
//! ```text
//! time value name key ◄ aggregate window expr ◄ definition ◄ plan ◄ event ◄ engine codec
//! ```

pub mod key;
pub mod name;
pub mod time;
pub mod value;

pub mod aggregate;
pub mod expr;
pub mod window;

pub mod definition;

pub mod plan;

pub mod event;

pub mod codec;
pub mod engine;
