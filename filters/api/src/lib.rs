//! The contract between the proxy and its filters.
