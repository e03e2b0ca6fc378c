//! A stranger's `config_json`: what reaches the core is rebuilt from known keys, whatever was written.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use portunus::registry::Card;

const KNOWN: [&str; 14] = [
    "author",
    "capabilities",
    "deployment",
    "description",
    "documentation_url",
    "execution_cost",
    "extra_metadata",
    "id",
    "kind",
    "name",
    "num_history_sessions",
    "skills",
    "telemetry",
    "version",
];

fuzz_target!(|text: &str| {
    let card = match Card::read(text, 1 << 16, &BTreeSet::new()) {
        Ok(card) => card,
        Err(error) => return assert!(!error.is_empty() && error.len() < 4_096, "{error}"),
    };
    let name = &*card.identity.name;
    assert!(!name.contains(['/', '\\', ':']) && !name.starts_with('.') && name.len() <= 128, "{name:?}");
    assert!(!card.identity.author.contains(':') && !card.identity.author.chars().any(char::is_control));
    assert_eq!(card.identity.id.len(), 36);
    let rebuilt = Card::read(&card.config, usize::MAX, &BTreeSet::new()).expect("what was rebuilt can be read");
    assert_eq!((&rebuilt.identity, &rebuilt.config), (&card.identity, &card.config), "and says the same");
    assert!(rebuilt.dropped.is_empty(), "{:?}", rebuilt.dropped);
    assert!(card.dropped.iter().all(|key| key.len() < 1_024));
    for unknown in ["vault", "auth", "recreate_keys", "storage"] {
        assert!(!KNOWN.contains(&unknown) && !card.config.starts_with(&format!("{{\"{unknown}\"")));
    }
});
