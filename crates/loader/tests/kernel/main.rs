//! The programs and maps in a real kernel, each test in a network namespace of its own.

mod attaching;
mod flood;
mod ground;
mod maps;
mod node;
mod reports;
mod running;
mod services;
mod verified;
