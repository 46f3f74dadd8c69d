//! Where the running kernel keeps its connection tracking's entry of a packet, and in it the address that opened the flow.

use crate::type_information::TypeInformation;
use abi::netfilter::TrackingOffsets;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

/// Why the programs cannot read the kernel's connection tracking.
#[derive(Debug, thiserror::Error)]
pub enum TrackingError {
    /// The kernel's type information cannot be read.
    #[error("the kernel's type information cannot be read: {0} (/sys/kernel/btf/vmlinux)")]
    TypeInformation(#[source] io::Error),
    /// A structure has no such field.
    #[error(
        "the kernel's type information has no {0}: the kernel has no nf_conntrack, or the module is not loaded"
    )]
    FieldMissing(&'static str),
    /// Programs may not read memory of the kernel.
    #[error("the kernel does not let programs read its memory (lockdown)")]
    Forbidden,
}

/// The offsets, which stay the same as long as the kernel runs. Read once a process.
pub fn tracking_offsets() -> &'static Result<TrackingOffsets, TrackingError> {
    static OFFSETS: OnceLock<Result<TrackingOffsets, TrackingError>> = OnceLock::new();
    OFFSETS.get_or_init(|| {
        let is_allowed =
            is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_probe_read_kernel);
        if !matches!(is_allowed, Ok(true)) {
            return Err(TrackingError::Forbidden);
        }
        find(Path::new("/sys/kernel/btf"))
    })
}

/// Finds the offsets in the files of a directory: of the kernel, and of the module, where nf_conntrack is one.
fn find(directory: &Path) -> Result<TrackingOffsets, TrackingError> {
    let read = |name| fs::read(directory.join(name)).map_err(TrackingError::TypeInformation);
    let invalid = || TrackingError::TypeInformation(io::ErrorKind::InvalidData.into());
    let bytes = read("vmlinux")?;
    let kernel = TypeInformation::parse(&bytes, None).ok_or_else(invalid)?;
    let module_bytes = read("nf_conntrack").ok();
    let module = module_bytes.as_ref().and_then(|bytes| TypeInformation::parse(bytes, Some(&kernel)));
    let field = |structure, field, name| {
        let of_module = || module.as_ref()?.offset(structure, field);
        kernel.offset(structure, field).or_else(of_module).ok_or(TrackingError::FieldMissing(name))
    };
    let entry = field("sk_buff", "_nfct", "sk_buff._nfct")?;
    let hash = field("nf_conn", "tuplehash", "nf_conn.tuplehash")?;
    let tuple = field("nf_conntrack_tuple_hash", "tuple", "nf_conntrack_tuple_hash.tuple")?;
    let source = field("nf_conntrack_tuple", "src", "nf_conntrack_tuple.src")?;
    Ok(TrackingOffsets { entry, opener: hash + tuple + source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_offsets_are_found_if_it_has_type_information() {
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return;
        }
        match find(Path::new("/sys/kernel/btf")) {
            // Both structures begin with other fields.
            Ok(offsets) => assert!(offsets.entry > 0 && offsets.opener > 0, "{offsets:?}"),
            Err(error) => assert!(matches!(error, TrackingError::FieldMissing(_)), "{error}"),
        }
    }

    #[test]
    fn a_kernel_without_type_information_is_named() {
        let error = find(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/sys/kernel/btf/vmlinux"), "{error}");
    }
}
