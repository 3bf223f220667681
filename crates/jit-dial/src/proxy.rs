//! The proxy on the way to an API server: which one, and the tunnel through it.
//!
//! `proxy-url` of the kubeconfig comes first. Without it `HTTPS_PROXY` and `NO_PROXY` decide, by the rules of Go's
//! `golang.org/x/net/http/httpproxy`, so that we take the same way as kubectl does on the same host. A value that Go would
//! silently ignore is refused. No message contains the password of a proxy.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::dial::DialError;

/// A proxy that opens tunnels by CONNECT (RFC 9110 section 9.3.6).
pub(crate) struct Proxy {
    /// The URL without its user and password.
    pub(crate) shown: String,
    /// Whether the connection to the proxy itself is TLS.
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

/// The largest head of an answer to CONNECT that we read, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

impl Proxy {
    /// The proxy at a URL such as `http://user:password@proxy.example.com:3128`.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the name of the key or variable.
    pub(crate) fn at(url: &str) -> Result<Self, String> {
        let malformed = || "is not a URL like http://proxy.example.com:3128".to_owned();
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let (is_tls, usual_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            Some(scheme @ ("socks5" | "socks5h")) => {
                return Err(format!(
                    "has the scheme `{scheme}`, which is not supported; use a proxy for http:// that allows CONNECT"
                ));
            }
            _ => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.host().is_empty() {
            return Err(malformed());
        }
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(usual_port));
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((user, _)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let decoded = |part| decoded(part).ok_or("has a user or password with a wrong %-escape");
                let pair = Zeroizing::new([decoded(name)?, b":".to_vec(), decoded(password)?].concat());
                Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair))))
            }
            None => None,
        };
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self {
            shown: format!("{scheme}://{host}:{port}"),
            is_tls,
            host: without_brackets(host).to_owned(),
            port,
            authorization,
        })
    }

    /// Asks the proxy at the other end of `stream` for a tunnel to `target`, `host:port`.
    pub(crate) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), DialError> {
        let refused = |why: String, hint| DialError::Proxy { proxy: self.shown.clone(), why, hint };
        let broken = |source| DialError::Broken { peer: self.peer(), source };
        let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(value) = &self.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(value);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;

        let mut head = Vec::new();
        let end = loop {
            if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if head.len() > LARGEST_HEAD {
                return Err(refused("sent an endless answer to CONNECT".to_owned(), None));
            }
            if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
                return Err(refused("closed the connection without an answer to CONNECT".to_owned(), None));
            }
        };
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(100).flat_map(char::escape_default).collect();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
        match status.parse::<u16>() {
            // The API server says nothing before our first message (RFC 8446 section 2).
            Ok(200..300) if head.len() > end => Err(refused("sent something before the tunnel began".to_owned(), None)),
            Ok(200..300) => Ok(()),
            Ok(407) if self.authorization.is_some() => {
                Err(refused(format!("does not accept the user and password: {line}"), Some(CREDENTIALS)))
            }
            Ok(407) => Err(refused(format!("wants a user and a password: {line}"), Some(CREDENTIALS))),
            Ok(_) => Err(refused(
                format!("opens no tunnel to `{target}`: {line}"),
                Some("allow CONNECT to this host on the proxy, or connect without it (`NO_PROXY`)"),
            )),
            Err(_) => Err(refused(format!("does not speak HTTP: {line}"), None)),
        }
    }

    /// How messages name it.
    pub(crate) fn peer(&self) -> String {
        format!("proxy {}", self.shown)
    }
}

const CREDENTIALS: &str = "write them into the proxy's URL: http://user:password@proxy.example.com:3128";

/// The variables that say which proxy to use, as they are read from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    https_proxy: Option<String>,
    no_proxy: Option<String>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        let any = |names: [&str; 2]| {
            names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self { https_proxy: any(["HTTPS_PROXY", "https_proxy"]), no_proxy: any(["NO_PROXY", "no_proxy"]) }
    }

    #[cfg(test)]
    pub(crate) fn new(https_proxy: &str, no_proxy: &str) -> Self {
        Self { https_proxy: Some(https_proxy.to_owned()), no_proxy: Some(no_proxy.to_owned()) }
    }

    /// The proxy for a host without brackets and a port.
    ///
    /// # Errors
    /// The rest of a sentence that begins with `HTTPS_PROXY`.
    pub(crate) fn proxy_for(&self, host: &str, port: u16) -> Result<Option<Proxy>, String> {
        let Some(url) = &self.https_proxy else { return Ok(None) };
        if is_exempt(self.no_proxy.as_deref().unwrap_or_default(), host, port) {
            return Ok(None);
        }
        let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        Proxy::at(&url).map(Some)
    }
}

/// Whether a host is reached without a proxy: the rules of `NO_PROXY` in Go's httpproxy.
fn is_exempt(no_proxy: &str, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let host = host.to_lowercase();
    let mut entries = no_proxy.split(',').map(|entry| entry.trim().to_lowercase()).filter(|entry| !entry.is_empty());
    entries.any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some(range) = Range::parse(&entry) {
            return address.is_some_and(|address| range.contains(address));
        }
        let (name, wanted) = host_and_port(&entry);
        if wanted.is_some_and(|wanted| wanted != port.to_string()) || name.is_empty() {
            return false;
        }
        if let Ok(exempt) = name.parse::<IpAddr>() {
            return address.is_some_and(|address| address.to_canonical() == exempt.to_canonical());
        }
        let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
        address.is_none()
            && match name.strip_prefix('.') {
                Some(_) => host.ends_with(name),
                None => host == name || host.strip_suffix(name).is_some_and(|above| above.ends_with('.')),
            }
    })
}

