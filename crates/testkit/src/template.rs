//! Empty data directories. Making one takes seconds, copying one a fraction: the first test makes a template beside
//! the other temporary files, all later ones (other processes' too) copy it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::options::MariaDbOptions;

/// Redo log size of the template and of the servers; they must agree, or each start writes a new log.
pub(crate) const REDO_LOG: &str = "--innodb-log-file-size=32M";

/// Puts an empty data directory at `target`, which must not exist.
///
/// # Panics
/// If that fails, with the installer's output.
pub(crate) fn new_data_dir(options: &MariaDbOptions, target: &Path) {
    let template = template(options);
    run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(&template).arg(target));
}

/// The template for this server, made if it is not there.
fn template(options: &MariaDbOptions) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let version = run(Command::new(options.server()).arg("--version"));
    let mut hasher = DefaultHasher::new();
    (version, REDO_LOG, options.installer()).hash(&mut hasher);
    let home = std::env::temp_dir().join(format!("tidelake-testkit-{}", user_id()));
    let template = home.join(format!("{:016x}", hasher.finish()));
    if template.is_dir() {
        return template;
    }
    std::fs::create_dir_all(&home).unwrap_or_else(|e| panic!("create {}: {e}", home.display()));
    let fresh = tempfile::Builder::new().prefix("new-").tempdir_in(&home).expect("the directory was just created");
    let data = fresh.path().join("data");
    install(options, &data);
    // Another process may have been faster; its template is as good.
    if std::fs::rename(&data, &template).is_err() {
        assert!(template.is_dir(), "cannot move the template to {}", template.display());
    }
    template
}

fn install(options: &MariaDbOptions, data: &Path) {
    let mut command = Command::new(options.installer());
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", REDO_LOG]);
    command.arg("--innodb-use-native-aio=OFF").arg(format!("--datadir={}", data.display()));
    if user_id() == "0" {
        command.arg("--user=root");
    }
    run(&mut command);
}

/// The id of the user who runs the tests; servers refuse to run as root unless told.
pub(crate) fn user_id() -> String {
    run(Command::new("id").arg("-u")).trim().to_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    out.into_owned()
}
