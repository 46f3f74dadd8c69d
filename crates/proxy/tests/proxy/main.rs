//! The whole proxy over real sockets on loopback, between a client and a server that follow scripts.
#![forbid(unsafe_code)]

mod abandoned;
mod bodies;
mod changes;
mod endings;
mod exchanges;
mod harness;
mod hops;
mod hostile;
mod oldest;
mod unread;
mod verdicts;
