//! A server that plays a service, and keeps what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jit_notify::http::Target;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) body: Value,
}

/// An answer.
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: String,
}

impl Said {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, retry_after: None, body: body.to_string() }
    }
}

type Script = Box<dyn FnMut(&Asked) -> Said + Send>;

/// A server.
#[derive(Clone)]
pub(crate) struct Played {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Answers that come before those of the script.
    next: Arc<Mutex<VecDeque<Said>>>,
}

impl Played {
    pub(crate) async fn start(script: impl FnMut(&Asked) -> Said + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let played = Self { address: listener.local_addr().unwrap(), asked: Arc::default(), next: Arc::default() };
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let all = played.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, script) = (all.clone(), script.clone());
                tokio::spawn(async move {
                    let answer = service_fn(|request| {
                        let (all, script) = (all.clone(), script.clone());
                        async move { Ok::<_, hyper::Error>(all.answer(request, &script).await) }
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        played
    }

    async fn answer(&self, request: Request<Incoming>, script: &Mutex<Script>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let asked = Asked {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            token: head.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        self.asked.lock().unwrap().push(asked.clone());
        let said = self.next.lock().unwrap().pop_front();
        let said = said.unwrap_or_else(|| script.lock().unwrap()(&asked));
        let mut answer = Response::builder().status(said.status);
        if let Some(seconds) = said.retry_after {
            answer = answer.header("retry-after", seconds);
        }
        answer.body(Full::from(said.body)).unwrap()
    }

    pub(crate) fn target(&self) -> Target {
        Target::parse(&self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hush", self.address)
    }

    /// What it was asked on this path since the last time.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.asked.lock().unwrap();
        let (these, others) = std::mem::take(&mut *asked).into_iter().partition(|asked| asked.path.contains(path));
        *asked = others;
        these
    }

    /// The next answer.
    pub(crate) fn says(&self, status: u16, retry_after: Option<u32>, body: &Value) {
        self.next.lock().unwrap().push_back(Said { status, retry_after, body: body.to_string() });
    }
}

/// Slack, with the messages of its channels.
pub(crate) async fn slack() -> (Played, Arc<Mutex<Vec<Value>>>) {
    let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = messages.clone();
    let played = Played::start(move |asked| {
        let mut messages = kept.lock().unwrap();
        let method = asked.path.trim_start_matches("/hush/").split('?').next().unwrap();
        let error = |word: &str| Said::json(200, &json!({ "ok": false, "error": word }));
        match method {
            _ if asked.token != "Bearer xoxb-hush" => error("invalid_auth"),
            "conversations.open" => {
                let channel = format!("D{}", asked.body["users"].as_str().unwrap());
                Said::json(200, &json!({ "ok": true, "channel": { "id": channel } }))
            }
            "conversations.history" | "conversations.replies" => {
                assert!(asked.path.contains("include_all_metadata=true"), "{}", asked.path);
                Said::json(200, &json!({ "ok": true, "messages": *messages, "has_more": false }))
            }
            "chat.postMessage" => {
                let ts = format!("1417671948.{:06}", messages.len());
                let mut message = asked.body.clone();
                message["ts"] = json!(ts);
                messages.push(message);
                Said::json(200, &json!({ "ok": true, "channel": asked.body["channel"], "ts": ts }))
            }
            "chat.update" => {
                let Some(message) = messages.iter_mut().find(|message| message["ts"] == asked.body["ts"]) else {
                    return error("message_not_found");
                };
                for (key, value) in asked.body.as_object().unwrap() {
                    message[key] = value.clone();
                }
                Said::json(200, &json!({ "ok": true, "channel": asked.body["channel"], "ts": asked.body["ts"] }))
            }
            _ => error("unknown_method"),
        }
    })
    .await;
    (played, messages)
}

/// Mattermost, with the posts of its channels by id.
pub(crate) async fn mattermost() -> (Played, Arc<Mutex<serde_json::Map<String, Value>>>) {
    let posts: Arc<Mutex<serde_json::Map<String, Value>>> = Arc::default();
    let kept = posts.clone();
    let played = Played::start(move |asked| {
        let mut posts = kept.lock().unwrap();
        let path = asked.path.trim_start_matches("/hush/api/v4/").split('?').next().unwrap();
        match (asked.method.as_str(), path) {
            _ if asked.token != "Bearer hush" => {
                Said::json(401, &json!({ "id": "api.context.session_expired.app_error" }))
            }
            ("GET", "users/me") => Said::json(200, &json!({ "id": "bot1" })),
            ("POST", "channels/direct") => {
                assert_eq!(asked.body[0], "bot1");
                Said::json(201, &json!({ "id": format!("direct{}", asked.body[1].as_str().unwrap()) }))
            }
            ("GET", _) => Said::json(200, &json!({ "order": [], "posts": *posts })),
            ("POST", "posts") => {
                let id = format!("post{}", posts.len());
                let mut post = asked.body.clone();
                post["id"] = json!(id);
                posts.insert(id, post.clone());
                Said::json(201, &post)
            }
            ("PUT", path) => {
                let id = path.trim_start_matches("posts/").to_owned();
                assert_eq!(asked.body["id"], id);
                match posts.get_mut(&id) {
                    Some(post) => {
                        post["message"] = asked.body["message"].clone();
                        post["props"] = asked.body["props"].clone();
                        Said::json(200, post)
                    }
                    None => Said::json(404, &json!({ "id": "app.post.get.app_error" })),
                }
            }
            _ => Said::json(404, &json!({})),
        }
    })
    .await;
    (played, posts)
}
