//! The beginning of a request's body, kept so that a request that the API server certainly did not process can be sent
//! again.
//!
//! Nothing waits for it: each frame is passed on as it comes, and what was passed on is kept up to a limit. A larger body
//! can be sent again only if nothing of it was read yet.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use parking_lot::Mutex;

use crate::answer::{Body, BoxError};

/// How much of a body is kept, in bytes. The objects that people write take less; etcd's limit for one is 1.5 MB.
const KEPT: usize = 64 * 1024;

/// A body that can be sent more than once.
pub(super) struct Kept(Arc<Mutex<State>>);

struct State {
    rest: Body,
    /// What of it was passed on.
    passed: VecDeque<Bytes>,
    size: usize,
    /// All that was passed on is in `passed`.
    is_whole: bool,
    /// The attempt that may read. An earlier one that still runs gets nothing, so that two never share a body.
    attempt: usize,
}

impl Kept {
    /// Keeps a body, and returns it to be sent for the first time.
    pub(super) fn new(body: Body) -> (Self, Body) {
        let state = State { rest: body, passed: VecDeque::new(), size: 0, is_whole: true, attempt: 0 };
        let kept = Self(Arc::new(Mutex::new(state)));
        let first = kept.read(0, VecDeque::new());
        (kept, first)
    }

    /// The body from its beginning, and the end of every earlier attempt; `None` if its beginning was not kept.
    pub(super) fn again(&self) -> Option<Body> {
        let mut state = self.0.lock();
        if !state.is_whole {
            return None;
        }
        state.attempt += 1;
        Some(self.read(state.attempt, state.passed.clone()))
    }

    fn read(&self, attempt: usize, again: VecDeque<Bytes>) -> Body {
        Body::new(Attempt { state: Arc::clone(&self.0), again, attempt })
    }
}

/// One reading of the body: what was kept, then what is left.
struct Attempt {
    state: Arc<Mutex<State>>,
    again: VecDeque<Bytes>,
    attempt: usize,
}

impl hyper::body::Body for Attempt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let mut state = this.state.lock();
        if state.attempt != this.attempt {
            return Poll::Ready(Some(Err("the request is sent again on another connection".into())));
        }
        let polled = Pin::new(&mut state.rest).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(bytes) if state.is_whole && state.size + bytes.len() <= KEPT => {
                    state.size += bytes.len();
                    state.passed.push_back(bytes.clone());
                }
                _ => state.lose(),
            },
            Poll::Ready(Some(Err(_))) => state.lose(),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.state.lock().rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let again = self.again.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        let rest = self.state.lock().rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(again));
        }
        hint.set_lower(rest.lower().saturating_add(again));
        hint
    }
}

impl State {
    fn lose(&mut self) {
        self.is_whole = false;
        self.passed = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Body as _;

    use super::*;

    fn body(pieces: &[usize]) -> (Kept, Body) {
        let frames: Vec<_> =
            pieces.iter().map(|size| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; *size])))).collect();
        Kept::new(StreamBody::new(stream::iter(frames)).boxed_unsync())
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_and_only_once_at_a_time() {
        let (kept, mut first) = body(&[3, KEPT - 3]);
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap().len(), 3);
        let second = kept.again().unwrap();
        assert!(first.frame().await.unwrap().is_err());
        assert_eq!(second.collect().await.unwrap().to_bytes().len(), KEPT);
        assert_eq!(kept.again().unwrap().collect().await.unwrap().to_bytes().len(), KEPT);
    }

    #[tokio::test]
    async fn a_large_body_can_be_sent_again_only_before_it_was_read() {
        let (kept, first) = body(&[KEPT, 1]);
        drop(first);
        let second = kept.again().unwrap();
        assert_eq!(second.collect().await.unwrap().to_bytes().len(), KEPT + 1);
        assert!(kept.again().is_none());
    }

    /// The API server learns the length of the body from it.
    #[test]
    fn the_length_stays_known() {
        let whole =
            |text: &'static str| Kept::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
        let (kept, first) = whole("abc");
        assert_eq!((first.size_hint().exact(), kept.again().unwrap().size_hint().exact()), (Some(3), Some(3)));
        assert!(whole("").1.is_end_stream());
    }
}
