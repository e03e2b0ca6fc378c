//! Octets come as they went, whatever the pieces.

use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::pki::{Authority, Folder, localhost};
use crate::{Client, Expected, Stream};

async fn pair(room: usize) -> (Stream<DuplexStream>, Stream<DuplexStream>) {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let client = Client::load(&folder.write("ca", ca.pem()), None, None, SystemTime::now(), None).unwrap();
    let server = localhost(&ca, None);
    let (near, far) = tokio::io::duplex(room);
    let expected = Expected::Host("localhost");
    let (served, connected) = tokio::join!(server.accept(near), client.connect(far, "localhost", expected));
    (served.unwrap().stream, connected.unwrap())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn all_of_it_comes_through_narrow_pipes_and_wide_ones() {
    for room in [1_000, 20_000, 1_000_000] {
        for piece in [1, 100, 16_384, 100_000] {
            let (mut server, mut client) = pair(room).await;
            let sent = pattern(if piece == 1 { 3_000 } else { 700_000 });
            let expected = sent.clone();
            let writing = async move {
                for piece in sent.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                }
                client.shutdown().await.unwrap();
                client
            };
            let reading = async {
                let mut came = Vec::new();
                let mut some = vec![0; 7_000];
                loop {
                    match server.read(&mut some).await.unwrap() {
                        0 => break came,
                        read => came.extend_from_slice(&some[..read]),
                    }
                }
            };
            let (_client, came) = tokio::join!(writing, reading);
            assert!(came == expected, "{room} {piece}: {} of {}", came.len(), expected.len());
        }
    }
}

/// Many small records that came together are one read: each would else be a turn of its own.
#[tokio::test]
async fn what_came_together_is_read_together() {
    let (mut server, mut client) = pair(1_000_000).await;
    let sent = pattern(40_000);
    for piece in sent.chunks(100) {
        client.write_all(piece).await.unwrap();
    }
    client.flush().await.unwrap();
    let mut some = vec![0; 64 * 1024];
    let mut reads = 0;
    let mut came = 0;
    while came < sent.len() {
        came += server.read(&mut some).await.unwrap();
        reads += 1;
    }
    assert!(reads <= 2, "{reads} reads for {came} octets in records of 100");
}

/// An end without a goodbye could be somebody who cut the connection: it is an error and no end.
#[tokio::test]
async fn a_cut_is_no_end() {
    let (mut server, client) = pair(100_000).await;
    drop(client);
    assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let (mut server, mut client) = pair(100_000).await;
    client.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_forged_ends_the_connection() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let client = Client::load(&folder.write("ca", ca.pem()), None, None, SystemTime::now(), None).unwrap();
    let server = localhost(&ca, None);
    let ((near, mut between), (mut other, far)) = (tokio::io::duplex(100_000), tokio::io::duplex(100_000));
    let meeting = async {
        let expected = Expected::Host("localhost");
        tokio::join!(server.accept(near), client.connect(far, "localhost", expected))
    };
    let (served, connected) = tokio::select! {
        met = meeting => met,
        _ = tokio::io::copy_bidirectional(&mut between, &mut other) => panic!("the carrier ended first"),
    };
    let (mut server, mut client) = (served.unwrap().stream, connected.unwrap());
    client.write_all(b"something").await.unwrap();
    client.flush().await.unwrap();
    let mut record = vec![0; 1_000];
    let read = other.read(&mut record).await.unwrap();
    record[read - 1] ^= 1;
    between.write_all(&record[..read]).await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
