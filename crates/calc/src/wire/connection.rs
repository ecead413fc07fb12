//! One connection after its login: takes a command, answers it, takes the next. The loop only routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, histogram};
use tidelake_access::SCRAMBLE_LEN;
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::types::wire::WireType;
use tokio_util::sync::CancellationToken;

use crate::session::{Prepared, SessionInfo, SessionStatus, SqlError, SqlOutcome, SqlService, SqlSession};

use super::WireOptions;
use super::channel::{Channel, ChannelError};
use super::constants::{capability, command, error};
use super::fields::{eof_packet, error_packet, ok_packet, parameter_type, put_definition, wire_types};
use super::handshake::{self, Greeted};
use super::payload::{Payload, malformed, utf8};
use super::rows::{Ended, RowForm, gone, put_definitions, send_rows, shutting_down, while_wanted};
use super::split::statements;
use super::statements::Statements;

/// What a connection needs of its server.
pub(super) struct Surroundings {
    pub(super) service: Arc<dyn SqlService>,
    pub(super) options: Arc<WireOptions>,
    pub(super) cancel: CancellationToken,
    pub(super) started: Instant,
}

/// One logged-in client.
pub(super) struct Connection {
    around: Arc<Surroundings>,
    channel: Channel,
    session: Box<dyn SqlSession>,
    statements: Statements,
    info: SessionInfo,
    remote: SocketAddr,
    capabilities: u32,
    scramble: [u8; SCRAMBLE_LEN],
    more_results: bool,
}

/// What a command's answer means for the connection.
enum Next {
    Continue,
    Close,
}

/// An answer that could not be given: an error for the client, or the end of the connection.
enum Failure {
    Tell(SqlError),
    End(ChannelError),
}

impl From<SqlError> for Failure {
    fn from(e: SqlError) -> Self {
        Failure::Tell(e)
    }
}

impl From<ChannelError> for Failure {
    fn from(e: ChannelError) -> Self {
        Failure::End(e)
    }
}

type Answered = Result<Next, Failure>;

impl Connection {
    /// Opens the session of a checked login and says OK.
    pub(super) async fn open(
        greeted: Greeted,
        remote: SocketAddr,
        connection_id: u32,
        around: Arc<Surroundings>,
    ) -> Result<Connection, (Channel, SqlError)> {
        let Greeted { mut channel, login, caller, scramble } = greeted;
        let info = SessionInfo { caller, remote: Some(remote), database: login.database, connection_id };
        let session = match around.service.open(info.clone()).await {
            Ok(session) => session,
            Err(e) => return Err((channel, e)),
        };
        channel.end_handshake(around.options.max_allowed_packet);
        channel.put_bytes(&ok_packet(session.status()));
        let statements = Statements::new(around.options.max_prepared_statements, around.options.max_allowed_packet);
        let capabilities = login.capabilities;
        Ok(Connection {
            around,
            channel,
            session,
            statements,
            info,
            remote,
            capabilities,
            scramble,
            more_results: false,
        })
    }

    /// Answers commands until the client quits, goes away, is idle for too long, breaks the protocol, or the
    /// server shuts down.
    pub(super) async fn serve(mut self) {
        let end = loop {
            if let Err(e) = self.channel.flush().await {
                break e;
            }
            let waiting = tokio::time::timeout(self.around.options.idle_timeout, self.channel.next_command());
            let packet = tokio::select! {
                biased;
                () = self.around.cancel.cancelled() => break gone(),
                packet = waiting => packet,
            };
            let packet = match packet {
                Ok(Ok(Some(packet))) => packet,
                Ok(Ok(None)) | Err(_) => break gone(),
                Ok(Err(e)) => break e,
            };
            match self.answer(&packet).await {
                Ok(Next::Continue) => {}
                Ok(Next::Close) => break gone(),
                Err(Failure::Tell(e)) => self.put_error(&e),
                Err(Failure::End(e)) => break e,
            }
        };
        if let ChannelError::Refused(e) = &end {
            self.put_error(e);
        }
        // The session goes first: it may hold a snapshot, and closing waits for the client.
        drop(self.session);
        self.channel.close().await;
    }

