//! Bodies that count what passes, and know whether the last byte did.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use super::{Entry, Meter};
use crate::answer::{Body, BoxError};

/// The body of a request, counted.
pub(crate) fn request_body<B>(body: B, meter: Arc<Meter>) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let counted = body.map_frame(move |frame| {
        meter.received(frame.data_ref().map_or(0, Bytes::len));
        frame
    });
    counted.map_err(Into::into).boxed_unsync()
}

/// The body of an answer. The request runs until its last byte has passed, or it is dropped.
pub(crate) fn answer_body<B>(body: B, entry: Entry) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let left = body.size_hint().exact();
    let mut answer = AnswerBody { body, left, entry };
    answer.look();
    answer.boxed_unsync()
}

struct AnswerBody<B> {
    body: B,
    /// How many bytes are to come, if the head of the answer said so.
    left: Option<u64>,
    entry: Entry,
}

impl<B: HttpBody> AnswerBody<B> {
    /// Nobody asks a body for its end after the last byte that the head announced.
    fn look(&mut self) {
        if self.left == Some(0) || self.body.is_end_stream() {
            self.entry.whole();
        }
    }
}

impl<B> HttpBody for AnswerBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => {
                this.entry.whole();
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.entry.meter.sent(length);
                this.left = this.left.map(|left| left.saturating_sub(length as u64));
                this.look();
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
