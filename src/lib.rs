//! Freshet, a real-time feature store. The modules in reading order, each using only what stands to its left:
//!
//! ```text
//! kernel ◄ event_log online offline registry ◄ batch ◄ stream archive backfill training parity serving ◄ api ◄ app ◄ cli ◄ main
//! ```
//!
//! * [`kernel`]: every rule of features. No I/O, no clock, no randomness, no async.
//! * `event_log`, `online`, `offline`, `registry`: what Freshet keeps, each a small trait with its backends.
//! * `batch`: archived events as DataFusion operators, for drivers to walk over.
//! * `stream`, `archive`, `backfill`, `training`, `parity`, `serving`: the drivers. They know traits, and not each other.
//! * `api`: HTTP. `app`: builds everything, and alone chooses backends. `cli`: a file for each command.
//! * `clock`, `telemetry` and `exclusive_folder` may be used anywhere but in the kernel. `tests/it/layers.rs` checks all
//!   of this.

pub mod kernel;

pub mod clock;
mod exclusive_folder;
pub mod telemetry;

pub mod event_log;
pub mod offline;
pub mod online;
pub mod registry;

pub mod batch;

pub mod archive;
pub mod backfill;
pub mod parity;
pub mod serving;
pub mod stream;
pub mod training;

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
