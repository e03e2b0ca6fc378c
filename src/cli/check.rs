//! `portunus check`: builds everything that `run` would build, binds nothing, and prints every error there is. Whom to dial
//! (`--online`), and what that came to, is told by whoever builds.

use std::io::{self, Write};
use std::path::Path;

use filter_api::Known;

use crate::config::{Config, Environment, Errors, Loaded, load, render_defaults};

/// What a bad configuration ends with, in `run` too.
const BAD_CONFIGURATION: u8 = 2;

/// What to check, and how.
pub struct Check<'a> {
    pub file: &'a Path,
    /// Print the configuration with every default filled in, instead of a summary.
    pub defaults: bool,
    pub environment: Environment<'a>,
    pub filters: &'a [Known],
}

/// What was built, in words.
#[derive(Debug, Default)]
pub struct Built {
    /// What works, and would be better otherwise.
    pub warnings: Vec<String>,
    /// Who was reached, where anybody was to be.
    pub reached: Vec<String>,
    /// What those who were dialled, or who were not reached, make wrong.
    pub wrong: Option<Errors>,
}

/// Where to write.
pub struct Output<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

impl Check<'_> {
    /// Checks the file, then lets `build` build what `run` would, and say what is better otherwise. Returns the exit code: 0 or 2.
    ///
    /// # Errors
    /// What the output says, such as a closed pipe.
    pub fn run(&self, build: impl FnOnce(&Loaded) -> Result<Built, Errors>, output: Output<'_>) -> io::Result<u8> {
        let loaded = load(self.file, self.environment, self.filters);
        let built = loaded.and_then(|loaded| build(&loaded).map(|built| (loaded, built)));
        let (loaded, built) = match built {
            Ok(both) => both,
            Err(errors) => {
                writeln!(output.err, "{errors}")?;
                return Ok(BAD_CONFIGURATION);
            }
        };
        if self.defaults {
            output.out.write_all(render_defaults(&loaded.config).as_bytes())?;
        } else {
            for warning in built.warnings {
                writeln!(output.err, "warning: {warning}")?;
            }
            for reached in built.reached {
                writeln!(output.out, "{reached}")?;
            }
        }
        if let Some(errors) = built.wrong {
            writeln!(output.err, "{errors}")?;
            return Ok(BAD_CONFIGURATION);
        }
        if !self.defaults {
            writeln!(output.out, "{}: ok ({})", self.file.display(), summary(&loaded.config))?;
        }
        Ok(0)
    }
}

fn summary(config: &Config) -> String {
    let routes = config.listeners.values().map(|listener| listener.routes.len()).sum();
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let parts =
        [count(config.listeners.len(), "listener"), count(routes, "route"), count(config.clusters.len(), "cluster")];
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        file: &Path,
        defaults: bool,
        build: impl FnOnce(&Loaded) -> Result<Built, Errors>,
    ) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let check = Check { file, defaults, environment: &|_| None, filters: &[] };
        let code = check.run(build, Output { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn sample() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config/endpoints.yaml")
    }

    #[test]
    fn says_ok_and_what_there_is() {
        let (code, out, err) = check(&sample(), false, |_| Ok(Built::default()));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.ends_with("config/endpoints.yaml: ok (1 listener, 2 routes, 2 clusters)\n"), "{out}");
    }

    #[test]
    fn prints_every_default() {
        let (code, out, _) = check(&sample(), true, |_| Ok(Built::default()));
        assert_eq!(code, 0);
        assert!(out.contains("balance: least_request") && out.contains("handshake: 10s"), "{out}");
    }

    #[test]
    fn shows_what_the_builder_finds() {
        let refuse = |loaded: &Loaded| {
            let path = crate::path!["listeners", "edge", "routes", 0, "cluster"];
            Err(loaded.source.errors(vec![loaded.source.error_at(&path, "the builder does not like this")]))
        };
        let (code, out, err) = check(&sample(), false, refuse);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(": listeners.edge.routes[0].cluster: the builder does not like this\n"), "{err}");
    }

    #[test]
    fn warnings_are_told_and_change_nothing() {
        let (code, out, err) =
            check(&sample(), false, |_| Ok(Built { warnings: vec!["this is unwise".into()], ..Built::default() }));
        assert_eq!((code, err.as_str()), (0, "warning: this is unwise\n"));
        assert!(out.contains(": ok ("), "{out}");
    }

    #[test]
    fn a_file_that_is_not_there() {
        let (code, _, err) = check(Path::new("/no/such.yaml"), false, |_| Ok(Built::default()));
        assert_eq!(code, 2);
        assert!(err.starts_with("/no/such.yaml: cannot be read: "), "{err}");
    }
}
