//! WebSocket frames as they pass (RFC 6455 section 5), and the channels of exec and attach in them.
//!
//! Nothing is held: a frame of 100 MB is seen in the pieces in which it passes. Whatever stands in a header that the two
//! ends could read in two ways is an error, because what follows it could pass unseen.

/// Where a stream of frames stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// What is left of the payload of the present frame.
    payload: u64,
    /// The bytes of the present frame's header.
    header: [u8; 14],
    /// How many of them have come.
    length: usize,
    /// The key of the present frame's payload, from its next byte on; zeros if it is not masked.
    key: [u8; 4],
    /// The present frame is of a message, not a ping, pong or close.
    is_data: bool,
    /// The present frame is the last of its message.
    is_last: bool,
    /// The first byte of a message's payload is still to come.
    is_new: bool,
    /// Fragments of a message follow.
    is_fragmented: bool,
    /// A close frame has begun: nothing may follow it.
    is_closing: bool,
}

/// Why a stream cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the WebSocket has a form that nobody may use")]
pub(crate) struct Strange;

/// A piece of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) payload: Payload<'a>,
    /// It begins its message.
    pub(crate) is_first: bool,
    /// Nothing of its message follows.
    pub(crate) is_last: bool,
}

/// Bytes of a message as they pass. A client's are masked (RFC 6455, section 5.3), and most of them are never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    masked: &'a [u8],
    /// From the key of the first of these bytes on.
    key: [u8; 4],
}

impl<'a> Payload<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.masked.is_empty()
    }

    fn split_first(self) -> Option<(u8, Self)> {
        let (first, rest) = self.masked.split_first()?;
        let [key, b, c, d] = self.key;
        Some((first ^ key, Self { masked: rest, key: [b, c, d, key] }))
    }

    /// What was sent. Bytes that have to be unmasked are copied to `room`.
    pub(crate) fn plain<'b>(self, room: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.key == [0; 4] {
            return self.masked;
        }
        room.clear();
        room.extend_from_slice(self.masked);
        for word in room.chunks_mut(4) {
            word.iter_mut().zip(self.key).for_each(|(byte, key)| *byte ^= key);
        }
        room
    }
}

/// What passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passing<'a> {
    /// A piece of a message.
    Message(Piece<'a>),
    /// A piece of a ping, a pong or a close.
    Control {
        /// Which one.
        opcode: u8,
        payload: Payload<'a>,
        /// Nothing of it follows.
        is_last: bool,
    },
}

impl Frames {
    /// Whether another message may begin here.
    pub(crate) fn is_between(&self) -> bool {
        self.payload == 0 && self.length == 0 && !self.is_fragmented && !self.is_closing
    }

