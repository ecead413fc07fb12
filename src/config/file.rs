//! The configuration file. Its keys are the options' names; the command line wins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use serde::Deserialize;

use crate::access::args::{EngineLoginArgs, EtcdArgs, LatchArgs, MysqlTlsArgs, TlsArgs};
use crate::access::users::UserConfig;
use crate::options::{CompressionArg, FreshnessArg, LogFormat};

/// The file: the same names as the options.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileConfig {
    pub(crate) engine: Option<String>,
    pub(crate) magic_listen: Option<SocketAddr>,
    pub(crate) latch: Option<String>,
    pub(crate) latch_listen: Option<SocketAddr>,
    pub(crate) latch_backend: Option<String>,
    pub(crate) engine_patience: Option<String>,
    pub(crate) etcd_ca: Option<PathBuf>,
    pub(crate) etcd_cert: Option<PathBuf>,
    pub(crate) etcd_key: Option<PathBuf>,
    pub(crate) etcd_user: Option<String>,
    pub(crate) etcd_password_file: Option<PathBuf>,
    pub(crate) latch_token_file: Option<PathBuf>,
    pub(crate) latch_ca: Option<PathBuf>,
    pub(crate) latch_cert: Option<PathBuf>,
    pub(crate) latch_key: Option<PathBuf>,
    pub(crate) source: Option<String>,
    pub(crate) copy_from: Option<String>,
    pub(crate) tables: Option<String>,
    pub(crate) follow: Option<bool>,
    pub(crate) copy_chunk_rows: Option<usize>,
    pub(crate) copy_threads: Option<usize>,
    pub(crate) server_id: Option<u32>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) mysql_listen: Option<SocketAddr>,
    pub(crate) flight_listen: Option<SocketAddr>,
    pub(crate) http_listen: Option<SocketAddr>,
    pub(crate) ports_file: Option<PathBuf>,
    pub(crate) interval: Option<String>,
    pub(crate) buffer_limit: Option<ByteSize>,
    pub(crate) memtable_limit: Option<ByteSize>,
    pub(crate) engine_storage: Option<String>,
    pub(crate) engine_cache: Option<ByteSize>,
    pub(crate) engine_compression: Option<CompressionArg>,
    pub(crate) flush_interval: Option<String>,
    pub(crate) retention: Option<String>,
    pub(crate) query_memory: Option<ByteSize>,
    #[serde(default)]
    pub(crate) users: Vec<UserConfig>,
    pub(crate) mysql_tls_cert: Option<PathBuf>,
    pub(crate) mysql_tls_key: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    pub(crate) engine_token_file: Option<PathBuf>,
    pub(crate) engine_ca: Option<PathBuf>,
    pub(crate) engine_cert: Option<PathBuf>,
    pub(crate) engine_key: Option<PathBuf>,
    pub(crate) insecure_listen: Option<bool>,
    pub(crate) freshness: Option<FreshnessArg>,
    pub(crate) time_zone: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log: Option<String>,
}

impl FileConfig {
    /// The command line wins, certificate and key together.
    pub(crate) fn tls(&self, given: TlsArgs) -> TlsArgs {
        let own = given.tls_cert.is_some() || given.tls_key.is_some();
        TlsArgs {
            tls_cert: given.tls_cert.or_else(|| self.tls_cert.clone().filter(|_| !own)),
            tls_key: given.tls_key.or_else(|| self.tls_key.clone().filter(|_| !own)),
            tls_client_ca: given.tls_client_ca.or_else(|| self.tls_client_ca.clone()),
        }
    }

    /// As [`FileConfig::tls`].
    pub(crate) fn mysql_tls(&self, given: MysqlTlsArgs) -> MysqlTlsArgs {
        if given.mysql_tls_cert.is_some() || given.mysql_tls_key.is_some() {
            return given;
        }
        MysqlTlsArgs { mysql_tls_cert: self.mysql_tls_cert.clone(), mysql_tls_key: self.mysql_tls_key.clone() }
    }

    /// Where the latch is, and how to come in there.
    pub(crate) fn latch(&self, given: LatchArgs) -> LatchArgs {
        let own = given.latch_cert.is_some() || given.latch_key.is_some();
        let named = || self.latch.iter().flat_map(|all| all.split(',')).map(|one| one.trim().to_owned()).collect();
        LatchArgs {
            latch: if given.latch.is_empty() { named() } else { given.latch },
            latch_token_file: given.latch_token_file.or_else(|| self.latch_token_file.clone()),
            latch_ca: given.latch_ca.or_else(|| self.latch_ca.clone()),
            latch_cert: given.latch_cert.or_else(|| self.latch_cert.clone().filter(|_| !own)),
            latch_key: given.latch_key.or_else(|| self.latch_key.clone().filter(|_| !own)),
        }
    }

    /// How to come in at etcd. The command line wins, certificate and key together, and user and password.
    pub(crate) fn etcd(&self, given: EtcdArgs) -> EtcdArgs {
        let own = given.etcd_cert.is_some() || given.etcd_key.is_some();
        let user = given.etcd_user.is_some();
        EtcdArgs {
            etcd_ca: given.etcd_ca.or_else(|| self.etcd_ca.clone()),
            etcd_cert: given.etcd_cert.or_else(|| self.etcd_cert.clone().filter(|_| !own)),
            etcd_key: given.etcd_key.or_else(|| self.etcd_key.clone().filter(|_| !own)),
            etcd_user: given.etcd_user.or_else(|| self.etcd_user.clone()),
            etcd_password_file: given.etcd_password_file.or_else(|| self.etcd_password_file.clone().filter(|_| !user)),
        }
    }

    /// How to come in at the engine.
    pub(crate) fn engine_login(&self, given: EngineLoginArgs) -> EngineLoginArgs {
        let own = given.engine_cert.is_some() || given.engine_key.is_some();
        EngineLoginArgs {
            engine_token_file: given.engine_token_file.or_else(|| self.engine_token_file.clone()),
            engine_ca: given.engine_ca.or_else(|| self.engine_ca.clone()),
            engine_cert: given.engine_cert.or_else(|| self.engine_cert.clone().filter(|_| !own)),
            engine_key: given.engine_key.or_else(|| self.engine_key.clone().filter(|_| !own)),
        }
    }
}

/// The configuration file, or nothing.
///
/// # Errors
/// A file that cannot be read, or has unknown keys.
pub(crate) fn read_file(path: Option<&Path>) -> Result<FileConfig> {
    let Some(path) = path else { return Ok(FileConfig::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("read configuration file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("configuration file {}", path.display()))
}
