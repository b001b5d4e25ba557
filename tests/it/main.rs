//! What goes through several rooms, in one binary: a link of this crate is not cheap.

mod archive;
mod broken_definitions;
mod broken_events;
mod bucket;
mod bundled_definitions;
mod cluster;
mod exact_ratio;
mod generations;
mod golden_codec;
mod hostile;
mod http;
mod kernel_property;
mod kernel_rules;
mod kill;
mod layers;
mod openapi;
mod oracle;
mod point_in_time;
mod process;
mod scenarios;
mod servers;
mod service;
mod simulation;
mod stream_run;
mod stream_worker;
mod tiered;
