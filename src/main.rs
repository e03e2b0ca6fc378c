//! The binary: one command of [`portunus::cli`].

use std::process::ExitCode;

/// Half of mimalloc's memory at the same cost (../shared/PERFORMANCE.md, point 4).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    portunus::cli::main()
}
