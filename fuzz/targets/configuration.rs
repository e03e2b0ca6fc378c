//! Whatever a file holds: errors and no panic; and what loads prints to something that loads to the same.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portunus::config::{Loaded, Reads, Text, render_defaults};
use portunus::{app, filters};

fuzz_target!(|text: &str| {
    let Some(loaded) = read(text) else { return };
    let printed = render_defaults(&loaded.config);
    let again = read(&printed).unwrap_or_else(|| panic!("does not load again:\n{printed}"));
    assert_eq!(again.config, loaded.config, "{printed}");
    // Builds or says why not.
    drop(app::build(&loaded));
});

static NOTHING: OnceLock<std::io::Result<Reads>> = OnceLock::new();

fn read(text: &str) -> Option<Loaded> {
    // Of files it may read none at all: a line of it may name any that there is.
    let reads = NOTHING.get_or_init(|| Reads::within(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/none").as_path()));
    let Ok(reads) = reads else { panic!("the folder fuzz/seeds/none is missing: {reads:?}") };
    let text = Text { text, name: "fuzz.yaml".to_owned(), file: Path::new("fuzz.yaml"), reads: reads.clone() };
    match text.load(&|name| Some(name.to_lowercase()), filters::ALL) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            None
        }
    }
}
