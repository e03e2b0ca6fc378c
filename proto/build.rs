//! Compiles the .proto files with protox (pure Rust: no protoc), once per system, so that each has its own descriptor
//! set for reflection besides the one that holds all.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

const SYSTEMS: [(&str, &[&str]); 5] = [
    ("bindu", &["bindu/agent_handler.proto"]),
    ("openastra", &["openastra/agent.proto"]),
    ("seal", &["aegis/seal_gateway/v1/seal_gateway.proto"]),
    (
        "shannon",
        &[
            "shannon/common.proto",
            "shannon/orchestrator.proto",
            "shannon/agent.proto",
            "shannon/llm.proto",
            "shannon/session.proto",
        ],
    ),
    ("echo", &["portunus/test/echo.proto"]),
];

const WELL_KNOWN: [&str; 12] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/compiler/plugin.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=protos");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let root = Path::new("protos");
    for (name, files) in SYSTEMS {
        let set = protox::compile(files, [root])?;
        std::fs::write(out.join(format!("{name}.bin")), set.encode_to_vec())?;
    }
    let all: Vec<_> = SYSTEMS.iter().flat_map(|(_, files)| files.iter()).collect();
    let set = protox::compile(all, [root])?;
    std::fs::write(out.join("all.bin"), set.encode_to_vec())?;
    // What servers forget to register with their reflection. Protox brings these files along.
    let well_known = protox::compile(WELL_KNOWN, [root])?;
    std::fs::write(out.join("well_known.bin"), well_known.encode_to_vec())?;
    // Its rules are options of options, which `protox::compile` leaves out.
    let mut validate = protox::Compiler::new([root])?;
    validate.include_imports(true).open_file("buf/validate/validate.proto")?;
    std::fs::write(out.join("validate.bin"), validate.encode_file_descriptor_set())?;
    // Not among `all`: those are contracts of backends, and this one is served by Portunus too.
    let health = protox::compile(["grpc/health/v1/health.proto"], [root])?;
    std::fs::write(out.join("health.bin"), health.encode_to_vec())?;
    tonic_prost_build::configure().btree_map(".").emit_rerun_if_changed(false).compile_fds(health)?;
    tonic_prost_build::configure()
        // Sorted maps and shared payloads: the sample backends promise byte-identical answers, and the tests move
        // gigabytes through Echo.
        .btree_map(".")
        .bytes(".portunus.test")
        .emit_rerun_if_changed(false)
        .compile_fds(set)?;
    Ok(())
}
