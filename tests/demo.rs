//! The README's first command, as a newcomer runs it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn demo_once_goes_as_it_should() {
    let output = Command::new(env!("CARGO_BIN_EXE_portunus")).args(["demo", "--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for instance in ["instance-1", "instance-2", "instance-3"] {
        assert!(text.contains(instance), "{text}");
    }
    for reason in ["token_missing", "token_expired", "token_signature", "denied", "peer"] {
        assert!(text.contains(reason), "{text}");
    }
    assert!(text.ends_with("demo: all went as it should\n") && !text.contains('✗'), "{text}");
}

#[test]
fn what_the_demo_says_to_paste_does_what_it_says() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_portunus")).arg("demo").stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let shell = |command: &str| Command::new("sh").args(["-c", command]).output().unwrap();
    let calls: Vec<_> = said.iter().filter(|line| line.contains(" call --")).map(|line| shell(line)).collect();
    let codes: Vec<_> = calls.iter().map(|output| output.status.code()).collect();
    let looks: Vec<_> = said.iter().filter(|line| line.trim_start().starts_with("curl")).cloned().collect();
    let folder = said.iter().find_map(|line| line.split_whitespace().find_map(|word| word.strip_suffix("/ca.pem")));
    let folder = std::path::PathBuf::from(folder.unwrap());
    assert!(folder.exists());
    // Ctrl-C, as it is pressed.
    shell(&format!("kill -INT {}", demo.id()));
    assert!(demo.wait().unwrap().success());
    // It passes; without a token nobody is told of a schema, and hears why; who may not call the service is not told of it; no connection
    // without a certificate.
    assert_eq!(codes, [Some(0), Some(16), Some(12), Some(14)], "{said:#?}\n{calls:#?}");
    assert!(String::from_utf8_lossy(&calls[0].stdout).contains("\"content\""), "{calls:#?}");
    assert_eq!(looks.len(), 7, "{said:#?}");
    assert!(!folder.exists(), "what was thrown away is gone");
}
