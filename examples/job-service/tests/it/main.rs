//! The program, as its users see it: over HTTP, and from the command line.
#![cfg(unix)] // SIGTERM

#[allow(unreachable_pub, reason = "two test targets share it")]
#[path = "../common/mod.rs"]
mod common;

mod command_line;
mod events;
mod front;
mod gateway;
mod hosts;
mod jobs;
mod kept;
mod service;
mod shared;
mod timetable;
