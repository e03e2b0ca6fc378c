//! Sample backends of the four systems.
