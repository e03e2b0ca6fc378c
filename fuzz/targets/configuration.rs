//! Whatever a file holds: errors and no panic; and what loads prints to something that loads to the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portunus::config::{Loaded, load_str, render_defaults};
use portunus::{app, filters};

fuzz_target!(|text: &str| {
    let Some(loaded) = read(text) else { return };
    let printed = render_defaults(&loaded.config);
    let again = read(&printed).unwrap_or_else(|| panic!("does not load again:\n{printed}"));
    assert_eq!(again.config, loaded.config, "{printed}");
    // Builds or says why not.
    drop(app::build(&loaded));
});

fn read(text: &str) -> Option<Loaded> {
    match load_str(text, Path::new("fuzz.yaml"), &|name| Some(name.to_lowercase()), filters::ALL) {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            None
        }
    }
}
