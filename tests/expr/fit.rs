//! What is read by field walk is what decoding reads, whatever the sender does.

use portunus::schema::Schema;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::generate::Generator;
use crate::oracle::{Compared, Oracle};
use crate::rounds;
use crate::support::{EDITION, SCHEMA};

fn random_messages_of(schema: &Schema, name: &str, count: u64) {
    let (oracle, kind) = (Oracle::of(schema), schema.message_type(name).unwrap());
    let (mut set, mut decoded_some) = (0, 0);
    for seed in 0..rounds(count) {
        let wire = Generator::new(seed).message(kind, 3);
        // Not every one can be: a value of a map that has another wire type, say.
        let Some(decoded) = oracle.decode(name, &wire) else { panic!("{name} {seed}: {wire:02x?} cannot be decoded") };
        let compared = oracle.compare(schema, name, &wire, &decoded);
        assert_eq!(compared.unreadable, 0, "{name} {seed}");
        (set, decoded_some) = (set + compared.set, decoded_some + 1);
        // And as the decoder would write it.
        let again = decoded.encode_to_vec();
        let canonical = oracle.decode(name, &again).unwrap();
        let compared = oracle.compare(schema, name, &again, &canonical);
        assert_eq!(compared.unreadable, 0, "{name} {seed}, written again");
    }
    // A generator that makes nothing would find nothing.
    assert!(set > 5 * decoded_some, "{name}: {set} in {decoded_some} messages");
}

#[test]
fn a_walk_reads_what_a_decoder_reads() {
    random_messages_of(&SCHEMA, "kinds.Plain", 3000);
}

#[test]
fn a_walk_reads_known_types_as_the_messages_that_they_are() {
    random_messages_of(&SCHEMA, "kinds.Known", 2000);
}

#[test]
fn a_walk_reads_groups_and_closed_enums() {
    random_messages_of(&SCHEMA, "old.Old", 3000);
}

#[test]
fn a_walk_reads_editions() {
    random_messages_of(&EDITION, "edition.New", 3000);
    let kind = EDITION.message_type("edition.New").unwrap();
    assert!(kind.field("inner").unwrap().is_delimited() && kind.field("number").unwrap().has_presence());
}

/// Octets that are nearly a message: there is no panic, and where both can read a field they read the same.
#[test]
fn octets_that_are_broken_are_read_alike_or_not_at_all() {
    let oracle = [Oracle::of(&SCHEMA), Oracle::of(&EDITION)];
    let (mut both, mut refused) = (Compared::default(), 0);
    for seed in 0..rounds(20_000) {
        let mut random = SmallRng::seed_from_u64(seed);
        let at = usize::from(seed % 4 == 3);
        let name = ["kinds.Plain", "kinds.Known", "old.Old", "edition.New"][(seed % 4) as usize];
        let schema = [&SCHEMA, &EDITION][at];
        let mut wire = Generator::new(seed).message(schema.message_type(name).unwrap(), 2);
        for _ in 0..random.random_range(1..4) {
            if wire.is_empty() {
                break;
            }
            let place = random.random_range(0..wire.len());
            match random.random_range(0..4) {
                0 => wire[place] ^= 1 << random.random_range(0..8),
                1 => wire[place] = random.random(),
                2 => wire.truncate(place),
                _ => wire.insert(place, random.random()),
            }
        }
        match oracle[at].decode(name, &wire) {
            Some(decoded) => {
                let compared = oracle[at].compare(schema, name, &wire, &decoded);
                both = Compared { set: both.set + compared.set, unreadable: both.unreadable + compared.unreadable };
            }
            None => refused += 1,
        }
    }
    assert!(both.set > 1000 && refused > 1000, "{both:?}, {refused} refused");
}
