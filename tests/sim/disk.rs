//! The disk under the trail: slow, sometimes full, and sometimes wrong about one commit.
//!
//! If SQLite reports a commit as failed after its frames reached the file, the commit exists after a restart, unless
//! the next one has overwritten it. Therefore a commit that is stored but reported as failed is the last one of its
//! daemon.

use crate::world::{World, crossing, sleep, world};

pub(crate) async fn before() -> Result<(), String> {
    crossing("an append").await;
    sleep(world(|world| 1 + world.below(3))).await;
    crossing("a commit").await;
    if world(|world| world.half_committed) {
        world(|world| world.kill("before the next commit, after one that was told as failed and stands"));
        std::future::pending::<()>().await;
    }
    if world(|world| world.fails(8, "a commit fails")) {
        world(|world| {
            world.note("   the trail can't be written".to_owned());
            world.oracle_saw_failed_append();
        });
        return Err("disk full (simulated)".to_owned());
    }
    Ok(())
}

pub(crate) async fn after() -> Result<(), String> {
    // Right after the commit.
    world(World::oracle_reads);
    sleep(world(|world| 1 + world.below(2))).await;
    crossing("an acknowledged commit").await;
    if world(|world| world.fails(2, "a commit is told as failed and stands")) {
        world(|world| {
            world.half_committed = true;
            world.note("   the trail was written, but it is told as failed".to_owned());
            world.oracle_saw_failed_append();
        });
        return Err("I/O error (simulated)".to_owned());
    }
    Ok(())
}
