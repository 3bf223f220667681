//! The port at which a browser brings the code of a login (RFC 8252 section 7.3).
//!
//! Only what has our `state` and our provider's issuer ends the waiting: another program of this host, or a page that the
//! browser shows, can send anything here, and changes nothing with it. The browser that brought the code is told whether the
//! login succeeded, in fixed words: no page here contains anything that somebody sent. `login` waits here, and pasted addresses
//! are read by the same rules.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::oidc::shown;

/// How long the head of a request may take, and how large it may be.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const LARGEST_HEAD: usize = 16 * 1024;

/// How long a browser may take to read its page.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// What the browser should bring.
pub(crate) struct Awaited<'a> {
    /// Our `state`.
    pub(crate) state: &'a str,
    /// The provider (`iss`, RFC 9207); absent ones are accepted, because not every provider says it.
    pub(crate) issuer: &'a str,
}

/// What a request brings.
#[derive(Debug, PartialEq, Eq)]
enum Brought {
    /// The code.
    Code(String),
    /// The provider refused the login, with its words.
    Refused(String),
    /// Something else, which is told this.
    Nothing(&'static str),
}

impl Awaited<'_> {
    /// Reads an address, or its path and query.
    fn read(&self, address: &str) -> Brought {
        let Some((path, query)) = address.trim().split_once('?') else {
            return Brought::Nothing("no login comes here");
        };
        if !path.ends_with("/callback") {
            return Brought::Nothing("no login comes here");
        }
        let mut found = [const { None }; 5];
        for pair in query.split('#').next().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(place) = NAMES.iter().position(|known| *known == name).and_then(|at| found.get_mut(at)) else {
                continue;
            };
            let value = value.replace('+', " ");
            let Ok(value) = percent_decode_str(&value).decode_utf8() else {
                return Brought::Nothing("the address is malformed");
            };
            if place.replace(value.into_owned()).is_some() {
                return Brought::Nothing("the address says something twice");
            }
        }
        let [state, issuer, code, error, description] = found;
        if state.as_deref() != Some(self.state) {
            return Brought::Nothing("this is not the login that jit-login waits for");
        }
        if issuer.is_some_and(|issuer| issuer != self.issuer) {
            return Brought::Nothing("this is the login of another provider");
        }
        match (code, error) {
            (Some(code), None) => Brought::Code(code),
            (None, Some(error)) => {
                let words = description.map_or(String::new(), |words| format!(": {}", shown(&words)));
                Brought::Refused(format!("{}{words}", shown(&error)))
            }
            _ => Brought::Nothing("the address has no code"),
        }
    }

    /// The code in an address that somebody pasted; none if it is not the one.
    pub(crate) fn pasted(&self, address: &str) -> Result<String, Failure> {
        match self.read(address) {
            Brought::Code(code) => Ok(code),
            Brought::Refused(why) => Err(refused(&why)),
            Brought::Nothing(why) => Err(Failure::usage(why, "copy the whole address that the browser could not open")),
        }
    }

    /// Waits for the browser. It waits in turn for [`Browser::tell`].
    pub(crate) async fn code(&self, listener: &TcpListener) -> Result<(String, Browser), Failure> {
        loop {
            let accepted = listener.accept().await;
            let Ok((mut stream, _)) = accepted else { continue };
            let Ok(Some(target)) = timeout(HEAD_WITHIN, target(&mut stream)).await else { continue };
            let browser = Browser(stream);
            match self.read(&target) {
                Brought::Code(code) => return Ok((code, browser)),
                Brought::Refused(why) => {
                    browser.tell(false).await;
                    return Err(refused(&why));
                }
                Brought::Nothing(why) => {
                    let sentence = format!("It is ignored: {why}.");
                    browser.shows("400 Bad Request", "This is no login", &sentence).await;
                }
            }
        }
    }
}

/// A browser that waits for its answer.
pub(crate) struct Browser(TcpStream);

impl Browser {
    /// Says whether the login has succeeded.
    pub(crate) async fn tell(self, succeeded: bool) {
        if succeeded {
            let sentence = "You can close this page. The terminal says as whom, where and until when.";
            self.shows("200 OK", "You are logged in", sentence).await;
        } else {
            self.shows("400 Bad Request", "You are not logged in", "The terminal says why.").await;
        }
    }

    /// Shows a page of fixed words. The browser may be gone, which changes nothing.
    async fn shows(mut self, status: &str, heading: &str, sentence: &str) {
        let page = PAGE.replace("HEADING", heading).replace("SENTENCE", sentence);
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
             content-security-policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
             cache-control: no-store\r\nreferrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\n\
             connection: close\r\n\r\n{page}",
            page.len()
        );
        let _ = timeout(ANSWERED_WITHIN, async {
            self.0.write_all(answer.as_bytes()).await?;
            self.0.shutdown().await
        })
        .await;
    }
}

/// It needs no other file, and no script.
const PAGE: &str = include_str!("loopback.html");

const NAMES: [&str; 5] = ["state", "iss", "code", "error", "error_description"];

fn refused(why: &str) -> Failure {
    Failure::own(format!("the provider refused the login: {why}"), "try again, or ask those who run it")
}

/// The target of a GET; none for anything else.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut chunk = [0; 2048];
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(chunk.get(..read)?);
        if head.len() > LARGEST_HEAD {
            return None;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = str::from_utf8(line).ok()?.split(' ');
    (words.next() == Some("GET")).then(|| words.next().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAITED: Awaited<'_> = Awaited { state: "s1", issuer: "https://id.example" };

    #[test]
    fn only_our_own_login_brings_a_code() {
        let code = |text: &str| Brought::Code(text.to_owned());
        for (address, expected) in [
            ("/callback?code=c%2F1&state=s1&iss=https%3A%2F%2Fid.example", code("c/1")),
            ("http://127.0.0.1:5000/callback?state=s1&code=c&session_state=x", code("c")),
            ("/callback?error=access_denied&state=s1", Brought::Refused("access_denied".to_owned())),
            ("/callback?error=x&error_description=no+%1b%5B31m&state=s1", Brought::Refused("x: no [31m".to_owned())),
        ] {
            assert_eq!(AWAITED.read(address), expected, "{address}");
        }
        for address in [
            "/callback?code=c",
            "/callback?code=c&state=s2",
            "/callback?code=c&state=s1&state=s1",
            "/callback?code=c&code=d&state=s1",
            "/callback?code=c&state=s1&iss=https%3A%2F%2Fother.example",
            "/callback?code=%ff&state=s1",
            "/callback?state=s1",
            "/callback?code=c&error=e&state=s1",
            "/callback",
            "/favicon.ico?code=c&state=s1",
            "",
        ] {
            assert!(matches!(AWAITED.read(address), Brought::Nothing(_)), "{address}");
        }
    }
}
