//! The examples of RFC 7541 Appendix C, and the rules of its sections one by one. C.1 (integers) is in `src/integer.rs`.

mod support;

use hpack::{Bounds, Decoder, Encoder, Error, Field, Outcome};
use support::{Owned, decode, hex};

/// Decodes the blocks in a row by one decoder with a table of `table` bytes, and compares each list.
fn check(table: usize, blocks: &[(&str, &[(&str, &str)])]) {
    let mut decoder = Decoder::new();
    if table != hpack::INITIAL_TABLE_SIZE {
        decoder.set_table_size(table);
        assert_eq!(decode(&mut decoder, &update(table)), Ok(vec![]));
    }
    for (block, fields) in blocks {
        let wanted = fields.iter().map(|(name, value)| Owned::new(name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(decode(&mut decoder, &hex(block)), Ok(wanted), "{block}");
    }
}

/// The octets of a dynamic table size update.
fn update(size: usize) -> Vec<u8> {
    let mut out = vec![0x3f];
    let mut rest = size - 31;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn c_2_literals_and_an_index() {
    check(
        4096,
        &[
            ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &[("custom-key", "custom-header")]),
            // It was indexed.
            ("be", &[("custom-key", "custom-header")]),
        ],
    );
    check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")])]);
    check(4096, &[("82", &[(":method", "GET")])]);
    let mut decoder = Decoder::new();
    let list = decode(&mut decoder, &hex("1008 7061 7373 776f 7264 0673 6563 7265 74")).unwrap();
    assert_eq!(list, [Owned { never_indexed: true, ..Owned::new(b"password", b"secret") }]);
    assert_eq!(decode(&mut decoder, &hex("be")), Err(Error::IndexOutOfRange), "it was not indexed");
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

#[test]
fn c_3_requests() {
    check(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0]),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1]),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUESTS[2]),
        ],
    );
}

#[test]
fn c_4_requests_with_huffman_coding() {
    check(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0]),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1]),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2]),
        ],
    );
}

const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const RESPONSES: [&[(&str, &str)]; 3] = [
    &[(":status", "302"), ("cache-control", "private"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT"), LOCATION],
    &[(":status", "307"), ("cache-control", "private"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT"), LOCATION],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        LOCATION,
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
];

#[test]
fn c_5_responses_with_eviction() {
    check(256, &[
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
             474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            RESPONSES[0],
        ),
        ("4803 3330 37c1 c0bf", RESPONSES[1]),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            RESPONSES[2],
        ),
    ]);
}

#[test]
fn c_6_responses_with_huffman_coding_and_eviction() {
    check(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1]),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSES[2],
            ),
        ],
    );
}

#[test]
fn indices_beyond_both_tables_are_refused() {
    for (block, error) in [
        ("80", Error::IndexZero),
        ("be", Error::IndexOutOfRange),
        ("ff00", Error::IndexOutOfRange),
        ("7f00 0161", Error::IndexOutOfRange),
        ("0f2f 0161", Error::IndexOutOfRange),
        ("ffff ffff ff0f", Error::IntegerOverflow),
        ("ff80 8080 8080 00", Error::IntegerOverflow),
        ("ff", Error::Truncated),
        ("40", Error::Truncated),
        ("4003 6162", Error::Truncated),
        ("4001 61", Error::Truncated),
        ("4001 617f ffff ff07 00", Error::Truncated),
    ] {
        assert_eq!(decode(&mut Decoder::new(), &hex(block)), Err(error), "{block}");
    }
}

#[test]
fn updates_stand_at_the_start_and_within_our_setting() {
    let mut decoder = Decoder::new();
    assert_eq!(decode(&mut decoder, &hex("20 3fe11f 82")).map(|list| list.len()), Ok(1), "0, then 4096");
    assert_eq!(decode(&mut Decoder::new(), &hex("3fe21f 82")), Err(Error::UpdateTooLarge), "4097");
    assert_eq!(decode(&mut Decoder::new(), &hex("82 20")), Err(Error::UpdateNotFirst));
    decoder.set_table_size(8192);
    assert_eq!(decode(&mut decoder, &update(8192)), Ok(vec![]));
}

