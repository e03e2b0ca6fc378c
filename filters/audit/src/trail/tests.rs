use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::{Refused, Trail};
use crate::file::Entry;
use crate::files::Files;
use crate::key::Key;
use crate::scratch::Scratch;

fn entry(event: &str) -> Entry {
    Entry { sync: true, ..Entry::new(format!("\"event\":\"{event}\"").into_bytes()) }
}

fn events(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|line| line["event"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn who_waits_for_a_line_is_told_when_it_is_there() {
    let folder = Scratch::new("trail-told");
    let trail = Arc::new(Trail::new(folder.join("a"), "a".into(), Key::none()));
    assert_eq!(trail.submit(entry("early"), false).unwrap_err(), Refused::Closed);
    trail.open(Duration::from_secs(60)).unwrap();
    let told: Vec<_> = (0..100).map(|_| trail.submit(entry("begin"), false).unwrap()).collect();
    for told in told {
        assert!(told.await.unwrap());
    }
    assert_eq!(events(&folder.join("a")).len(), 101);
    trail.record(entry("end"));
    trail.close().unwrap().join().unwrap();
    assert_eq!(events(&folder.join("a"))[101..], ["end", "stop"]);
    assert_eq!((trail.reading().last, trail.reading().lost), (103, 0));
    trail.record(entry("late"));
    assert_eq!(trail.reading().lost, 1);
}

#[tokio::test]
async fn silence_is_marked() {
    let folder = Scratch::new("trail-mark");
    let trail = Trail::new(folder.join("a"), "a".into(), Key::none());
    trail.open(Duration::from_millis(20)).unwrap();
    while trail.reading().last < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(events(&folder.join("a"))[..4], ["open", "mark", "mark", "mark"]);
    trail.close().unwrap().join().unwrap();
}

#[test]
fn filters_that_name_a_file_share_its_writer_and_its_key() {
    let folder = Scratch::new("trail-share");
    let files = Files::default();
    let key = || Key::of(&[7; 32]).unwrap();
    let one = files.declare(&folder.join("a"), "a", key()).unwrap();
    let same = files.declare(&folder.join("../").join(folder.file_name().unwrap()).join("a"), "./a", key()).unwrap();
    assert!(Arc::ptr_eq(&one, &same), "by whatever name");
    for other in [Key::none(), Key::of(&[8; 32]).unwrap()] {
        assert!(files.declare(&folder.join("a"), "a", other).unwrap_err().contains("with another key"));
    }
    assert!(!folder.join("a").exists(), "nothing is opened before all is known to be right");
    assert!(files.declare(&folder.join("none/a"), "none/a", key()).unwrap_err().contains("make it"));
    assert!(files.declare(&folder, "it", key()).unwrap_err().contains("is no file"));
    files.open().unwrap();
    files.open().unwrap();
    assert_eq!(files.reopen(), Vec::<String>::new());
    fs::rename(folder.join("a"), folder.join("old")).unwrap();
    assert_eq!(files.reopen(), Vec::<String>::new());
    assert_eq!(
        (events(&folder.join("old")), events(&folder.join("a"))),
        (vec!["open".into(), "rotated".into()], vec!["open".to_owned()])
    );
    assert_eq!(files.readings()[0].last, 3);
    assert!(files.close(Duration::from_secs(10)));
    drop((one, same));
    assert!(files.readings().is_empty());
    files.declare(&folder.join("a"), "a", Key::none()).unwrap();
}

#[tokio::test]
async fn what_was_lost_is_said_once() {
    let folder = Scratch::new("trail-lost");
    let trail = Trail::new(folder.join("a"), "a".into(), Key::none());
    trail.open(Duration::from_secs(60)).unwrap();
    assert!(trail.submit(entry("one"), false).unwrap().await.unwrap());
    (0..3).for_each(|_| trail.lose());
    for event in ["two", "three"] {
        assert!(trail.submit(entry(event), false).unwrap().await.unwrap());
    }
    assert_eq!(events(&folder.join("a")), ["open", "one", "gap", "two", "three"]);
    assert!(fs::read_to_string(folder.join("a")).unwrap().contains("\"event\":\"gap\",\"lost\":3,"));
    assert_eq!(trail.reading().lost, 3);
    trail.close().unwrap().join().unwrap();
}
