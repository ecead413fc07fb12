//! The whole way of a feed, without TiDB: [`history`] makes up transactions (DDL in [`statements`]) and knows the truth after each; [`files`],
//! [`drainer`] and [`messages`] play them into a format as badly as its sender may; [`replica`] applies what the decoder makes of
//! them, and must be equal after every transaction.

mod consumed;
mod ddl;
mod drainer;
mod files;
mod golden;
mod history;
mod hostile;
mod kafka;
mod kinds;
mod messages;
mod replica;
mod statements;
mod storage;
