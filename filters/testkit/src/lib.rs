//! Runs a filter without the proxy.
