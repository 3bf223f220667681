//! Boards: channels that show the present state of each request, one message per request.

use crate::http::Http;
use crate::outcome::Outcome;
use crate::present::{Present, Shown};

/// A board.
#[derive(Debug)]
pub enum Board {}

impl Board {
    /// Shows the present state of a request, of which `shown` is shown already. Returns what is shown from now on, which is
    /// kept if the receiver took it; `None` if there is nothing to show and nothing was sent.
    pub async fn show(&self, _http: &Http, _present: &Present, _shown: Option<&Shown>) -> Option<(Outcome, Shown)> {
        match *self {}
    }
}