/// An entry's host, without brackets, and its port. Like Go's `net.SplitHostPort`, it finds a port only behind a host
/// that has no colon or is in brackets.
fn host_and_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => (without_brackets(host), Some(port)),
        Some((host, port)) if !host.contains([':', '[', ']']) => (host, Some(port)),
        _ => (entry, None),
    }
}

/// A range of addresses, `10.0.0.0/8`.
struct Range {
    bits: u128,
    of: u32,
    prefix: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (bits, of) = bits(address.parse().ok()?);
        let prefix: u32 = prefix.parse().ok()?;
        (prefix <= of).then_some(Self { bits, of, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (bits, of) = bits(address.to_canonical());
        of == self.of && (bits ^ self.bits).checked_shr(self.of - self.prefix).unwrap_or(0) == 0
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The bytes of a part of a URL with %-escapes.
fn decoded(part: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), part.bytes());
    while let Some(byte) = rest.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?,
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of `httpproxy.Config{HTTPSProxy: …, NoProxy: …}.ProxyFunc()`, golang.org/x/net 0.49.
    #[test]
    fn no_proxy_exempts_what_it_exempts_in_go() {
        for (no_proxy, host, port, exempt) in [
            ("", "api.example.com", 6443, false),
            ("", "localhost", 6443, true),
            ("", "127.0.0.2", 6443, true),
            ("", "::1", 6443, true),
            ("*", "api.example.com", 6443, true),
            ("other.org, *", "10.0.0.1", 6443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "api.example.com", 443, true),
            ("EXAMPLE.com", "API.example.COM", 443, true),
            ("example.com", "badexample.com", 443, false),
            (".example.com", "example.com", 443, false),
            (".example.com", "api.example.com", 443, true),
            ("*.example.com", "api.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*example.com", "api.example.com", 443, false),
            ("example.com:6443", "api.example.com", 6443, true),
            ("example.com:6443", "api.example.com", 443, false),
            (" a.org ,,example.com ", "example.com", 443, true),
            ("10.0.0.1", "10.0.0.1", 6443, true),
            ("10.0.0.1:443", "10.0.0.1", 6443, false),
            ("10.0.0.0/8", "10.200.3.4", 6443, true),
            ("10.0.0.0/8", "11.0.0.1", 6443, false),
            ("10.0.0.0/8", "api.example.com", 6443, false),
            ("0.0.0.0/0", "192.0.2.1", 6443, true),
            ("::/0", "192.0.2.1", 6443, false),
            ("2001:db8::/32", "2001:db8::7", 6443, true),
            ("2001:db8::7", "2001:db8::7", 6443, true),
            ("[2001:db8::7]:6443", "2001:db8::7", 6443, true),
            ("[2001:db8::7]:443", "2001:db8::7", 6443, false),
            ("0.0.1", "10.0.0.1", 6443, false),
            (":6443", "api.example.com", 6443, false),
            ("10.0.0.0/33", "10.0.0.0", 6443, false),
        ] {
            assert_eq!(is_exempt(no_proxy, host, port), exempt, "{no_proxy:?} {host} {port}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_that_we_can_use() {
        let proxy = Proxy::at("http://proxy.example.com").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.is_tls), ("proxy.example.com", 80, false));
        assert!(proxy.authorization.is_none());
        let proxy = Proxy::at("https://al%40ice:p%3Aw@[::1]:3128/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, proxy.is_tls), ("::1", 3128, true));
        assert_eq!(proxy.shown, "https://[::1]:3128");
        assert_eq!(**proxy.authorization.as_ref().unwrap(), format!("Basic {}", STANDARD.encode("al@ice:p:w")));
        for (url, why) in [
            ("socks5://proxy.example.com:1080", "the scheme `socks5`, which is not supported"),
            ("ftp://proxy.example.com", "is not a URL"),
            ("proxy.example.com:3128", "is not a URL"),
            ("http://proxy.example.com/pac", "is not a URL"),
            ("http://secret:%zz@proxy.example.com", "wrong %-escape"),
            ("http://secret:%9@proxy.example.com", "wrong %-escape"),
            ("http://", "is not a URL"),
            ("http://:3128", "is not a URL"),
        ] {
            let said = Proxy::at(url).err().unwrap_or_default();
            assert!(said.contains(why) && !said.contains("secret"), "{url}: {said}");
        }
    }

    #[test]
    fn the_environment_may_name_a_proxy_without_a_scheme() {
        let variables = Environment::new("proxy.example.com:3128", "internal.example.com");
        assert_eq!(
            variables.proxy_for("api.example.com", 6443).unwrap().unwrap().shown,
            "http://proxy.example.com:3128"
        );
        assert!(variables.proxy_for("api.internal.example.com", 6443).unwrap().is_none());
        assert!(variables.proxy_for("::1", 6443).unwrap().is_none());
        assert!(Environment::new("socks5://proxy.example.com", "").proxy_for("api.example.com", 6443).is_err());
        assert!(Environment::default().proxy_for("api.example.com", 6443).unwrap().is_none());
    }
}