#[test]
fn an_update_is_owed_after_the_setting_went_below_the_table() {
    let ready = |sizes: &[usize]| {
        let mut decoder = Decoder::new();
        sizes.iter().for_each(|size| decoder.set_table_size(*size));
        decoder
    };
    assert_eq!(decode(&mut ready(&[100]), &hex("82")), Err(Error::UpdateMissing));
    assert_eq!(decode(&mut ready(&[100]), &[&update(100)[..], &[0x82]].concat()).map(|list| list.len()), Ok(1));
    assert_eq!(decode(&mut ready(&[100]), &update(101)), Err(Error::UpdateTooLarge));
    // It went down and up: the lowest must come first, and then any.
    assert_eq!(decode(&mut ready(&[100, 4096]), &update(4096)), Err(Error::UpdateMissing));
    assert_eq!(decode(&mut ready(&[100, 4096]), &[update(100), update(4096)].concat()), Ok(vec![]));
    assert_eq!(decode(&mut ready(&[50, 100]), &update(100)), Err(Error::UpdateMissing));
    // Once paid, nothing is owed; nor is it while the setting is not below the table.
    let mut decoder = ready(&[100]);
    assert_eq!(decode(&mut decoder, &update(50)), Ok(vec![]));
    decoder.set_table_size(60);
    assert_eq!(decode(&mut decoder, &hex("82")).map(|list| list.len()), Ok(1));
    // A block without octets pays nothing, and owes nothing.
    let mut decoder = ready(&[100]);
    assert_eq!(decode(&mut decoder, &[]), Ok(vec![]));
    assert_eq!(decode(&mut decoder, &hex("82")), Err(Error::UpdateMissing));
}

#[test]
fn a_list_beyond_the_bound_is_cut_and_the_table_stays_right() {
    let mut decoder = Decoder::new();
    let bounds = Bounds { list: 43 + 44, abort: 500 };
    // :method GET (42), then two fields that enter the table (34 each), then a large one that does too.
    let mut block = hex("82 4001 6101 31 4001 6201 32 4001 63 7f01");
    block.extend([b'x'; 128]);
    let mut names = Vec::new();
    let outcome = decoder.decode(&block, bounds, |field| names.push(field.name.to_vec()));
    assert_eq!(outcome, Ok(Outcome::TooLarge { size: 42 + 34 + 34 + 161 }));
    assert_eq!(names, [&b":method"[..], b"a"], "b would be one too many");
    let list = decode(&mut decoder, &hex("be bf c0")).unwrap();
    assert_eq!(list, [Owned::new(b"c", &[b'x'; 128]), Owned::new(b"b", b"2"), Owned::new(b"a", b"1")]);
    // The same again and again, an octet each, until it is not worth it any more.
    let bomb = |times| [0xbe].repeat(times);
    assert_eq!(decoder.decode(&bomb(3), bounds, |_| {}), Ok(Outcome::TooLarge { size: 3 * 161 }));
    assert_eq!(decoder.decode(&bomb(4), bounds, |_| {}), Err(Error::ListTooLarge));
}

#[test]
fn exactly_at_the_bound_is_complete() {
    let bounds = Bounds { list: 42 + 44, abort: 42 + 44 };
    let outcome = Decoder::new().decode(&hex("8287"), bounds, |_| {});
    assert_eq!(outcome, Ok(Outcome::Complete { size: 42 + 44 }), ":method GET and :scheme https");
    assert_eq!(Decoder::new().decode(&hex("82 87 88"), bounds, |_| {}), Err(Error::ListTooLarge));
}

/// The block of one list.
fn block(encoder: &mut Encoder, fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    fields.iter().for_each(|field| block.push(*field));
    out
}

#[test]
fn what_repeats_is_an_octet_from_its_third_time_on() {
    let mut encoder = Encoder::default();
    let head = [
        Field::new(b":method", b"POST"),
        Field::new(b":path", b"/pkg.Service/Method"),
        Field::new(b"content-type", b"application/grpc"),
        Field::new(b"te", b"trailers"),
    ];
    let sizes: Vec<usize> = (0..4).map(|_| block(&mut encoder, &head).len()).collect();
    assert_eq!(sizes[2..], [4, 4]);
    assert!(sizes[0] > 30 && sizes[1] > 30, "{sizes:?}");
}

