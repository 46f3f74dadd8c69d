//! Lists of network configurations, as runtimes read them from a directory.

use serde_json::{Value, json};

/// Name of the plugin's binary.
pub const PLUGIN: &str = "nexin-cni";

/// Name of the binary that runtimes run for the loopback interface of every container.
pub const LOOPBACK: &str = "loopback";

/// The list of configurations that leads runtimes to this plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkList<'a> {
    /// Name of the network.
    pub name: &'a str,
    /// The agent's socket; none for the default one.
    pub socket: Option<&'a str>,
}

impl NetworkList<'_> {
    /// The text of the list.
    pub fn text(&self) -> String {
        let mut plugin = json!({
            "type": PLUGIN,
            // The runtime hands these over, so that what is not supported is refused by name and not ignored.
            "capabilities": { "portMappings": true, "bandwidth": true, "ips": true },
        });
        if let Some(socket) = self.socket {
            plugin["socket"] = socket.into();
        }
        let list = json!({ "cniVersion": "1.1.0", "name": self.name, "plugins": [plugin] });
        format!("{list:#}\n")
    }

    /// The list of another plugin with this plugin at its end, which adds policy; none where the text is no list.
    pub fn behind(&self, other: &str) -> Option<String> {
        let mut list: Value = serde_json::from_str(other).ok()?;
        let plugins = list.get_mut("plugins")?.as_array_mut()?;
        if plugins.iter().all(|known| known["type"] != PLUGIN) {
            let mut plugin = json!({ "type": PLUGIN });
            if let Some(socket) = self.socket {
                plugin["socket"] = socket.into();
            }
            plugins.push(plugin);
        }
        Some(format!("{list:#}\n"))
    }
}

/// Whether runtimes read a file with this name.
pub fn is_list(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end))
}

/// The file that runtimes use: the first by name.
pub fn winner<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names.into_iter().filter(|name| is_list(name)).min()
}
