//! The checks of the fuzz targets: one function per target, which panics where a property does not hold.

pub mod api;
pub mod cost;
pub mod input;
pub mod l7;
pub mod manifest;
pub mod packet;
pub mod planner;
pub mod proxy;
pub mod seeds;
