//! The gateway's CLI tools: real ones, over the arguments they get.

use portunus_proto::seal::{FsalMount, InvokeCliRequest, InvokeCliResponse, ToolSummary};
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::seed;

const ARGUMENTS: &str = r#"{"type":"object","properties":{"subcommand":{"type":"string"},"args":{"type":"array"}}}"#;

/// What ListTools says of them.
pub(super) fn summaries() -> Vec<ToolSummary> {
    let tool = |name: &str, description: &str, tag: &str, category: &str| ToolSummary {
        name: name.into(),
        description: description.into(),
        kind: "cli".into(),
        input_schema_json: ARGUMENTS.into(),
        tags: vec![tag.into()],
        category: category.into(),
    };
    vec![
        tool("text", "text upper|reverse|count|sort|sha256 ARG…", "text", "utilities"),
        tool("mounts", "mounts list|check PATH…", "files", "storage"),
    ]
}

/// Runs a tool: an exit code like a program's, 2 for a wrong use.
///
/// # Errors
/// NOT_FOUND for an unknown tool, INVALID_ARGUMENT for an impossible mount.
pub(super) fn run(request: &InvokeCliRequest) -> Result<InvokeCliResponse, Status> {
    for (i, mount) in request.fsal_mounts.iter().enumerate() {
        if !mount.mount_path.starts_with('/') || mount.volume_id.is_empty() {
            return Err(Status::invalid_argument(format!(
                "fsal_mounts[{i}] needs a volume_id and an absolute mount_path"
            )));
        }
    }
    let (code, out, err) = match request.tool_name.as_str() {
        "text" => text(&request.subcommand, &request.args),
        "mounts" => mounts(&request.subcommand, &request.args, &request.fsal_mounts),
        other => return Err(Status::not_found(format!("there is no CLI tool `{other}`; ListTools names them"))),
    };
    Ok(InvokeCliResponse { exit_code: code, stdout: out, stderr: err })
}

type Exit = (i32, String, String);

fn text(subcommand: &str, args: &[String]) -> Exit {
    let joined = args.join(" ");
    let out = match subcommand {
        "upper" => joined.to_uppercase(),
        "reverse" => joined.chars().rev().collect(),
        "count" => format!("{} {} {}", args.len(), joined.split_whitespace().count(), joined.len()),
        "sort" => {
            let mut sorted = args.to_vec();
            sorted.sort();
            sorted.join("\n")
        }
        "sha256" => seed::hex(&Sha256::digest(joined)),
        other => return usage("text", other, "upper, reverse, count, sort or sha256"),
    };
    (0, format!("{out}\n"), String::new())
}

fn mounts(subcommand: &str, args: &[String], mounts: &[FsalMount]) -> Exit {
    match subcommand {
        "list" => {
            let line = |m: &FsalMount| {
                let mode = if m.read_only { "ro" } else { "rw" };
                format!("{} {}:{} {mode}\n", m.mount_path, m.volume_id, m.remote_path)
            };
            (0, mounts.iter().map(line).collect(), String::new())
        }
        "check" => {
            let within = |path: &str, mount: &str| {
                path.strip_prefix(mount.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let missing: Vec<_> =
                args.iter().filter(|path| !mounts.iter().any(|mount| within(path, &mount.mount_path))).collect();
            let errors = missing.iter().map(|path| format!("{path}: not on any mount\n")).collect();
            (i32::from(!missing.is_empty()), String::new(), errors)
        }
        other => usage("mounts", other, "list or check"),
    }
}

fn usage(tool: &str, subcommand: &str, wanted: &str) -> Exit {
    (2, String::new(), format!("{tool}: unknown subcommand `{subcommand}`: use {wanted}\n"))
}
