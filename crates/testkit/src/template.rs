//! Empty data directories. Making one takes seconds, copying one a fraction: the first test makes a template beside
//! the other temporary files, all later ones (other processes' too) copy it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::kind::ServerKind;

/// Puts an empty data directory at `target`, which must not exist.
///
/// # Panics
/// If that fails, with the installer's output.
pub(crate) fn new_data_dir(kind: ServerKind, target: &Path) {
    let template = template(kind);
    run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(&template).arg(target));
}

/// The template for this server, made if it is not there.
fn template(kind: ServerKind) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let words = kind.command();
    let version = run(Command::new(&words[0]).args(&words[1..]).args(["--no-defaults", "--version"]));
    let mut hasher = DefaultHasher::new();
    (version, kind, kind.settings()).hash(&mut hasher);
    let home = std::env::temp_dir().join(format!("tidelake-testkit-{}", user_id()));
    let template = home.join(format!("{:016x}", hasher.finish()));
    if template.is_dir() {
        return template;
    }
    std::fs::create_dir_all(&home).unwrap_or_else(|e| panic!("create {}: {e}", home.display()));
    let fresh = tempfile::Builder::new().prefix("new-").tempdir_in(&home).expect("the directory was just created");
    let data = fresh.path().join("data");
    kind.install(&data);
    // Another process may have been faster; its template is as good.
    if std::fs::rename(&data, &template).is_err() {
        assert!(template.is_dir(), "cannot move the template to {}", template.display());
    }
    template
}

/// The id of the user who runs the tests; servers refuse to run as root unless told.
pub(crate) fn user_id() -> String {
    run(Command::new("id").arg("-u")).trim().to_owned()
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    out.into_owned()
}
