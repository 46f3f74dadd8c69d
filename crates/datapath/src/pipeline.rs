//! The frame of every hook: the stages judge a packet, the outcome is reported and becomes the verdict.

use crate::deliver::Delivered;
use crate::delivery::Delivery;
use crate::maps::Maps;
use crate::packet::Bytes;
use crate::report;
use crate::scratch::Scratch;
use crate::verifier::Fresh;
use abi::DropReason;

/// Judges a packet for one endpoint by the stages in `judge`, and reports the outcome.
///
/// A packet that passes two endpoints is judged twice, each time with a report.
#[inline(always)]
pub(crate) fn run<P: Bytes, M: Maps>(
    packet: &mut P,
    maps: &M,
    scratch: &mut Fresh<'_, Scratch>,
    judge: impl FnOnce(&mut P, &M, &mut Fresh<'_, Scratch>) -> Result<Delivered, DropReason>,
) -> Result<Delivery, DropReason> {
    scratch.refusal = match judge(packet, maps, scratch) {
        Ok(delivered) if !delivered.is_reported() => return Ok(Delivery::Pass),
        Ok(_) => None,
        Err(reason) => Some(reason),
    };
    report::report(packet, maps, scratch);
    verdict(scratch)
}

/// The same in a function of its own in the kernel, which writes the outcome into memory: most packets belong to an established
/// flow and do not come here.
#[inline(never)]
pub(crate) fn run_apart<P: Bytes, M: Maps>(
    packet: &mut P,
    maps: &M,
    scratch: &mut Scratch,
    judge: impl FnOnce(&mut P, &M, &mut Fresh<'_, Scratch>) -> Result<Delivered, DropReason>,
) {
    let _ = run(packet, maps, &mut Fresh::new(scratch), judge);
}

/// The outcome as it stands in memory.
#[inline(always)]
pub(crate) fn verdict(scratch: &Scratch) -> Result<Delivery, DropReason> {
    match scratch.refusal {
        Some(reason) => Err(reason),
        None => Ok(scratch.delivery),
    }
}
