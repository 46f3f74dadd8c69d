//! Runs a program once or many times on a frame that the caller gives (`BPF_PROG_TEST_RUN`).

use crate::loaded::Loaded;
use abi::Hook;
use aya::programs::{Program, ProgramError, TestRun as _, TestRunOptions};
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's decision.
    pub action: ProgramAction,
    /// The frame after the run.
    pub frame: Vec<u8>,
    /// The packet mark after the run.
    pub mark: u32,
    /// How long one run took, on average.
    pub duration: Duration,
}

/// A program's decision. The kernel does not return the interface that a packet is redirected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramAction {
    /// The packet passes to the next program, or to the stack.
    Pass,
    /// The packet is dropped.
    Drop,
    /// The packet goes to another interface.
    Redirect,
    /// A value that the packet path never returns.
    Other(u32),
}

/// Why a program could not be run on a frame.
#[derive(Debug, thiserror::Error)]
pub enum TestRunError {
    /// The frame is shorter than a link-layer header.
    #[error("a frame of {0} bytes has no Ethernet header; it takes 14")]
    Short(usize),
    /// The program selects sockets, and takes no frame.
    #[error("{0} takes no frames")]
    NoFrames(Hook),
    /// The kernel refused to run it.
    #[error(
        "test-run of {hook} as received on interface {interface}: {source}; the interface must exist in this namespace"
    )]
    Refused {
        /// The program.
        hook: Hook,
        /// The interface on which the program sees the packet.
        interface: u32,
        /// Why.
        source: Box<ProgramError>,
    },
}

/// The head of `struct __sk_buff`. The fields without a name here must be zero before the run.
#[derive(Clone, Copy, IntoBytes, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Context {
    length_and_kind: [u32; 2],
    mark: u32,
    queue_to_priority: [u32; 6],
    ingress: u32,
    interface: u32,
    rest: [u32; 37],
}

const _: () = assert!(size_of::<Context>() == 192);

impl Loaded {
    /// Runs the hook's program on a frame as if it were on the interface (0: the loopback).
    pub fn test_run(
        &self,
        hook: Hook,
        frame: &[u8],
        mark: u32,
        interface: u32,
    ) -> Result<TestRun, TestRunError> {
        self.run(hook, frame, PacketContext { mark, interface, ingress: 0 }, 1)
    }

    /// Runs the hook's program `repeat` times, each time on the frame that the run before left.
    pub fn run(
        &self,
        hook: Hook,
        frame: &[u8],
        packet: PacketContext,
        repeat: u32,
    ) -> Result<TestRun, TestRunError> {
        const ETHERNET: usize = 14;
        /// More bytes than the packet path ever adds to a frame.
        const GROWTH: usize = 256;
        if frame.len() < ETHERNET {
            return Err(TestRunError::Short(frame.len()));
        }
        let mut context = Context::new_zeroed();
        context.mark = packet.mark;
        context.interface = packet.interface;
        context.ingress = packet.ingress;
        let mut frame_out = vec![0; frame.len() + GROWTH];
        let mut context_out = Context::new_zeroed();
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(frame_out.as_mut_slice()),
            ctx_in: Some(context.as_bytes()),
            ctx_out: Some(context_out.as_mut_bytes()),
            repeat,
            ..TestRunOptions::default()
        };
        let Program::SchedClassifier(program) = self.program(hook) else {
            return Err(TestRunError::NoFrames(hook));
        };
        let result = program.test_run(options).map_err(|error| TestRunError::Refused {
            hook,
            interface: packet.interface,
            source: Box::new(error),
        })?;
        frame_out.truncate(result.data_size_out as usize);
        Ok(TestRun {
            action: ProgramAction::from_number(result.return_value),
            frame: frame_out,
            mark: context_out.mark,
            duration: result.duration,
        })
    }
}

/// What the kernel keeps of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketContext {
    /// The mark.
    pub mark: u32,
    /// Index of the interface whose hook sees the packet (0: the loopback).
    pub interface: u32,
    /// Index of the interface by which the packet came into the node; 0 where the node itself made the packet.
    pub ingress: u32,
}

impl ProgramAction {
    const fn from_number(number: u32) -> Self {
        const NEXT: u32 = u32::MAX;
        match number {
            0 | NEXT => Self::Pass,
            2 => Self::Drop,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}
