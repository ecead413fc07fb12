//! The end of a stream of rows. HTTP/2 can end a stream that was cut on its way so that it looks whole, so the last message of each says that
//! it is the last: an empty batch with a mark. Without it, the rows do not count.

use arrow_flight::FlightData;
use arrow_flight::error::FlightError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tidelake_core::Error;
use tonic::Status;

use crate::errors::to_status;

/// The last message's `app_metadata`.
pub(crate) const END: &[u8] = b"end";

/// The stream, with an error at its end if the last message did not come.
pub(crate) fn checked(
    data: impl Stream<Item = Result<FlightData, Status>> + Send,
) -> impl Stream<Item = Result<FlightData, FlightError>> + Send {
    let tonic = |status| FlightError::Tonic(Box::new(status));
    data.map_err(tonic).map(Some).chain(stream::once(async { None })).scan(false, move |ended, item| {
        let next = match item {
            Some(Ok(message)) => {
                *ended = message.app_metadata.as_ref() == END;
                Some(Ok(message))
            }
            Some(Err(e)) => {
                *ended = true;
                Some(Err(e))
            }
            None if *ended => None,
            None => {
                *ended = true;
                let cut = Error::Unavailable("a stream of rows was cut: its end is missing".into());
                Some(Err(tonic(to_status(&cut))))
            }
        };
        futures::future::ready(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &'static str) -> Result<FlightData, Status> {
        Ok(FlightData::new().with_data_body(body))
    }

    fn end() -> Result<FlightData, Status> {
        message("").map(|message| message.with_app_metadata(END))
    }

    async fn read(data: Vec<Result<FlightData, Status>>) -> (usize, Option<String>) {
        let items: Vec<_> = checked(stream::iter(data)).collect().await;
        let error = items.iter().find_map(|item| item.as_ref().err().map(ToString::to_string));
        (items.iter().filter(|item| item.is_ok()).count(), error)
    }

    #[tokio::test]
    async fn a_stream_without_its_last_message_was_cut() {
        assert_eq!(read(vec![message("a"), message("b"), end()]).await, (3, None));
        let (count, error) = read(vec![message("a"), message("b")]).await;
        assert!(count == 2 && error.as_deref().is_some_and(|e| e.contains("was cut")), "{error:?}");
        assert!(read(vec![]).await.1.is_some());
    }

    #[tokio::test]
    async fn an_error_is_an_end_too() {
        let (count, error) = read(vec![message("a"), Err(Status::internal("disk"))]).await;
        assert!(count == 1 && error.as_deref().is_some_and(|e| e.contains("disk")), "{error:?}");
    }
}
