//! `portunus call`: any method of any server, with JSON in and out, by its reflection or by files. All four kinds of call; the exit
//! code is the status.

mod input;
mod wire;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filter_api::units::Period;
use http::uri::PathAndQuery;
use tokio::sync::oneshot;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use self::input::Source;
use self::wire::BytesCodec;
use super::dial;
use crate::schema::{self, Bounds, Method, Schema, SchemaError};
use crate::upstream::channel::failure;
use crate::upstream::reflection::reflect;
use crate::upstream::side::Failure;

/// What to call, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    to: dial::Peer,
    /// package.Service/Method.
    method: String,
    /// The request in JSON; where any number may be sent, several one after the other. `@`: from stdin. Default: an empty message, or
    /// stdin line by line where any number may be sent.
    #[arg(short = 'd', long, value_name = "JSON")]
    data: Option<String>,
    /// A .proto file that has the method, instead of the server's reflection.
    #[arg(long, value_name = "FILE", conflicts_with = "descriptors")]
    proto: Vec<PathBuf>,
    /// Where imports are looked for; default: beside each --proto.
    #[arg(short = 'I', long = "import", value_name = "DIR", requires = "proto")]
    imports: Vec<PathBuf>,
    /// A descriptor set that has the method, instead of the server's reflection.
    #[arg(long, value_name = "FILE")]
    descriptors: Option<PathBuf>,
    /// The deadline, such as 500ms or 30s; default: none.
    #[arg(long, value_name = "TIME", value_parser = period)]
    timeout: Option<Duration>,
}

/// Where messages come from and go to.
pub(super) struct Streams<'a> {
    pub(super) input: Box<dyn BufRead + Send>,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
}

/// Calls, and ends with the status.
pub(super) fn run(arguments: &Arguments, streams: Streams<'_>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Streams { input, out, err } = streams;
    let status = match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(call(arguments, input, out));
            runtime.shutdown_background();
            status
        }
        Err(error) => Err(Status::internal(error.to_string())),
    };
    let code = match status {
        Ok(()) => Code::Ok,
        Err(status) => {
            // Nobody is left to tell of an error of stderr.
            write_status(&status, err).ok();
            status.code()
        }
    };
    ExitCode::from(u8::try_from(i32::from(code)).unwrap_or(u8::MAX))
}

fn write_status(status: &Status, err: &mut dyn Write) -> std::io::Result<()> {
    writeln!(err, "{:?}: {}", status.code(), shown(status.message()))?;
    if let Some(info) = status.get_details_error_info() {
        writeln!(err, "  reason: {} ({})", shown(&info.reason), shown(&info.domain))?;
    }
    for violation in status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations) {
        writeln!(err, "  {}: {}", shown(&violation.field), shown(&violation.description))?;
    }
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        writeln!(err, "  try again in {wait:?}")?;
    }
    Ok(())
}

/// A server's words are for people, not for their terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

async fn call(arguments: &Arguments, input: Box<dyn BufRead + Send>, out: &mut dyn Write) -> Result<(), Status> {
    let (service, name) = split(&arguments.method)?;
    let metadata = arguments.to.metadata().map_err(Status::invalid_argument)?;
    let path: PathAndQuery = format!("/{service}/{name}").parse().map_err(|_| {
        Status::invalid_argument(format!("`{}` is no method: write package.Service/Method", arguments.method))
    })?;
    let channel = arguments.to.connect().await.map_err(|failure| match failure {
        dial::Failure::Arguments(why) => Status::invalid_argument(why),
        dial::Failure::Unreachable(why) => Status::unavailable(why),
    })?;
    let schema = Arc::new(schema_of(arguments, &channel, &metadata).await?);
    let method = schema.method(service, name).ok_or_else(|| unknown(&schema, service, name))?;

    let source = Source::new(arguments.data.as_deref(), method.client_streaming, input);
    let (bad, broken) = oneshot::channel();
    let encode = {
        let schema = Arc::clone(&schema);
        move |json: &str| schema.request_from_json(method, json).map(Bytes::from)
    };
    let mut request = Request::new(source.messages(encode, bad));
    *request.metadata_mut() = metadata;
    if let Some(timeout) = arguments.timeout {
        request.set_timeout(timeout);
    }
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let answered = async {
        let mut answers = client.streaming(request, path, BytesCodec).await?.into_inner();
        while let Some(message) = answers.message().await? {
            write(&schema, method, &message, out)?;
        }
        Ok(())
    };
    // A server may not look at its deadline once the answer has begun.
    let deadline = async {
        match arguments.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // A message that cannot be sent ends the call, whatever the server still says.
        biased;
        Ok(why) = broken => Err(Status::invalid_argument(why)),
        answered = answered => answered.map_err(|status| match failure(&status) {
            Failure::Status(..) => status,
            lost => Status::unavailable(format!("{lost}{}", arguments.to.hint())),
        }),
        () = deadline => Err(Status::deadline_exceeded("the answer was not complete in time")),
    }
}

fn write(schema: &Schema, method: Method, message: &[u8], out: &mut dyn Write) -> Result<(), Status> {
    let line = schema.response_to_json(method, message).map_err(Status::data_loss)?;
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Status::aborted(format!("stdout: {error}")))
}

fn split(method: &str) -> Result<(&str, &str), Status> {
    let found = method.trim_start_matches('/').rsplit_once(['/', '.']);
    found
        .filter(|(service, name)| !service.is_empty() && !name.is_empty())
        .ok_or_else(|| Status::invalid_argument(format!("`{method}` is no method: write package.Service/Method")))
}

async fn schema_of(arguments: &Arguments, channel: &Channel, metadata: &MetadataMap) -> Result<Schema, Status> {
    let schema = if let Some(file) = &arguments.descriptors {
        schema::from_set(file)
    } else if arguments.proto.is_empty() {
        reflect(channel.clone(), metadata, Bounds::REMOTE).await
    } else {
        schema::from_protos(&arguments.proto, &arguments.imports)
    };
    schema.map_err(|error| {
        match &error {
            SchemaError::Unreachable(why) => return Status::unavailable(format!("{why}{}", arguments.to.hint())),
            SchemaError::Refused { known: false, why } => {
                let hint = "say who you are with --token, or with --cert and --key, or name the method's files with --proto or --descriptors";
                return Status::unauthenticated(format!("{why}; {hint}"));
            }
            SchemaError::Refused { known: true, why } => {
                let hint =
                    "show another --token or certificate, or name the method's files with --proto or --descriptors";
                return Status::permission_denied(format!("{why}; {hint}"));
            }
            _ => {}
        }
        let hint = if arguments.proto.is_empty() && arguments.descriptors.is_none() {
            "; name the method's files with --proto or --descriptors"
        } else {
            ""
        };
        Status::unimplemented(format!("the method's schema cannot be had: {error}{hint}"))
    })
}

fn unknown(schema: &Schema, service: &str, name: &str) -> Status {
    let methods: Vec<_> = schema.methods(service).collect();
    let known: Vec<_> = schema.services().collect();
    Status::unimplemented(if methods.is_empty() {
        format!("there is no service {service}; there are: {}", known.join(", "))
    } else {
        format!("{service} has no method {name}; it has: {}", methods.join(", "))
    })
}

fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>().map(|period| period.0)
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::write_status;

    #[test]
    fn a_servers_words_do_not_drive_the_terminal() {
        let mut out = Vec::new();
        write_status(&Status::new(Code::NotFound, "no\u{1b}[2Jthing\nhere"), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NotFound: no\u{fffd}[2Jthing\nhere\n");
    }
}
