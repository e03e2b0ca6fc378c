//! `listeners.NAME`: where calls come from, what callers may do, and which filters and routes their calls meet.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::{ListenerTls, Route, Serve, seconds};
use crate::config::net::{Cidr, ListenAddress};
use filter_api::units::{Period, Size};

/// An address that accepts calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// An IP address and a port, or a range of ports (one an agent, see `registry.callback`).
    pub address: ListenAddress,
    /// TLS. Off loopback a listener needs it, or `plaintext: true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Off loopback, `true` says that you know that calls can be read and changed on the way.
    #[serde(default)]
    pub plaintext: bool,
    /// Source addresses that are admitted; others are closed at once. Where a balancer says the source, that one counts. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub from: Option<Vec<Cidr>>,
    /// Balancers that say of each connection where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Proxies that say of each call where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
    /// Services that the listener serves itself, unless a route names them: `reflection`, `health`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serve: Vec<Serve>,
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Run for every call, before the route's; within a phase in this order.
    #[serde(default)]
    pub filters: Vec<FilterUse>,
    /// Who gets which call; the most specific match wins.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
}

/// The PROXY protocol, versions 1 and 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Addresses of the balancers: each of their connections begins with a PROXY header, and nobody else's may.
    #[schemars(length(min = 1))]
    pub from: Vec<Cidr>,
}

/// `x-forwarded-for` and `x-forwarded-proto`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// Addresses of the proxies whose `x-forwarded-*` are believed and passed on; others' are removed.
    #[schemars(length(min = 1))]
    pub trusted: Vec<Cidr>,
}

/// Bounds of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Open connections.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// Open connections from one address (of IPv6: from one /64). Default: none but `connections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connections_per_peer: Option<u32>,
    /// Open calls of one connection.
    #[schemars(range(min = 1))]
    pub streams: u32,
    /// The longest request message.
    pub message: Size,
    /// The longest response message. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_message: Option<Size>,
    /// All headers of a request, as HTTP/2 counts them.
    pub headers: Size,
    /// All messages that policies hold at one time.
    pub buffered: Size,
    /// From accept to the first frame of HTTP/2, with TLS and all.
    pub handshake: Period,
    /// A connection without a call for this long is closed.
    pub idle: Period,
    /// A connection older than this is closed when its calls are done. `0s`: never.
    pub connection_age: Period,
}

/// One filter of a list, as the file has it: a map with the filter's name as its one key. The filter's own
/// configuration has been checked against its schema, and is built by whoever knows the filters.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterUse {
    pub name: String,
    pub config: serde_json::Value,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        const KIB: u64 = 1024;
        Self {
            connections: 10_000,
            connections_per_peer: None,
            streams: 256,
            message: Size(4 * KIB * KIB),
            response_message: None,
            headers: Size(64 * KIB),
            buffered: Size(64 * KIB * KIB),
            handshake: seconds(10),
            idle: seconds(60 * 60),
            connection_age: seconds(0),
        }
    }
}

impl Serialize for FilterUse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.name, &self.config)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for FilterUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneKey)
    }
}

/// `{name: config}`.
struct OneKey;

impl<'de> Visitor<'de> for OneKey {
    type Value = FilterUse;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map with the filter's name as its one key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FilterUse, A::Error> {
        let (name, config) = map.next_entry()?.ok_or_else(|| A::Error::custom("a filter has no name"))?;
        match map.next_key::<String>()? {
            Some(_) => Err(A::Error::custom("a filter has two names")),
            None => Ok(FilterUse { name, config }),
        }
    }
}

impl JsonSchema for FilterUse {
    fn schema_name() -> Cow<'static, str> {
        "FilterUse".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // `schema::compose` puts the known filters here, which this layer does not know.
        json_schema!({ "type": "object" })
    }
}