    async fn answer(&mut self, packet: &[u8]) -> Answered {
        let Some((command, body)) = packet.split_first() else {
            return Err(malformed("an empty command").into());
        };
        match *command {
            command::QUIT => Ok(Next::Close),
            command::QUERY => self.query(body).await,
            command::STMT_PREPARE => self.prepare(body).await,
            command::STMT_EXECUTE => self.execute(body).await,
            command::STMT_SEND_LONG_DATA => {
                self.statements.append_long_data(body);
                Ok(Next::Continue)
            }
            command::STMT_CLOSE => self.close_statement(body),
            command::STMT_RESET => {
                self.statements.reset(Payload::new(body).u32()?)?;
                self.ok()
            }
            command::PING => self.ok(),
            command::INIT_DB => self.use_database(body).await,
            command::FIELD_LIST => self.field_list(body).await,
            command::STATISTICS => self.statistics(),
            command::RESET_CONNECTION => {
                self.statements.clear();
                self.session.reset().await;
                self.ok()
            }
            command::CHANGE_USER => self.change_user(body).await,
            command::SET_OPTION => self.set_option(body),
            command::PROCESS_KILL => Err(refused(error::NOT_SUPPORTED, "COM_PROCESS_KILL is not supported").into()),
            other => Err(refused(error::UNKNOWN_COMMAND, &format!("Unknown command {other}")).into()),
        }
    }

    fn ok(&mut self) -> Answered {
        let packet = ok_packet(self.status());
        self.channel.put_bytes(&packet);
        Ok(Next::Continue)
    }

    fn status(&self) -> SessionStatus {
        SessionStatus { more_results: self.more_results, ..self.session.status() }
    }

    fn put_error(&mut self, e: &SqlError) {
        counter!("tidelake_mysql_errors_total", "code" => e.code.to_string()).increment(1);
        self.channel.put_bytes(&error_packet(e, true));
    }

    async fn query(&mut self, body: &[u8]) -> Answered {
        let sql = utf8(body, "the statement")?;
        let several = self.capabilities & capability::MULTI_STATEMENTS != 0;
        let all = if several { statements(sql) } else { vec![sql] };
        for (i, sql) in all.iter().enumerate() {
            let started = Instant::now();
            let work = self.session.execute(sql);
            let outcome = while_wanted(&mut self.channel, &self.around.cancel, work).await;
            self.more_results = i + 1 < all.len();
            let answered = self.send(outcome, RowForm::Text).await;
            self.more_results = false;
            count_query(started);
            // An error ends the answer: what follows it is not run.
            answered?;
        }
        Ok(Next::Continue)
    }

    async fn execute(&mut self, body: &[u8]) -> Answered {
        let (id, parameters) = self.statements.parse_execute(body)?;
        let started = Instant::now();
        let work = self.session.execute_prepared(id, &parameters);
        let outcome = while_wanted(&mut self.channel, &self.around.cancel, work).await;
        let answered = self.send(outcome, RowForm::Binary).await;
        count_query(started);
        answered
    }

    async fn send(&mut self, outcome: Ended<Result<SqlOutcome, SqlError>>, form: RowForm) -> Answered {
        let rows = match self.finished(outcome)? {
            SqlOutcome::Done | SqlOutcome::Remembered => return self.ok(),
            SqlOutcome::Rows(rows) => rows,
        };
        let status = self.status();
        let sent = send_rows(&mut self.channel, &self.around.cancel, self.capabilities, status, rows, form).await?;
        self.finished(Ended::Done(sent))?;
        Ok(Next::Continue)
    }

    /// The value of work that ended as it should; a shutdown is told and ends the connection.
    fn finished<T>(&mut self, ended: Ended<Result<T, SqlError>>) -> Result<T, Failure> {
        let result = match ended {
            Ended::Done(result) => result,
            Ended::ClientGone => return Err(gone().into()),
            Ended::Shutdown => Err(shutting_down()),
        };
        match result {
            Err(e) if [error::SERVER_SHUTDOWN.0, error::CONNECTION_KILLED.0].contains(&e.code) => {
                Err(ChannelError::Refused(e).into())
            }
            other => Ok(other?),
        }
    }

    async fn prepare(&mut self, body: &[u8]) -> Answered {
        let sql = utf8(body, "the statement")?;
        self.statements.check_room()?;
        let work = self.session.prepare(sql);
        let ended = while_wanted(&mut self.channel, &self.around.cancel, work).await;
        let prepared = self.finished(ended)?;
        match self.put_prepared(&prepared) {
            Ok(()) => self.statements.opened(&prepared),
            Err(e) => {
                self.session.close_prepared(prepared.id);
                return Err(e.into());
            }
        }
        Ok(Next::Continue)
    }

