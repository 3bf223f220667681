//! How long it takes from an approval to access that works, against the same by hand.
//!
//! ```text
//!  jitd:    POST approve ─► POST certificate ─► 200                       the API server has said "allowed"
//!  by hand: POST rolebinding ─► SubjectAccessReview ─► … ─► "allowed"     in turns with it
//! ```
//! What is left when one is taken from the other is jitd's own: policy, six events on the disk, the
//! signature and the way through the socket. Each certificate is then used once, against the API server.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::http::{Connection, request};
use crate::load::median;
use crate::plane::{Plane, binding, is_allowed, review};
use crate::table::{Row, number};
use crate::{Failure, Settings, progress};

const NAMESPACE: &str = "access";

pub(crate) async fn measure(plane: &Plane, folder: &Path, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let grants = settings.shorter(200, 10);
    plane.namespace(NAMESPACE).await?;
    let mut daemon = Daemon::prepare(plane, folder, "access", &[NAMESPACE.to_owned()])?;
    daemon.start().await?;
    progress(&format!("access: {grants} grants, in turns with {grants} bindings by hand"));
    let mut admin = plane.admin.connect().await?;
    let (mut alice, mut bob) = (daemon.alice().connect().await?, daemon.bob().connect().await?);
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    // The first of each opens connections and fills caches, and is not counted.
    for turn in 0..=grants {
        let bare = bind_by_hand(&mut admin, &format!("hand-{turn}")).await?;
        let pending = daemon.request(&mut alice, NAMESPACE, "1h").await?;
        let (approve, collect) = (pending.approve(), pending.certificate());
        let begun = Instant::now();
        bob.exchange(&approve).await?.json()?;
        let collected = alice.exchange(&collect).await?.json()?;
        let took = begun.elapsed();
        let chain = collected["certificate"].as_str().ok_or("no certificate")?;
        use_once(plane, chain, &pending.key_pem()).await?;
        if turn > 0 {
            ours.push(milliseconds(took));
            by_hand.push(milliseconds(bare));
        }
    }
    daemon.stop()?;
    // Of each turn, and so before they are sorted.
    let more = median(ours.iter().zip(&by_hand).map(|(took, bare)| took - bare));
    ours.sort_unstable_by(f64::total_cmp);
    by_hand.sort_unstable_by(f64::total_cmp);
    let (middle, middle_by_hand) = (median(ours.iter().copied()), median(by_hand.iter().copied()));
    let (slow, slow_by_hand) = (ours[ours.len() * 9 / 10], by_hand[by_hand.len() * 9 / 10]);
    Ok(vec![
        Row::new("approval to access that works, median", number(middle, "ms"))
            .against(format!("by hand {}", number(middle_by_hand, "ms")))
            .at_most(more, 10.0, "ms more"),
        Row::new("the slowest tenth begins at", number(slow, "ms"))
            .against(format!("by hand {}", number(slow_by_hand, "ms")))
            .shows(number(slow - slow_by_hand, "ms more")),
    ])
}

/// Binds, and asks until the answer is "allowed", with pauses of 2 ms.
async fn bind_by_hand(admin: &mut Connection, name: &str) -> Result<Duration, Failure> {
    let group = format!("bench:{name}");
    let (bind, ask) = (binding(NAMESPACE, name, &group, "view"), review(NAMESPACE, &group));
    let begun = Instant::now();
    admin.exchange(&bind).await?.json()?;
    while !is_allowed(admin, &ask).await? {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("a binding by hand did not come to work".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(begun.elapsed())
}

/// What `kubectl get pods` would do, and it has to work the first time.
async fn use_once(plane: &Plane, chain: &str, key: &str) -> Result<(), Failure> {
    let pods = request("GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), None);
    plane.client(chain, key)?.connect().await?.exchange(&pods).await?.json().map(drop)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
