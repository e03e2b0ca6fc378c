//! The SEAL gateway: workflows are stored, listed, run step by step; a few CLI tools and APIs exist. Serves reflection
//! and grpc.health.v1. It runs as the real one does with `auth_disabled`: who may call is the proxy's to decide.

mod apis;
mod clis;
mod engine;
mod invocation;
mod schema;
mod workflows;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use portunus_proto::descriptors;
use portunus_proto::seal::gateway_invocation_service_server::GatewayInvocationServiceServer;
use portunus_proto::seal::tool_workflow_service_server::ToolWorkflowServiceServer;

use crate::backend;
use crate::front::Services;
use crate::handle::Handle;
use crate::options::Options;
use crate::seed::Seed;
use crate::server::{self, Running};

use invocation::Invocation;
use workflows::{Stored, Workflows};

/// A running SEAL gateway.
#[derive(Debug)]
pub struct Server {
    running: Running,
    handle: Handle,
}

backend::running!(Server);

impl Server {
    /// Listens and serves in the background.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let handle = Handle::new(&options.behaviour, options.seed);
        let seed = Seed::new(options.seed);
        let stored = Arc::new(Mutex::new(Stored::default()));
        let workflows = ToolWorkflowServiceServer::new(Workflows::new(Arc::clone(&stored), seed.clone()))
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message);
        let invocation = GatewayInvocationServiceServer::new(Invocation::new(stored, seed, options.clock))
            .max_decoding_message_size(options.max_message)
            .max_encoding_message_size(options.max_message);
        let services = backend::with_reflection(Services::new().add(workflows).add(invocation), descriptors::SEAL)?;
        let names = ["aegis.seal_gateway.v1.ToolWorkflowService", "aegis.seal_gateway.v1.GatewayInvocationService"];
        let services = backend::with_health(services, &names).await;
        let running = server::start(options.listen, services.behind(&handle)).await?;
        Ok(Self { running, handle })
    }
}