    fn put_prepared(&mut self, prepared: &Prepared) -> Result<(), SqlError> {
        let types = wire_types(&prepared.schema, ServerFlavor::default())?;
        let too_many = |_| refused(error::TOO_MANY_PARAMETERS, "Prepared statement contains too many placeholders");
        let parameters = u16::try_from(prepared.parameters).map_err(too_many)?;
        let columns = u16::try_from(types.len()).map_err(too_many)?;
        let mut head = vec![0];
        head.extend_from_slice(&prepared.id.to_le_bytes());
        head.extend_from_slice(&columns.to_le_bytes());
        head.extend_from_slice(&parameters.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        self.channel.put_bytes(&head);
        let parameter = parameter_type();
        self.put_block((0..prepared.parameters).map(|_| ("?", &parameter)));
        self.put_block(prepared.schema.fields().iter().map(|f| f.name().as_str()).zip(&types));
        Ok(())
    }

    /// Definitions of a prepared statement: nothing if there are none.
    fn put_block<'a>(&mut self, fields: impl ExactSizeIterator<Item = (&'a str, &'a WireType)>) {
        if fields.len() == 0 {
            return;
        }
        put_definitions(&mut self.channel, fields);
        if self.capabilities & capability::DEPRECATE_EOF == 0 {
            let end = eof_packet(self.session.status(), self.capabilities);
            self.channel.put_bytes(&end);
        }
    }

    fn close_statement(&mut self, body: &[u8]) -> Answered {
        // This command has no answer, not even an error.
        if let Ok(id) = Payload::new(body).u32() {
            self.statements.close(id);
            self.session.close_prepared(id);
        }
        Ok(Next::Continue)
    }

    async fn use_database(&mut self, body: &[u8]) -> Answered {
        let database = utf8(body, "the database name")?;
        let work = self.session.use_database(database);
        let ended = while_wanted(&mut self.channel, &self.around.cancel, work).await;
        self.finished(ended)?;
        self.ok()
    }

    /// COM_FIELD_LIST: the columns of a table; the wildcard after its name is a client's courtesy and not used.
    async fn field_list(&mut self, body: &[u8]) -> Answered {
        let table = utf8(Payload::new(body).zero_terminated(), "the table name")?;
        let sql = format!("SELECT * FROM `{}` LIMIT 0", table.replace('`', "``"));
        let work = self.session.execute(&sql);
        let ended = while_wanted(&mut self.channel, &self.around.cancel, work).await;
        let SqlOutcome::Rows(rows) = self.finished(ended)? else {
            return Err(malformed("the table has no columns").into());
        };
        let types = wire_types(&rows.schema, rows.text.flavor)?;
        for (field, ty) in rows.schema.fields().iter().zip(&types) {
            let mut definition = Vec::new();
            put_definition(field.name(), ty, &mut definition);
            // The default value: not known.
            definition.push(0xfb);
            self.channel.put_bytes(&definition);
        }
        let end = eof_packet(self.session.status(), self.capabilities);
        self.channel.put_bytes(&end);
        Ok(Next::Continue)
    }

    fn statistics(&mut self) -> Answered {
        // Clients take this apart; what is not counted is 0.
        let text = format!(
            "Uptime: {}  Threads: 1  Questions: 0  Slow queries: 0  Opens: 0  Open tables: 0  Queries per second avg: 0.000",
            self.around.started.elapsed().as_secs()
        );
        self.channel.put_bytes(text.as_bytes());
        Ok(Next::Continue)
    }

    /// COM_SET_OPTION: 0 switches several statements per query on, 1 off.
    fn set_option(&mut self, body: &[u8]) -> Answered {
        match Payload::new(body).u16()? {
            0 => self.capabilities |= capability::MULTI_STATEMENTS,
            1 => self.capabilities &= !capability::MULTI_STATEMENTS,
            _ => return Err(refused(error::UNKNOWN_COMMAND, "Unknown option of COM_SET_OPTION").into()),
        }
        let end = eof_packet(self.session.status(), self.capabilities & !capability::DEPRECATE_EOF);
        self.channel.put_bytes(&end);
        Ok(Next::Continue)
    }

    /// COM_CHANGE_USER: the same checks as at connect; whoever fails them is cut off.
    async fn change_user(&mut self, body: &[u8]) -> Answered {
        let login = handshake::parse_change_user(body, self.capabilities).map_err(ChannelError::Refused)?;
        let checked =
            handshake::authenticate(&mut self.channel, &login, &self.scramble, self.remote.ip(), &self.around.options);
        let in_time = tokio::time::timeout(self.around.options.connect_timeout, checked).await;
        let caller = in_time.unwrap_or_else(|_| Err(ChannelError::Refused(handshake::too_slow())))?;
        let info = SessionInfo { caller, database: login.database, ..self.info.clone() };
        let opened = self.around.service.open(info.clone()).await;
        self.session = opened.map_err(ChannelError::Refused)?;
        self.statements.clear();
        self.info = info;
        self.ok()
    }
}

fn refused((code, state): (u16, &'static str), message: &str) -> SqlError {
    SqlError::new(code, state, message)
}

fn count_query(started: Instant) {
    counter!("tidelake_mysql_queries_total").increment(1);
    histogram!("tidelake_mysql_query_seconds").record(started.elapsed().as_secs_f64());
}
