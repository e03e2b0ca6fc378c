//! Writes all counters in Prometheus' text format or in OpenMetrics, for `/metrics`. The only file that knows metric
//! names and labels; prometheus-client does the escaping and the syntax.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::cells::{Histogram, Words};
use super::listeners::ListenerMetrics;
use super::methods::MethodMetrics;
use super::process::Process;
use super::upstream::{ClusterMetrics, ConnectionState};

/// Which text a scraper asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which every scraper reads.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// How many instances of a cluster are in a state. Counted by the registry at the scrape, not kept here: a gauge that
/// is moved by events drifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceCount {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// `new`, `healthy`, `unhealthy` or `lost`.
    pub state: &'static str,
    /// How many.
    pub count: u64,
}

/// How old the keys of an issuer are. Looked at when it is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyAge {
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// Since they were fetched; as long as they never were, since they have been asked for.
    pub seconds: f64,
}

/// An audit file, at the scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFile {
    /// As the configuration has it.
    pub file: String,
    /// The number of its last line.
    pub last: u64,
    /// Lines that could not be written.
    pub lost: u64,
    /// Whether it cannot be written now.
    pub failing: bool,
}

/// What is counted at the scrape, by others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Instances.
    pub instances: Vec<InstanceCount>,
    /// Keys of issuers.
    pub keys: Vec<KeyAge>,
    /// Audit files.
    pub audit: Vec<AuditFile>,
}

impl Metrics {
    /// All series as text. Fails only if a formatter of the library does, which is a bug.
    pub fn expose(self: &Arc<Self>, format: Format, seen: Seen) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { metrics: Arc::clone(self), seen }));
        let mut out = String::with_capacity(64 * 1024);
        match format {
            Format::OpenMetrics => text::encode(&mut out, &registry)?,
            Format::Prometheus => {
                text::encode_registry(&mut out, &registry)?;
                out = classic(&out);
            }
        }
        Ok(out)
    }
}

/// OpenMetrics as Prometheus' older format: there a counter is declared under its full name, with `_total`, and a
/// declaration without it would leave the counter untyped.
fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(help) = line.strip_prefix("# HELP ") else {
            out.extend([line, "\n"]);
            continue;
        };
        let (name, text) = help.split_once(' ').unwrap_or((help, ""));
        let kind = lines.next_if(|next| next.starts_with("# TYPE ")).and_then(|next| next.rsplit(' ').next());
        let suffix = if kind == Some("counter") { "_total" } else { "" };
        out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
        out.extend(["# TYPE ", name, suffix, " ", kind.unwrap_or("untyped"), "\n"]);
    }
    out
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    seen: Seen,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        let metrics = &self.metrics;
        write_methods(&mut sheet, &metrics.methods.all())?;
        write_listeners(&mut sheet, &metrics.listeners.all())?;
        let clusters = metrics.clusters.all();
        write_upstream(&mut sheet, &clusters, &self.seen.instances)?;
        write_registrar(&mut sheet, &clusters)?;
        write_schemas(&mut sheet, &clusters)?;
        write_keys(&mut sheet, &self.seen.keys)?;
        write_audit(&mut sheet, &self.seen.audit)?;
        write_whole(&mut sheet, metrics)?;
        write_process(&mut sheet, &Process::look(metrics.started))
    }
}

fn write_methods(sheet: &mut Sheet<'_>, all: &[Arc<MethodMetrics>]) -> fmt::Result {
    // A method that was never called has nothing to say; the contracts alone would be a thousand lines of zeros.
    let called: Vec<&MethodMetrics> = all.iter().map(Arc::as_ref).filter(|method| method.started.value() > 0).collect();

    let mut family = sheet.counter("grpc_server_started", "Calls that began, refused ones included")?;
    called.iter().try_for_each(|method| family.count(&labels(method), method.started.value()))?;

    let mut family = sheet.counter("grpc_server_handled", "Calls that ended, by status")?;
    for method in &called {
        let labels = labels(method);
        for (code, count) in method.handled.seen() {
            family.count(&(labels, [("grpc_code", code.as_camel())]), count)?;
        }
    }

    let mut family = sheet.histogram("grpc_server_handling_seconds", "Time from a call's head to its status")?;
    called.iter().try_for_each(|method| family.spread(&labels(method), &method.seconds))?;

    let mut family = sheet.counter("grpc_server_msg_received", "Messages that came from callers")?;
    called.iter().try_for_each(|method| family.count(&labels(method), method.received.value()))?;

    let mut family = sheet.counter("grpc_server_msg_sent", "Messages that went to callers")?;
    called.iter().try_for_each(|method| family.count(&labels(method), method.sent.value()))
}

