//! One machine: a copy of the base, booted, with people who log in by ssh.
//!
//! ```text
//!  alice ── ssh ─► sshd ─► PAM: a login session, a login uid, a systemd of her own ─► bash -c COMMAND
//! ```
//! Nothing else acts on it, except that a test reads its files from outside while it is off, and its journal after a
//! failure. It ends with this process, because `boot.sh` watches its standard input.

use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::plane::{programs, until_within};

/// A Debian 12 on this host's network.
pub(crate) struct Machine {
    /// Its root folder.
    pub(crate) root: PathBuf,
    /// Key, known host and console.
    dir: PathBuf,
    port: u16,
    running: Option<Child>,
}

/// A person at a terminal, which exists as long as this value.
pub(crate) struct Terminal {
    pub(crate) ssh: Child,
    screen: PathBuf,
}

/// The result of a person's command.
pub(crate) struct Done {
    /// The person, and the command.
    what: String,
    /// The exit code.
    pub(crate) code: i32,
    /// stdout.
    pub(crate) out: String,
    /// stderr.
    pub(crate) err: String,
}

impl Machine {
    /// One that is off; the remains of the last one are removed.
    pub(crate) fn new() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine");
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        // It contains programs through which anybody could become root, in versions that nobody updates.
        std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        let machine = Self { root: dir.join("root"), port: free_port(), dir, running: None };
        machine.furnish();
        machine
    }

    fn furnish(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/base.sh");
        let base = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(base.status.success(), "the base of the machine could not be made");
        let base = PathBuf::from(String::from_utf8(base.stdout).unwrap().trim());
        outside(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&base).arg(&self.root));
        outside(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.dir.join("key")));
        std::fs::copy(self.dir.join("key.pub"), self.root.join("etc/ssh/people.pub")).unwrap();
        // One key for everybody: the account says who it is, as always.
        let sshd = format!(
            "Port {}\nListenAddress 127.0.0.1\nAuthorizedKeysFile /etc/ssh/people.pub\nMaxStartups 100\nUseDNS no\n",
            self.port
        );
        std::fs::write(self.root.join("etc/ssh/sshd_config.d/port.conf"), sshd).unwrap();
        let host_key = std::fs::read_to_string(self.root.join("etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
        std::fs::write(self.dir.join("known"), format!("[127.0.0.1]:{} {host_key}", self.port)).unwrap();
    }

    /// Boots it, and waits until everything that should run does.
    pub(crate) fn boot(&mut self) {
        let kubectl = std::fs::canonicalize(programs().join("kubectl")).unwrap();
        let mut boot = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/boot.sh"));
        boot.arg(&self.root).arg("bastion").arg(format!("--bind-ro={}:/usr/local/bin/kubectl", kubectl.display()));
        // Ctrl-C is for us; the machine ends because we do.
        self.running = Some(boot.stdin(Stdio::piped()).process_group(0).spawn().unwrap());
        self.has_booted();
    }

    fn has_booted(&mut self) {
        until_within(Duration::from_secs(90), "the machine lets root in", || {
            let ended = self.running.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the machine is off again: {}", self.console());
            (self.run("root", "true").code == 0).then_some(())
        });
        let state = self.run("root", "systemctl is-system-running --wait; systemctl --failed --no-legend");
        assert_eq!(state.out, "running\n", "what failed is named");
    }

    /// `systemctl reboot`, and waits for the next boot.
    pub(crate) fn reboot(&mut self) {
        const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";
        let before = self.root(BOOT);
        self.run("root", "systemctl reboot");
        until_within(Duration::from_secs(90), "the machine is another boot", || {
            let now = self.run("root", BOOT);
            (now.code == 0 && now.out != before).then_some(())
        });
        self.has_booted();
    }

    /// `systemctl poweroff`, and waits until it is off.
    pub(crate) fn power_off(&mut self) {
        self.run("root", "systemctl poweroff");
        let mut running = self.running.take().unwrap();
        let ended = until_within(Duration::from_secs(90), "the machine is off", || running.try_wait().unwrap());
        assert!(ended.success(), "it was switched off in good order");
    }

    /// Runs a command as this account, whatever its result.
    pub(crate) fn run(&self, account: &str, command: &str) -> Done {
        let output = self.ssh(account, command).output().unwrap();
        Done::new(account, command, &output)
    }

    /// Runs a command as this account; it must succeed.
    #[track_caller]
    pub(crate) fn does(&self, account: &str, command: &str) -> String {
        self.run(account, command).must(0).out
    }

    /// Runs a command as the administrator; it must succeed.
    #[track_caller]
    pub(crate) fn root(&self, command: &str) -> String {
        self.does("root", command)
    }

    /// The command for that, not started yet.
    pub(crate) fn ssh(&self, account: &str, command: &str) -> Command {
        self.login("no", account, command)
    }

    /// Starts it at a separate terminal; the output of only one at a time can be read.
    pub(crate) fn at_a_terminal(&self, account: &str, command: &str) -> Terminal {
        let screen = self.dir.join("screen");
        let mut ssh = self.login("force", account, command);
        let ssh = ssh.stdin(Stdio::piped()).stdout(File::create(&screen).unwrap()).spawn().unwrap();
        Terminal { ssh, screen }
    }

    fn login(&self, terminal: &str, account: &str, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        // Nothing of the person who runs the tests: no configuration, no agent, no other keys.
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .args(["-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "-o", &format!("RequestTTY={terminal}")])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.dir.join("known").display()))
            .arg("-i")
            .arg(self.dir.join("key"))
            .args(["-p", &self.port.to_string(), &format!("{account}@127.0.0.1"), "--", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        ssh
    }

    /// Puts a file where the administrator finds it.
    pub(crate) fn bring(&self, from: &Path, to: &str) {
        let mut ssh = self.ssh("root", &format!("cat > {to}"));
        let done = ssh.stdin(File::open(from).unwrap()).output().unwrap();
        Done::new("root", &format!("cat > {to}"), &done).must(0);
    }

    /// Writes a file as the administrator does with an editor: its owner and mode stay.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.dir.join("written");
        std::fs::write(&file, text).unwrap();
        self.bring(&file, path);
    }

    /// One property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.root(&format!("systemctl show --value -p {name} {unit}")).trim_end().to_owned()
    }

    /// The end of the machine's journal about the daemon, also when it is off.
    pub(crate) fn journal(&self) -> String {
        let mut journal = Command::new("journalctl");
        journal.arg("--directory").arg(self.root.join("var/log/journal"));
        let units = ["-u", "jitd.service", "-u", "jitd.socket", "-u", "jitd-admin.socket"];
        let shown = journal.args(["--no-pager", "-q", "-n", "150"]).args(units).output();
        shown.map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned()).unwrap_or_default()
    }

    /// The console output of the boot.
    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.dir.join("root.console")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.stdin.take());
            drop(running.wait());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

impl Terminal {
    /// Everything that was ever on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.screen).unwrap()).into_owned()
    }
}

impl Done {
    fn new(account: &str, command: &str, output: &Output) -> Self {
        Self {
            what: format!("{account}$ {command}"),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Something if it succeeded, for those who wait for that.
    pub(crate) fn done(self) -> Option<()> {
        (self.code == 0).then_some(())
    }

    /// It must have ended with this exit code.
    #[track_caller]
    pub(crate) fn must(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}{}", self.what, self.out, self.err);
        self
    }

    /// It must have printed this, on either stream.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.out.contains(words) || self.err.contains(words),
            "`{words}` is not in\n{}\n{}{}",
            self.what,
            self.out,
            self.err
        );
        self
    }
}

fn outside(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Below 32768, so that no outgoing connection takes it while the machine is off.
pub(crate) fn free_port() -> u16 {
    (22_000..32_768).find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}
