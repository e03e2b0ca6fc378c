//! Audit files: opened once all of a configuration is right, looked at anew when they are rotated, and closed last of all.

use std::sync::Arc;
use std::time::Duration;

use filter_audit::{Files, KEPT_AS};

use super::StartError;
use crate::config::snapshot::Snapshot;
use crate::observe::metrics::AuditFile;

/// How long a drain waits for what is left to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Those of a configuration, if it has some.
fn files(snapshot: &Snapshot) -> Option<Arc<Files>> {
    snapshot.keep.find(KEPT_AS)
}

/// Opens those that are not open: before the configuration comes into force.
pub(super) fn open(snapshot: &Snapshot) -> Result<(), StartError> {
    files(snapshot).map_or(Ok(()), |files| files.open().map_err(StartError::System))
}

/// What has been moved aside is closed, and a new file made in its place. Waits for the disk.
pub(super) fn reopen(snapshot: &Snapshot) -> Vec<String> {
    files(snapshot).map(|files| files.reopen()).unwrap_or_default()
}

/// Gives the names of files free for another process, which begins them anew: this one goes on in those that it has. Answers what went wrong.
pub(super) fn move_aside(snapshot: &Snapshot) -> Vec<String> {
    files(snapshot).map(|files| files.move_aside()).unwrap_or_default()
}

/// Writes what is left; false if that took too long.
pub(super) fn close(snapshot: &Snapshot) -> bool {
    files(snapshot).is_none_or(|files| files.close(PATIENCE))
}

/// How each is.
pub(super) fn readings(snapshot: &Snapshot) -> Vec<AuditFile> {
    let readings = files(snapshot).map(|files| files.readings()).unwrap_or_default();
    let one = |reading: filter_audit::Reading| {
        let filter_audit::Reading { file, last, lost, failing } = reading;
        AuditFile { file, last, lost, failing }
    };
    readings.into_iter().map(one).collect()
}