fn labels(method: &MethodMetrics) -> [(&'static str, &str); 3] {
    [("grpc_service", &method.service), ("grpc_method", &method.method), ("grpc_type", method.kind.label())]
}

fn write_listeners(sheet: &mut Sheet<'_>, all: &[Arc<ListenerMetrics>]) -> fmt::Result {
    let mut family = sheet.counter("portunus_refused", "Calls that Portunus itself refused")?;
    for listener in all {
        for (reason, count) in listener.refused.seen() {
            family.count(&[("reason", reason), ("listener", &*listener.name)], count)?;
        }
    }
    let mut family =
        sheet.counter("portunus_http2_limits", "Connections of callers that were ended over a limit of HTTP/2")?;
    for listener in all {
        for (limit, count) in listener.limited.seen() {
            family.count(&[("limit", limit), ("listener", &*listener.name)], count)?;
        }
    }
    let mut family = sheet.gauge("portunus_open_connections", "Connections from callers that are open")?;
    all.iter().try_for_each(|listener| {
        family.level(&[("listener", &*listener.name)], signed(listener.open_connections() as u64))
    })
}

fn write_upstream(sheet: &mut Sheet<'_>, clusters: &[Arc<ClusterMetrics>], instances: &[InstanceCount]) -> fmt::Result {
    let mut family = sheet.counter("portunus_upstream_calls", "Tries that ended, by instance and status")?;
    for cluster in clusters {
        for instance in cluster.instances.all() {
            for (code, count) in instance.codes.seen() {
                let labels = [("cluster", &*cluster.name), ("instance", &*instance.name), ("code", code.as_camel())];
                family.count(&labels, count)?;
            }
        }
    }

    let mut family = sheet.histogram("portunus_upstream_call_seconds", "Time from sending a try to its status")?;
    clusters.iter().try_for_each(|cluster| family.spread(&[("cluster", &*cluster.name)], &cluster.seconds))?;

    let mut family = sheet.gauge("portunus_upstream_connections", "Connections to instances")?;
    for cluster in clusters {
        for state in ConnectionState::ALL {
            let labels = [("cluster", &*cluster.name), ("state", state.label())];
            family.level(&labels, signed(cluster.connections(state) as u64))?;
        }
    }

    let mut family = sheet.gauge("portunus_instances", "Instances by state")?;
    instances.iter().try_for_each(|counted| {
        family.level(&[("cluster", &*counted.cluster), ("state", counted.state)], signed(counted.count))
    })?;

    words(sheet, clusters, ("portunus_retries", "Tries that were repeated"), "why", |cluster| &cluster.retries)?;
    let mut family =
        sheet.counter("portunus_hash_without_key", "Calls without a key to clusters that choose instances by one")?;
    let mut keyless = clusters.iter().filter(|cluster| cluster.keyless.value() > 0);
    keyless.try_for_each(|cluster| family.count(&[("cluster", &*cluster.name)], cluster.keyless.value()))?;
    let family = ("portunus_upstream_http2_limits", "Connections to instances that were ended over a limit of HTTP/2");
    words(sheet, clusters, family, "limit", |cluster| &cluster.limited)?;
    let mut family = sheet
        .counter("portunus_upstream_heads_cut", "Heads and trailers of answers that lost fields, being too large")?;
    let mut cut = clusters.iter().filter(|cluster| cluster.heads_cut.value() > 0);
    cut.try_for_each(|cluster| family.count(&[("cluster", &*cluster.name)], cluster.heads_cut.value()))
}

fn write_registrar(sheet: &mut Sheet<'_>, clusters: &[Arc<ClusterMetrics>]) -> fmt::Result {
    let family = ("portunus_registrations", "RegisterAgent calls that were answered");
    words(sheet, clusters, family, "result", |cluster| &cluster.registrations)?;
    let family = ("portunus_heartbeats", "Heartbeat calls that were answered");
    words(sheet, clusters, family, "result", |cluster| &cluster.heartbeats)?;
    let family = ("portunus_unregistrations", "UnregisterAgent calls that were answered");
    words(sheet, clusters, family, "result", |cluster| &cluster.unregistrations)?;
    let family = ("portunus_core_forwards", "Registrations that were forwarded to a core");
    words(sheet, clusters, family, "result", |cluster| &cluster.forwards)?;
    let family = ("portunus_health_checks", "Health checks of registered instances");
    words(sheet, clusters, family, "result", |cluster| &cluster.checks)?;
    let family = ("portunus_state_writes", "Changes of a registry that were, or were not, written to disk");
    words(sheet, clusters, family, "result", |cluster| &cluster.writes)
}

fn write_schemas(sheet: &mut Sheet<'_>, clusters: &[Arc<ClusterMetrics>]) -> fmt::Result {
    let family = ("portunus_schema_fetches", "Instances that were asked for their schema");
    words(sheet, clusters, family, "result", |cluster| &cluster.schema_fetches)?;
    let mut family = sheet.gauge("portunus_schema_digest_info", "Schemas that instances have; always 1")?;
    for cluster in clusters {
        for schema in cluster.schema_digests.all() {
            family.level(&[("cluster", &*cluster.name), ("digest", &*schema.digest)], 1i64)?;
        }
    }
    let family = "portunus_schema_incompatible";
    let mut family = sheet.gauge(family, "Methods of which instances get no calls, over their schema")?;
    for cluster in clusters {
        let count = cluster.schema_incompatible.load(Ordering::Relaxed);
        if count > 0 || !cluster.schema_digests.all().is_empty() {
            family.level(&[("cluster", &*cluster.name)], signed(count as u64))?;
        }
    }
    Ok(())
}

fn write_audit(sheet: &mut Sheet<'_>, files: &[AuditFile]) -> fmt::Result {
    let mut family = sheet.gauge("portunus_audit_last_number", "The number of the last line of an audit file")?;
    files.iter().try_for_each(|audit| family.level(&[("file", audit.file.as_str())], signed(audit.last)))?;
    let mut family = sheet.gauge("portunus_audit_failing", "Whether an audit file cannot be written")?;
    files.iter().try_for_each(|audit| family.level(&[("file", audit.file.as_str())], i64::from(audit.failing)))?;
    let mut family = sheet.counter("portunus_audit_lost", "Audit lines that could not be written")?;
    files.iter().try_for_each(|audit| family.count(&[("file", audit.file.as_str())], audit.lost))
}

/// A counter with the labels `cluster` and one word.
fn words(
    sheet: &mut Sheet<'_>,
    clusters: &[Arc<ClusterMetrics>],
    (name, help): (&'static str, &str),
    label: &'static str,
    pick: impl Fn(&ClusterMetrics) -> &Words,
) -> fmt::Result {
    let mut family = sheet.counter(name, help)?;
    for cluster in clusters {
        for (word, count) in pick(cluster).seen() {
            family.count(&[("cluster", &*cluster.name), (label, word)], count)?;
        }
    }
    Ok(())
}

fn write_keys(sheet: &mut Sheet<'_>, keys: &[KeyAge]) -> fmt::Result {
    let help = "Time since the keys of an issuer were fetched; as long as they never were, since they are asked for";
    let mut family = sheet.gauge("portunus_jwks_age_seconds", help)?;
    keys.iter().try_for_each(|age| family.level(&[("issuer", &*age.issuer)], age.seconds))
}

fn write_whole(sheet: &mut Sheet<'_>, metrics: &Metrics) -> fmt::Result {
    let generation = metrics.generation.load(Ordering::Relaxed);
    sheet
        .gauge("portunus_config_generation", "Configurations that came into force since the start")?
        .sole_level(signed(generation))?;
    let [failed, applied] = &metrics.reloads;
    let mut reloads =
        sheet.counter("portunus_config_reloads", "Configurations that were to replace the one in force")?;
    for (result, reloads_of) in [("applied", applied), ("failed", failed)] {
        reloads.count(&[("result", result)], reloads_of.value())?;
    }
    sheet.gauge("portunus_open_calls", "Calls that are open")?.sole_level(signed(metrics.open_calls() as u64))?;
    sheet
        .counter(
            "portunus_access_log_dropped",
            "Access log lines that were lost, because the file was too slow or full",
        )?
        .sole_count(metrics.access_dropped.value())
}

fn write_process(sheet: &mut Sheet<'_>, process: &Process) -> fmt::Result {
    if let Some(bytes) = process.allocated {
        sheet.gauge("portunus_allocated_bytes", "Memory in use by jemalloc's count")?.sole_level(signed(bytes))?;
    }
    if let Some(bytes) = process.resident {
        sheet.gauge("process_resident_memory_bytes", "Resident memory")?.sole_level(signed(bytes))?;
    }
    if let Some(fds) = process.open_fds {
        sheet.gauge("process_open_fds", "Open file descriptors")?.sole_level(signed(fds))?;
    }
    if let Some(fds) = process.max_fds {
        sheet.gauge("process_max_fds", "The most file descriptors that may be open")?.sole_level(signed(fds))?;
    }
    if let Some(seconds) = process.cpu {
        sheet.counter("process_cpu_seconds", "User and system time")?.sole_count(seconds)?;
    }
    sheet.gauge("process_start_time_seconds", "When the process started, since 1970")?.sole_level(process.start)
}

/// The library's gauges are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The page being written: hands out one family at a time.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// `name` without `_total`, which the encoder adds.
    fn counter<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter).map(Family)
    }

    fn gauge<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge).map(Family)
    }

    fn histogram<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Histogram).map(Family)
    }
}

/// One family being written: each call adds a series.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn count(&mut self, labels: &impl EncodeLabelSet, value: impl EncodeCounterValue) -> fmt::Result {
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn level(&mut self, labels: &impl EncodeLabelSet, value: impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    /// The family's only series, without labels. Not an empty label set: that prints `{}`, which is legal and which
    /// scripts that look for `name value` miss.
    fn sole_count(&mut self, value: impl EncodeCounterValue) -> fmt::Result {
        self.0.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn sole_level(&mut self, value: impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_gauge(&value)
    }

    fn spread(&mut self, labels: &impl EncodeLabelSet, histogram: &Histogram) -> fmt::Result {
        let reading = histogram.read();
        self.0.encode_family(labels)?.encode_histogram::<NoLabelSet>(reading.sum, reading.count, &reading.buckets, None)
    }
}
