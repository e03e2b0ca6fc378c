//! What the encoder knows of a name before it has seen a value: where the static table has it, and whether its values may go
//! into the dynamic table. One look into a table laid out at compile time answers both.

use crate::hash::hash;
use crate::static_table::STATIC;

/// What may be done with the values of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Index a value that repeats.
    Watch,
    /// Never index: the values differ from call to call, and each would push one that repeats out of the table.
    Once,
    /// Never index, and have no other hop do so: a value that can be guessed by its compressed length is worth a theft
    /// (RFC 7541 §7.1).
    Secret,
}

/// A name that the encoder knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    name: &'static [u8],
    /// The first index of the name in the static table; 0 where it is not there.
    pub(crate) index: u8,
    /// What may be done with its values.
    pub(crate) policy: Policy,
}

/// Values longer than this are not indexed: they are tokens, blobs and lists, and a few would fill a table of 4 KiB.
pub(crate) const LONGEST_INDEXED: usize = 256;

/// What is known of `name`, whose hash is `hash`.
#[inline]
pub(crate) fn find(name_hash: u64, name: &[u8]) -> Option<&'static Known> {
    let mut slot = slot_of(name_hash);
    loop {
        // The table is a quarter full at most, so an empty slot always ends this.
        let known = &TABLE[slot];
        if known.name == name {
            return (!name.is_empty()).then_some(known);
        }
        if known.name.is_empty() {
            return None;
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Whether a name that is not known is one of gRPC's binary metadata: signatures, traces, details of one call.
#[inline]
pub(crate) fn is_binary(name: &[u8]) -> bool {
    name.ends_with(b"-bin")
}

const SLOTS: usize = 512;

static TABLE: [Known; SLOTS] = layout();

/// Names whose values are not to be watched.
const POLICIES: [(&[u8], Policy); 35] = [
    // Credentials. `-bin` metadata is `Once`: it may hold one, but nobody can tell, and gRPC does not mark it either.
    (b"authorization", Policy::Secret),
    (b"cookie", Policy::Secret),
    (b"set-cookie", Policy::Secret),
    (b"proxy-authorization", Policy::Secret),
    (b"api-key", Policy::Secret),
    (b"x-api-key", Policy::Secret),
    (b"x-goog-api-key", Policy::Secret),
    (b"x-auth-token", Policy::Secret),
    (b"x-amz-security-token", Policy::Secret),
    // gRPC, of one call each.
    (b"grpc-timeout", Policy::Once),
    (b"grpc-message", Policy::Once),
    (b"grpc-previous-rpc-attempts", Policy::Once),
    (b"grpc-retry-pushback-ms", Policy::Once),
    // Correlation: made to be unique.
    (b"x-request-id", Policy::Once),
    (b"x-correlation-id", Policy::Once),
    (b"request-id", Policy::Once),
    (b"traceparent", Policy::Once),
    (b"tracestate", Policy::Once),
    (b"baggage", Policy::Once),
    (b"b3", Policy::Once),
    (b"x-b3-traceid", Policy::Once),
    (b"x-b3-spanid", Policy::Once),
    (b"x-b3-parentspanid", Policy::Once),
    (b"x-cloud-trace-context", Policy::Once),
    (b"x-amzn-trace-id", Policy::Once),
    (b"x-envoy-upstream-service-time", Policy::Once),
    // HTTP, of one resource or moment each.
    (b"age", Policy::Once),
    (b"content-length", Policy::Once),
    (b"content-range", Policy::Once),
    (b"etag", Policy::Once),
    (b"if-match", Policy::Once),
    (b"if-modified-since", Policy::Once),
    (b"if-none-match", Policy::Once),
    (b"last-modified", Policy::Once),
    (b"location", Policy::Once),
];

const fn layout() -> [Known; SLOTS] {
    let mut table = [Known { name: b"", index: 0, policy: Policy::Watch }; SLOTS];
    let mut at = 0;
    while at < STATIC.len() {
        let name = STATIC[at].0;
        let slot = slot_for(&table, name);
        // Only the first of the entries that share a name: the encoder walks on from it.
        if table[slot].name.is_empty() {
            table[slot] = Known { name, index: at as u8 + 1, policy: Policy::Watch };
        }
        at += 1;
    }
    let mut at = 0;
    while at < POLICIES.len() {
        let (name, policy) = POLICIES[at];
        let slot = slot_for(&table, name);
        assert!(!matches!(policy, Policy::Watch) && matches!(table[slot].policy, Policy::Watch), "a name stands twice");
        table[slot] = Known { name, index: table[slot].index, policy };
        at += 1;
    }
    table
}

/// Where `name` stands, or is to stand.
const fn slot_for(table: &[Known; SLOTS], name: &[u8]) -> usize {
    let mut slot = slot_of(hash(0, name));
    while !table[slot].name.is_empty() && !equal(table[slot].name, name) {
        slot = (slot + 1) % SLOTS;
    }
    slot
}

const fn slot_of(name_hash: u64) -> usize {
    (name_hash % SLOTS as u64) as usize
}

/// `==` of slices is not for compile time yet.
const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{POLICIES, Policy, find};
    use crate::hash::hash;
    use crate::static_table::STATIC;

    fn look(name: &[u8]) -> Option<(u8, Policy)> {
        find(hash(0, name), name).map(|known| (known.index, known.policy))
    }

    #[test]
    fn every_static_name_is_found_at_its_first_index() {
        for (name, _) in STATIC {
            let first = STATIC.iter().position(|(other, _)| *other == name).unwrap();
            assert_eq!(look(name).map(|(index, _)| usize::from(index)), Some(first + 1));
        }
        assert_eq!(look(b":status").map(|(index, _)| index), Some(8));
    }

    #[test]
    fn entries_of_one_name_stand_side_by_side() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let last = STATIC.iter().rposition(|(other, _)| other == name).unwrap();
            assert!(STATIC[at..=last].iter().all(|(other, _)| other == name));
        }
    }

    #[test]
    fn policies_hold_and_other_names_are_watched_or_unknown() {
        for (name, policy) in POLICIES {
            assert_eq!(look(name).map(|(_, policy)| policy), Some(policy));
        }
        for name in [&b":path"[..], b":authority", b"content-type", b"user-agent"] {
            assert_eq!(look(name).map(|(_, policy)| policy), Some(Policy::Watch));
        }
        for name in [&b"te"[..], b"grpc-encoding", b"grpc-status", b"", b"x", b"authorizatio"] {
            assert_eq!(look(name), None);
        }
    }
}