    /// How many of these bytes, the next ones, belong to the frame that has begun, or to the one that begins with them. All of
    /// them if they cannot be followed.
    pub(crate) fn first_frame(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        for (at, byte) in bytes.iter().enumerate() {
            if ahead.payload > 0 {
                let left = usize::try_from(ahead.payload).unwrap_or(usize::MAX);
                return left.saturating_add(at).min(bytes.len());
            }
            if ahead.take(std::slice::from_ref(byte), |_| ()).is_err() {
                break;
            }
            if ahead.payload == 0 && ahead.length == 0 {
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Takes what passes, and shows what of it belongs to messages.
    ///
    /// # Errors
    /// [`Strange`]; nothing after it can be followed.
    pub(crate) fn take(&mut self, bytes: &[u8], mut show: impl FnMut(Piece<'_>)) -> Result<(), Strange> {
        self.take_each(bytes, |passing| {
            if let Passing::Message(piece) = passing {
                show(piece);
            }
        })
    }

    /// The same, and shows what belongs to no message too.
    ///
    /// # Errors
    /// [`Strange`]; nothing after it can be followed.
    pub(crate) fn take_each(&mut self, mut bytes: &[u8], mut show: impl FnMut(Passing<'_>)) -> Result<(), Strange> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, after) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
                bytes = after;
                self.payload -= payload.len() as u64;
                let payload = Payload { masked: payload, key: self.key };
                self.key.rotate_left(payload.masked.len() % 4);
                show(self.passing(payload));
                continue;
            }
            if self.is_closing {
                return Err(Strange);
            }
            if let Some(place) = self.header.get_mut(self.length) {
                *place = *first;
            }
            self.length += 1;
            bytes = rest;
            if self.begin()? && self.payload == 0 {
                show(self.passing(Payload { masked: &[], key: [0; 4] }));
            }
        }
        Ok(())
    }

    /// A piece of the present frame, after which `payload` bytes of it follow.
    fn passing<'a>(&mut self, payload: Payload<'a>) -> Passing<'a> {
        let is_last = self.payload == 0;
        if self.is_data {
            let is_first = std::mem::take(&mut self.is_new);
            return Passing::Message(Piece { payload, is_first, is_last: is_last && self.is_last });
        }
        let [first, ..] = self.header;
        Passing::Control { opcode: first & 0x0f, payload, is_last }
    }

    /// Reads the header as soon as it is whole; whether it is.
    fn begin(&mut self) -> Result<bool, Strange> {
        let [first, second, extended @ ..] = self.header;
        if self.length < 2 {
            return Ok(false);
        }
        let is_masked = second & 0x80 != 0;
        let size = second & 0x7f;
        let more = match size {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.length < 2 + more + if is_masked { 4 } else { 0 } {
            return Ok(false);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = extended;
        let key;
        (self.payload, key) = match size {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l]),
            size => (u64::from(size), [a, b, c, d]),
        };
        self.key = if is_masked { key } else { [0; 4] };
        self.length = 0;
        let (is_last, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        if reserved != 0 || self.payload > i64::MAX.unsigned_abs() {
            return Err(Strange);
        }
        match opcode {
            // A continuation, a text, a binary message.
            0 if self.is_fragmented => {}
            1 | 2 if !self.is_fragmented => self.is_new = true,
            // A close, a ping, a pong: whole and short.
            8..=10 if is_last && self.payload <= 125 => {}
            _ => return Err(Strange),
        }
        self.is_data = opcode < 8;
        self.is_last = is_last;
        if self.is_data {
            self.is_fragmented = !is_last;
        }
        self.is_closing |= opcode == 8;
        Ok(true)
    }
}

/// Writes one whole frame; a client's has a key.
pub(crate) fn write_frame(to: &mut Vec<u8>, opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) {
    let masked = if key.is_some() { 0x80 } else { 0 };
    to.push(0x80 | opcode);
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => to.push(masked | short),
        (_, Ok(middle)) => {
            to.push(masked | 126);
            to.extend(middle.to_be_bytes());
        }
        _ => {
            to.push(masked | 127);
            to.extend((length as u64).to_be_bytes());
        }
    }
    match key {
        None => to.extend_from_slice(payload),
        Some(key) => {
            to.extend(key);
            to.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}

/// The channels inside of messages: the first byte of a message says which
/// (`apimachinery/pkg/util/remotecommand`, `v4.channel.k8s.io` and `v5.channel.k8s.io`).
#[derive(Debug, Default)]
pub(crate) struct Channels {
    frames: Frames,
    channel: Option<u8>,
}

/// What a person types.
pub(crate) const STDIN: u8 = 0;
/// What a process prints.
pub(crate) const STDOUT: u8 = 1;
/// What a process prints as errors.
pub(crate) const STDERR: u8 = 2;
/// How the command ended, as a `Status` in JSON.
pub(crate) const STATUS: u8 = 3;
/// The size of the terminal, as JSON.
pub(crate) const RESIZE: u8 = 4;

impl Channels {
    /// Whether a close frame begins with this byte, between two messages.
    pub(crate) fn is_closed_by(&self, first: u8) -> bool {
        self.frames.is_between() && first & 0x0f == 8
    }

    /// How many bytes of payload follow before the next frame, whose header is to be taken byte by byte to see it begin.
    pub(crate) fn payload(&self) -> usize {
        usize::try_from(self.frames.payload).unwrap_or(usize::MAX)
    }

    /// Takes what passes, and shows each piece with its channel, and whether its message ends with it.
    ///
    /// # Errors
    /// [`Strange`]; nothing after it can be followed.
    pub(crate) fn take(&mut self, bytes: &[u8], mut show: impl FnMut(u8, Payload<'_>, bool)) -> Result<(), Strange> {
        let channel = &mut self.channel;
        self.frames.take(bytes, |piece| {
            let mut payload = piece.payload;
            if piece.is_first {
                *channel = None;
            }
            if channel.is_none()
                && let Some((first, rest)) = payload.split_first()
            {
                *channel = Some(first);
                payload = rest;
            }
            if let Some(channel) = *channel {
                show(channel, payload, piece.is_last);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a server, cut into pieces of every size: each end of a message is seen, and nothing else.
    #[test]
    fn the_ends_of_messages_are_seen() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let huge = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat();
        let fragments = [&[0x02, 1, 9][..], &[0x89, 0], &[0x80, 2, 9, 9]].concat();
        let messages = [&[0x82, 0][..], &[0x82, 3, 1, 2, 3], &long, &huge, &fragments, &[0x82, 1, 5]];
        let stream = messages.concat();
        let ends: Vec<usize> = messages
            .iter()
            .scan(0, |at, message| {
                *at += message.len();
                Some(*at)
            })
            .collect();
        let mut frames = Frames::default();
        for (at, byte) in stream.iter().enumerate() {
            frames.take(&[*byte], |_| ()).unwrap();
            assert_eq!(frames.is_between(), ends.contains(&(at + 1)), "after byte {at}");
        }
        let (mut frames, mut left, mut at, mut frame_ends) = (Frames::default(), &stream[..], 0, Vec::new());
        while !left.is_empty() {
            // From the middle of each frame, too.
            let length = frames.first_frame(left);
            let (head, tail) = left[..length].split_at(length / 2);
            frames.take(head, |_| ()).unwrap();
            assert_eq!(frames.first_frame(&left[head.len()..]), tail.len());
            frames.take(tail, |_| ()).unwrap();
            at += length;
            left = &left[length..];
            frame_ends.push(at);
        }
        assert!(
            ends.iter().all(|end| frame_ends.contains(end)) && frame_ends.len() == ends.len() + 2,
            "{frame_ends:?}"
        );
        for size in [2, 3, 7, 1000, 70_000] {
            let mut frames = Frames::default();
            stream.chunks(size).for_each(|piece| frames.take(piece, |_| ()).unwrap());
            assert!(frames.is_between(), "{size}");
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut frames = Frames::default();
        frames.take(&[0x88, 2, 3, 0xe8], |_| ()).unwrap();
        assert!(!frames.is_between());
        assert_eq!(frames.take(&[0x82, 1, 1], |_| ()), Err(Strange));
    }

    /// Messages with a mask and without, in fragments with a ping between them, arrive whole on their channels.
    #[test]
    fn each_byte_is_seen_on_its_channel() {
        let masked = |first: u8, payload: &[u8]| {
            let key = [1, 2, 3, 200];
            let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
            frame.extend(key);
            frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            frame
        };
        let stream = [
            masked(0x82, b"\x00ls -l"),
            vec![0x82, 3, 1, b'a', b'b'],
            masked(0x02, b"\x04{\"Width\":"),
            masked(0x89, b"ping"),
            masked(0x80, b"80}"),
            // Not even the channel in the first fragment.
            vec![0x01, 0],
            vec![0x00, 1, 2],
            vec![0x80, 2, b'e', b'f'],
            vec![0x82, 0],
            vec![0x82, 1, 1],
        ]
        .concat();
        for size in [1, 2, 5, 1000] {
            let mut channels = Channels::default();
            let (mut seen, mut ends) = (std::collections::BTreeMap::<u8, Vec<u8>>::new(), 0);
            for piece in stream.chunks(size) {
                let show = |channel, payload: Payload<'_>, is_last| {
                    seen.entry(channel).or_default().extend(payload.plain(&mut Vec::new()));
                    ends += usize::from(is_last);
                };
                channels.take(piece, show).unwrap();
            }
            let expected: [(u8, &[u8]); 4] = [(0, b"ls -l"), (1, b"ab"), (2, b"ef"), (4, b"{\"Width\":80}")];
            let expected: Vec<_> = expected.iter().map(|(channel, bytes)| (*channel, bytes.to_vec())).collect();
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected, "{size}");
            assert_eq!(ends, 5, "{size}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_an_error() {
        for stream in [
            // Reserved bits: an extension that was not agreed on.
            &[0xc2, 1, 1][..],
            // Opcodes that nobody knows.
            &[0x83, 1, 1],
            &[0x8b, 0],
            // A continuation of nothing, and a message within another.
            &[0x80, 1, 1],
            &[0x02, 1, 1, 0x82, 1, 1],
            // Control frames in fragments, or long.
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            // A length beyond all lengths.
            &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Frames::default().take(stream, |_| ()), Err(Strange), "{stream:x?}");
        }
    }
}
