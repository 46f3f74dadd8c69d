//! The address families of a network namespace.

use std::fmt;
use std::io;
use std::path::Path;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4, which every kernel with networking has.
    V4,
    /// IPv6.
    V6,
}

/// Whether a network namespace has IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// It has.
    Enabled,
    /// This setting disables IPv6, so that addresses and routes are refused.
    Disabled(&'static str),
    /// The kernel was built or booted without IPv6.
    Absent,
}

/// Interfaces whose settings must not disable IPv6: each covers the loopback, or the interfaces that Nexin creates later.
const SWITCHES: [&str; 3] = ["all", "default", "lo"];

impl Ipv6 {
    /// Reads the settings of the calling thread's network namespace.
    pub fn here() -> io::Result<Self> {
        Self::under(Path::new("/proc/sys/net"))
    }

    /// Reads the settings under a directory with the layout of `/proc/sys/net`.
    fn under(net: &Path) -> io::Result<Self> {
        let settings = net.join("ipv6/conf");
        if !settings.try_exists()? {
            return Ok(Self::Absent);
        }
        for (place, switch) in SWITCHES.iter().enumerate() {
            match std::fs::read_to_string(settings.join(switch).join("disable_ipv6")) {
                Ok(value) if value.trim() != "0" => return Ok(Self::Disabled(NAMES[place])),
                // The kernel removes IPv6 and its settings from an interface with an MTU below 1280.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Self::Disabled(NAMES[place]));
                }
                read => drop(read?),
            }
        }
        Ok(Self::Enabled)
    }

    /// The families of the namespace.
    pub fn families(self) -> &'static [IpFamily] {
        match self {
            Self::Enabled => &[IpFamily::V4, IpFamily::V6],
            Self::Disabled(_) | Self::Absent => &[IpFamily::V4],
        }
    }
}

/// The settings of [`SWITCHES`], as sysctl(8) names them.
const NAMES: [&str; 3] =
    ["net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6", "net.ipv6.conf.lo.disable_ipv6"];

impl fmt::Display for Ipv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled => f.write_str("IPv6 is enabled"),
            Self::Disabled(setting) => write!(f, "IPv6 is disabled by {setting}"),
            Self::Absent => f.write_str("the kernel has no IPv6"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn ipv6_is_enabled_unless_a_setting_disables_it() {
        let net = std::env::temp_dir().join(format!("nexin-families-{}", std::process::id()));
        let set = |switch: &str, value: &str| {
            fs::create_dir_all(net.join("ipv6/conf").join(switch)).unwrap();
            fs::write(net.join("ipv6/conf").join(switch).join("disable_ipv6"), value).unwrap();
        };
        let check = |expected: Ipv6, said: &str| {
            let found = Ipv6::under(&net).unwrap();
            assert_eq!((found, found.to_string().as_str()), (expected, said));
        };
        fs::create_dir_all(&net).unwrap();
        check(Ipv6::Absent, "the kernel has no IPv6");
        SWITCHES.iter().for_each(|switch| set(switch, "0\n"));
        check(Ipv6::Enabled, "IPv6 is enabled");
        for (switch, name) in SWITCHES.into_iter().zip(NAMES) {
            set(switch, "1\n");
            check(Ipv6::Disabled(name), &format!("IPv6 is disabled by {name}"));
            set(switch, "0\n");
        }
        fs::remove_dir_all(net.join("ipv6/conf/lo")).unwrap();
        check(Ipv6::Disabled(NAMES[2]), "IPv6 is disabled by net.ipv6.conf.lo.disable_ipv6");
        fs::remove_dir_all(&net).unwrap();
    }

    #[test]
    fn a_namespace_without_ipv6_has_only_ipv4() {
        assert_eq!(Ipv6::Enabled.families(), [IpFamily::V4, IpFamily::V6]);
        for lacking in [Ipv6::Absent, Ipv6::Disabled(NAMES[0])] {
            assert_eq!(lacking.families(), [IpFamily::V4]);
        }
    }
}
