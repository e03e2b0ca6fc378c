//! What the backends other than Bindu's have in common: reflection (v1 and v1alpha), grpc.health.v1, and the methods of
//! a running server.

use std::io;

use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::front::Services;

/// Adds reflection of these descriptors, in both versions of the protocol.
///
/// # Errors
/// The descriptors do not decode: a fault of this build.
pub(crate) fn with_reflection(services: Services, descriptors: &'static [u8]) -> io::Result<Services> {
    let builder = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(descriptors);
    let v1 = builder().build_v1().map_err(io::Error::other)?;
    let v1alpha = builder().build_v1alpha().map_err(io::Error::other)?;
    Ok(services.add(v1).add(v1alpha))
}

/// Adds grpc.health.v1, with the server as a whole and each of these services SERVING.
pub(crate) async fn with_health(services: Services, names: &[&str]) -> Services {
    let reporter = HealthReporter::new();
    for name in names {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    services.add(tonic_health::pb::health_server::HealthServer::new(HealthService::from_health_reporter(reporter)))
}

/// The methods that every running server has.
macro_rules! running {
    ($server:ty) => {
        impl $server {
            /// Where it listens.
            pub fn address(&self) -> ::std::net::SocketAddr {
                self.running.address()
            }

            /// Knobs and counters.
            pub fn handle(&self) -> $crate::handle::Handle {
                self.handle.clone()
            }

            /// Stops listening, waits a few seconds for open calls.
            pub async fn shutdown(self) {
                self.running.shutdown().await;
            }

            /// Drops the listener and every connection, as kill -9 would; returns once the port is free.
            pub async fn kill(self) {
                self.running.killed().await;
            }
        }
    };
}
pub(crate) use running;
