//! The metadata filter: sets, removes and renames metadata.