#[test]
fn a_field_that_no_table_holds_does_not_empty_it() {
    let mut encoder = Encoder::default();
    encoder.set_peer_table_size(60);
    let (small, large) = (Field::new(b"te", b"trailers"), Field::new(b"x-large", &[b'v'; 30]));
    for _ in 0..3 {
        block(&mut encoder, &[small, large]);
    }
    assert_eq!(block(&mut encoder, &[small]), hex("be"));
}

#[test]
fn a_string_is_coded_where_a_table_keeps_it_and_that_is_shorter() {
    let mut encoder = Encoder::default();
    assert_eq!(block(&mut encoder, &[Field::new(b"age", b"100")]), hex("0f06 03 313030"), "no table keeps it");
    for (value, entering) in [(&b"10"[..], "7c 02 3130"), (b"100", "7c 82 0801"), (b"\xff\xfe", "7c 02 fffe")] {
        assert_eq!(block(&mut encoder, &[Field::new(b"via", value)])[..2], hex("0f2d"), "seen for the first time");
        assert_eq!(block(&mut encoder, &[Field::new(b"via", value)]), hex(entering));
    }
}

#[test]
fn secrets_and_what_is_unique_never_enter_a_table() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::new();
    let long = [b'v'; 257];
    for _ in 0..5 {
        for (field, first, never) in [
            (Field::new(b"authorization", b"Bearer x"), 0x1f, true),
            (Field::new(b"cookie", b"a=b"), 0x1f, true),
            (Field::new(b"set-cookie", b"a=b"), 0x1f, true),
            (Field::new(b"proxy-authorization", b"Basic x"), 0x1f, true),
            (Field::never_indexed(b"content-type", b"application/grpc"), 0x1f, true),
            // What the static table has whole stays a literal too.
            (Field::never_indexed(b":method", b"POST"), 0x12, true),
            (Field::new(b"x-trace-bin", b"AAEC"), 0x00, false),
            (Field::new(b"grpc-status-details-bin", b"AAEC"), 0x00, false),
            (Field::new(b"grpc-timeout", b"1S"), 0x00, false),
            (Field::new(b"x-request-id", b"1"), 0x00, false),
            (Field::new(b"traceparent", b"00-1-2-01"), 0x00, false),
            (Field::new(b"x-long", &long), 0x00, false),
        ] {
            let bytes = block(&mut encoder, &[field]);
            assert_eq!(bytes[0], first, "{field:?}");
            let list = decode(&mut decoder, &bytes).unwrap();
            assert_eq!(list, [Owned { never_indexed: never, ..field.into() }]);
        }
    }
}

#[test]
fn a_change_of_the_peers_setting_opens_the_next_block() {
    let mut encoder = Encoder::default();
    let get = [Field::new(b":method", b"GET")];
    assert_eq!(block(&mut encoder, &get), hex("82"), "nothing to say at the start");
    encoder.set_peer_table_size(65_536);
    assert_eq!(block(&mut encoder, &get), hex("82"), "more than the cap is no change");
    encoder.set_peer_table_size(100);
    assert_eq!(block(&mut encoder, &get), hex("3f45 82"));
    assert_eq!(block(&mut encoder, &get), hex("82"), "once");
    encoder.set_peer_table_size(0);
    encoder.set_peer_table_size(4096);
    assert_eq!(block(&mut encoder, &get), hex("20 3fe11f 82"), "the lowest, then the last");
    encoder.set_peer_table_size(8192);
    assert_eq!(block(&mut encoder, &get), hex("82"));
    assert_eq!(block(&mut Encoder::new(0), &get), hex("20 82"), "a cap below the initial size is a change");
}

#[test]
fn debug_shows_no_value() {
    let shown = format!("{:?}", Field::new(b"authorization", b"Bearer secret"));
    assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
    let (mut decoder, mut encoder, mut out) = (Decoder::new(), Encoder::default(), Vec::new());
    for _ in 0..3 {
        encoder.block(&mut out).push(Field::new(b"x-a", b"secret"));
    }
    assert_eq!(decode(&mut decoder, &out).map(|list| list.len()), Ok(3));
    // Vectors of octets print as `[115, 101, ...`.
    let shown = format!("{decoder:?} {encoder:?}");
    assert!(!shown.contains("115, 101") && !shown.contains("secret"), "{shown}");
}
