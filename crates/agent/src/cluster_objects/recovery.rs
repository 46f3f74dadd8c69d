//! Reads the objects of the API server again at a start whose stored objects are damaged or lost.
//!
//! Until that succeeds the agent does not start: the maps of the earlier agent stay in force, as they are.

use super::StoredCluster;
use kubernetes::{UserConnection, snapshot};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// The time between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Replaces the stored objects by those of the API server; waits for it as long as necessary. Returns a note for the status.
pub(crate) fn recover(stored: &mut StoredCluster, kubeconfig: Option<PathBuf>, why: &str) -> String {
    let connection = UserConnection { kubeconfig, context: None };
    let mut reported = String::new();
    loop {
        match read(stored, &connection) {
            Ok(()) => return format!("{why}; all objects were read from the API server at the start"),
            Err(error) if error != reported => {
                tracing::error!(
                    "{why}, and the objects of the API server cannot be read again: {error}. What the earlier agent enforced \
                     stays in force; the agent starts when they can be read"
                );
                reported = error;
            }
            Err(_) => {}
        }
        thread::sleep(RETRY);
    }
}

fn read(stored: &mut StoredCluster, connection: &UserConnection) -> Result<(), String> {
    let objects = snapshot(connection, stored.kinds()).map_err(|error| error.to_string())?;
    stored.replace(objects).map_err(|invalid| {
        format!("not every object is valid, and its earlier state is lost: {}", invalid.join("; "))
    })
}
