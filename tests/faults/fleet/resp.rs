//! Where one value of Redis's protocol (RESP 2 and 3) ends, and whether it is a message of a topic.
//! Never what a value means beyond that.

/// The length of the value at the start of these bytes; `None` if it is not all there yet.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let end = line(bytes)?;
    let text = std::str::from_utf8(bytes.get(1..end - 2)?).ok()?;
    // Null, and what is streamed (which Redis 7 does not send), counts as having no parts.
    let count = usize::try_from(text.parse::<i64>().unwrap_or(-1)).ok();
    match bytes[0] {
        b'$' | b'!' | b'=' => match count {
            Some(count) => Some(end + count + 2).filter(|end| *end <= bytes.len()),
            None => Some(end),
        },
        b'*' | b'>' | b'~' => parts(bytes, end, count.unwrap_or(0)),
        b'%' => parts(bytes, end, 2 * count.unwrap_or(0)),
        // Attributes precede the value that they belong to.
        b'|' => parts(bytes, end, 2 * count.unwrap_or(0) + 1),
        _ => Some(end),
    }
}

fn parts(bytes: &[u8], mut end: usize, count: usize) -> Option<usize> {
    for _ in 0..count {
        end += length(&bytes[end..])?;
    }
    Some(end)
}

/// Where the first line ends, with what ends it.
fn line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|two| two == b"\r\n").map(|at| at + 2)
}

/// Whether a value is something published, on its way to a subscriber.
pub fn is_message(value: &[u8]) -> bool {
    let array = matches!(value.first(), Some(b'*' | b'>'));
    let Some(first) = line(value).filter(|_| array) else { return false };
    [&b"$7\r\nmessage\r\n"[..], b"$8\r\nsmessage\r\n", b"$8\r\npmessage\r\n"]
        .iter()
        .any(|kind| value[first..].starts_with(kind))
}

#[test]
fn values_end_where_they_end() {
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n\r\n\r\n";
    let push = b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    let others: [&[u8]; 9] = [
        b"+OK\r\n",
        b":7\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"_\r\n",
        b"%1\r\n+a\r\n:1\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        b"$7\r\nmessage\r\n",
    ];
    for value in others.into_iter().chain([&message[..], push]) {
        assert_eq!(length(value), Some(value.len()), "{}", value.escape_ascii());
        assert_eq!(length(&[value, b"+next\r\n"].concat()), Some(value.len()), "{}", value.escape_ascii());
        for cut in 0..value.len() {
            assert_eq!(length(&value[..cut]), None, "{} of {cut}", value.escape_ascii());
        }
        assert_eq!(is_message(value), [&message[..], push].contains(&value), "{}", value.escape_ascii());
    }
}
