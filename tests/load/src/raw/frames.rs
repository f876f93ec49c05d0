//! WebSocket frames as a server sees them.

/// Appends one unmasked text frame.
pub fn text_frame(payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match payload.len() {
        n if n < 126 => out.push(n as u8),
        n if n < 65536 => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// One frame from a client, unmasked.
pub struct ClientFrame {
    /// What it says.
    pub payload: Vec<u8>,
    /// Bytes that it took on the wire.
    pub used: usize,
    /// Its opcode.
    pub op: u8,
}

/// The masked frame at the front of `b`, if it is whole; frames above 64 KiB are not read.
pub fn client_frame(b: &[u8]) -> Option<ClientFrame> {
    let (head, len) = match *b.get(1)? & 0x7f {
        126 => (4, u16::from_be_bytes(b.get(2..4)?.try_into().ok()?) as usize),
        127 => return None,
        n => (2, n as usize),
    };
    let used = head + 4 + len;
    let mask = b.get(head..head + 4)?;
    let masked = b.get(head + 4..used)?;
    let payload = masked.iter().enumerate().map(|(i, x)| x ^ mask[i & 3]).collect();
    Some(ClientFrame { payload, used, op: b[0] & 0xf })
}
