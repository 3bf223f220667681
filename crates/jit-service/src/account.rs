//! The account that a service runs as.

use std::ffi::CString;

use nix::unistd::{Uid, User, initgroups, setgid, setuid};

use super::Failure;

/// Does `work` with the rights of this account, which the process keeps, if root started it and there is such an account: what
/// root can read says nothing about what the service can read. Must be called before any thread is started.
///
/// # Errors
/// [`Failure`], which then names the account.
pub fn working_as(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    if !Uid::effective().is_root() {
        return work();
    }
    let Some(account) = User::from_name(name)? else { return work() };
    let whose = CString::new(account.name).map_err(|_| Failure::other("the name of the account has a null byte"))?;
    initgroups(&whose, account.gid)?;
    setgid(account.gid)?;
    setuid(account.uid)?;
    work().map_err(|failure| failure.about(&format!("as account `{name}`")))
}
