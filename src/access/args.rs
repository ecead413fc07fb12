//! Options of certificates and logins, shared by the commands that listen or connect.

use std::path::PathBuf;

use clap::Args;

/// The certificate of what a process listens on.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArgs {
    /// Certificate chain (PEM) of all listeners: HTTP and Flight then speak TLS only, MySQL clients may use it, and must
    /// from other machines. Read again on SIGHUP
    #[arg(long, env = "TIDELAKE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Clients must show a certificate that one of these (PEM) has signed
    #[arg(long, env = "TIDELAKE_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}

/// Another certificate for the MySQL listener.
#[derive(Clone, Debug, Default, Args)]
pub struct MysqlTlsArgs {
    /// Certificate chain (PEM) of the MySQL listener [default: that of --tls-cert]
    #[arg(long, env = "TIDELAKE_MYSQL_TLS_CERT", value_name = "FILE")]
    pub mysql_tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_MYSQL_TLS_KEY", value_name = "FILE")]
    pub mysql_tls_key: Option<PathBuf>,
}

/// How a process comes in at its engine.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineLoginArgs {
    /// File with the token of a user of the engine; a writer's needs the right "write"
    #[arg(long, env = "TIDELAKE_ENGINE_TOKEN_FILE", value_name = "FILE")]
    pub engine_token_file: Option<PathBuf>,
    /// Certificates (PEM) that may have signed the engine's; the connection is then encrypted
    #[arg(long, env = "TIDELAKE_ENGINE_CA", value_name = "FILE")]
    pub engine_ca: Option<PathBuf>,
    /// Our certificate chain (PEM), if the engine asks for one
    #[arg(long, env = "TIDELAKE_ENGINE_CERT", value_name = "FILE")]
    pub engine_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_ENGINE_KEY", value_name = "FILE")]
    pub engine_key: Option<PathBuf>,
}

/// Where the latch is, if it is a process of its own, and how a process comes in there.
#[derive(Clone, Debug, Default, Args)]
pub struct LatchArgs {
    /// The latch, if it is a process of its own (`tidelake latch`): HOST:PORT, or those of several latches at one etcd
    /// [default: in the engine's process]
    #[arg(long, env = "TIDELAKE_LATCH", value_name = "ADDR", value_delimiter = ',')]
    pub latch: Vec<String>,
    /// File with the token of a user of the latch; an engine's and a writer's needs the right "write" [default: as for the engine]
    #[arg(long, env = "TIDELAKE_LATCH_TOKEN_FILE", value_name = "FILE")]
    pub latch_token_file: Option<PathBuf>,
    /// Certificates (PEM) that may have signed the latch's; the connection is then encrypted [default: as for the engine]
    #[arg(long, env = "TIDELAKE_LATCH_CA", value_name = "FILE")]
    pub latch_ca: Option<PathBuf>,
    /// Our certificate chain (PEM), if the latch asks for one [default: as for the engine]
    #[arg(long, env = "TIDELAKE_LATCH_CERT", value_name = "FILE")]
    pub latch_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_LATCH_KEY", value_name = "FILE")]
    pub latch_key: Option<PathBuf>,
}

/// How a latch comes in at etcd.
#[derive(Clone, Debug, Default, Args)]
pub struct EtcdArgs {
    /// With --latch-backend: certificates (PEM) that may have signed etcd's; the connection is then encrypted
    #[arg(long, env = "TIDELAKE_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate chain (PEM), if etcd asks for one
    #[arg(long, env = "TIDELAKE_ETCD_CERT", value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_ETCD_KEY", value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,
    /// A user of etcd, whose role may read and write the prefix; the password is in --etcd-password-file or TIDELAKE_ETCD_PASSWORD
    #[arg(long, env = "TIDELAKE_ETCD_USER", value_name = "NAME")]
    pub etcd_user: Option<String>,
    /// File with that user's password
    #[arg(long, env = "TIDELAKE_ETCD_PASSWORD_FILE", value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,
}

/// Certificates of a command's own connection.
#[derive(Clone, Debug, Default, Args)]
pub struct ClientTlsArgs {
    /// Certificates (PEM) that may have signed the server's; the connection is then encrypted
    #[arg(long, env = "TIDELAKE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate chain (PEM), if the server asks for one
    #[arg(long, env = "TIDELAKE_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "TIDELAKE_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Which running tidelake to ask over HTTP, and as whom.
#[derive(Clone, Debug, Default, Args)]
pub struct HttpArgs {
    /// HTTP address of the running tidelake; https:// before it if it has a certificate
    #[arg(long, env = "TIDELAKE_HTTP", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: String,
    /// User name, if it knows users; the password is TIDELAKE_PASSWORD
    #[arg(long, short, env = "TIDELAKE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Password; better given by TIDELAKE_PASSWORD than on the command line
    #[arg(long, env = "TIDELAKE_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// File with a user's token, instead of name and password
    #[arg(long, env = "TIDELAKE_TOKEN_FILE", value_name = "FILE", conflicts_with = "user")]
    pub token_file: Option<PathBuf>,
    /// Certificates.
    #[command(flatten)]
    pub tls: ClientTlsArgs,
}
