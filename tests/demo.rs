//! The README's first command, as a newcomer runs it.

use std::process::Command;

#[test]
fn demo_once_goes_as_it_should() {
    let output = Command::new(env!("CARGO_BIN_EXE_portunus")).args(["demo", "--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for instance in ["instance-1", "instance-2", "instance-3"] {
        assert!(text.contains(instance), "{text}");
    }
    assert!(text.ends_with("demo: all went as it should\n") && !text.contains('✗'), "{text}");
}
