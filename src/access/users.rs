//! Users of the configuration file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tidelake_access::{PasswordHash, Right, Rights, User};
use tidelake_core::filter::TableFilter;

/// One user of the configuration file: at most one of the four says the password, at most one of the two the token, and there must be a
/// password or a token.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserConfig {
    /// The name to log in with.
    pub name: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    native_hash: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    /// Patterns of the tables that may be read, as for `--tables`; without, all.
    tables: Option<String>,
    /// `read`, `write`, `admin`; without, `read`.
    rights: Option<Vec<String>>,
}

/// Passwords are never printed.
impl std::fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserConfig({:?})", self.name)
    }
}

/// All of them.
///
/// # Errors
/// Names the user and what is wrong.
pub fn users(configured: &[UserConfig]) -> Result<Vec<User>> {
    for (i, user) in configured.iter().enumerate() {
        if configured[..i].iter().any(|other| other.name == user.name) {
            bail!("user {} is configured twice", user.name);
        }
    }
    configured.iter().map(UserConfig::user).collect()
}

impl UserConfig {
    fn user(&self) -> Result<User> {
        let name = &self.name;
        let mut user = User::new(name, self.rights()?);
        let (password, token) = (self.password()?, self.token()?);
        if password.is_none() && token.is_none() {
            bail!(
                "user {name}: write one of password, password-file, password-env and native-hash, or one of token-file and token-env"
            );
        }
        if let Some(hash) = password {
            user = user.with_password(hash);
        }
        if let Some(token) = token {
            user = user.with_token(&token);
        }
        Ok(user)
    }

    fn password(&self) -> Result<Option<PasswordHash>> {
        let name = &self.name;
        let hash = match (&self.password, &self.password_file, &self.password_env, &self.native_hash) {
            (None, None, None, None) => return Ok(None),
            (Some(password), None, None, None) => PasswordHash::of_password(password),
            (None, Some(file), None, None) => PasswordHash::of_password(&secret_of_file("the password", name, file)?),
            (None, None, Some(variable), None) => {
                PasswordHash::of_password(&secret_of_variable("the password", name, variable)?)
            }
            (None, None, None, Some(hash)) => PasswordHash::parse_native(hash)
                .with_context(|| format!("native-hash of user {name} is not `*` and 40 hexadecimal digits"))?,
            _ => bail!("user {name}: write only one of password, password-file, password-env and native-hash"),
        };
        Ok(Some(hash))
    }

    fn token(&self) -> Result<Option<String>> {
        let name = &self.name;
        let token = match (&self.token_file, &self.token_env) {
            (None, None) => return Ok(None),
            (Some(file), None) => secret_of_file("the token", name, file)?,
            (None, Some(variable)) => secret_of_variable("the token", name, variable)?,
            _ => bail!("user {name}: write only one of token-file and token-env"),
        };
        if token.len() < SHORTEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            bail!(
                "the token of user {name} must be at least {SHORTEST_TOKEN} printable ASCII characters without spaces, \
                 for example what `openssl rand -hex 32` prints"
            );
        }
        Ok(Some(token))
    }

    fn rights(&self) -> Result<Rights> {
        let name = &self.name;
        let rights: Vec<Right> = match &self.rights {
            None => vec![Right::Read],
            Some(names) => {
                let right = |text: &String| {
                    Right::by_name(text)
                        .with_context(|| format!("user {name}: {text:?} is no right; there are read, write and admin"))
                };
                names.iter().map(right).collect::<Result<_>>()?
            }
        };
        if rights.contains(&Right::Write) && self.tables.is_some() {
            bail!("user {name}: whoever has the right \"write\" may read everything: leave out tables, or the right");
        }
        let tables = self.tables.as_deref().map(TableFilter::parse).transpose();
        Ok(Rights::new(rights, tables.with_context(|| format!("tables of user {name}"))?))
    }
}

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The first line of a file.
///
/// # Errors
/// If it cannot be read or is empty.
pub fn secret_of(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("{} is empty", file.display());
    }
    Ok(secret.to_owned())
}

fn secret_of_file(what: &str, user: &str, file: &Path) -> Result<String> {
    secret_of(file).with_context(|| format!("{what} of user {user}"))
}

fn secret_of_variable(what: &str, user: &str, variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{what} of user {user}: environment variable {variable}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(toml: &str) -> Result<User> {
        toml::from_str::<UserConfig>(toml).expect("a user").user()
    }

    #[test]
    fn secrets_come_from_text_file_variable_or_hash() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("secret");
        std::fs::write(&file, "sixteen-or-longer\n").expect("write");
        let file = file.display();
        for good in [
            "password = 'secret'".to_owned(),
            format!("password-file = '{file}'"),
            "native-hash = '*14E65567ABDB5135D0CFD9A70B3032C179A49EE7'".to_owned(),
            format!("token-file = '{file}'"),
            format!("password = 'x'\ntoken-file = '{file}'"),
            "password-env = 'PATH'".to_owned(),
        ] {
            user(&format!("name = 'a'\n{good}")).expect(&good);
        }
        for (bad, said) in [
            (String::new(), "write one of password"),
            ("native-hash = 'secret'".to_owned(), "40 hexadecimal"),
            ("password = 'x'\nnative-hash = 'y'".to_owned(), "only one of"),
            ("password-env = 'TIDELAKE_NO_SUCH'".to_owned(), "TIDELAKE_NO_SUCH"),
            ("password-file = '/nowhere'".to_owned(), "/nowhere"),
            ("password = 'x'\nrights = ['all']".to_owned(), "\"all\" is no right"),
            ("password = 'x'\ntables = 'shop'".to_owned(), "tables of user a"),
            ("password = 'x'\ntables = 'shop.*'\nrights = ['read', 'write']".to_owned(), "leave out tables"),
        ] {
            let message = format!("{:#}", user(&format!("name = 'a'\n{bad}")).expect_err(&bad));
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn nobody_is_there_twice_and_nothing_is_printed() {
        let one: UserConfig = toml::from_str("name = 'a'\npassword = 'secret'").expect("a user");
        assert_eq!(format!("{one:?}"), "UserConfig(\"a\")");
        assert!(users(&[one.clone(), one]).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn short_tokens_are_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("token");
        std::fs::write(&file, "short").expect("write");
        let message = user(&format!("name = 'a'\ntoken-file = '{}'", file.display())).unwrap_err().to_string();
        assert!(message.contains("at least 16"), "{message}");
    }
}
