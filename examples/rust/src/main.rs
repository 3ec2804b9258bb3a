//! A client of mistralwire's gRPC service: `mistralwire-client ADDRESS CALL [ARGUMENT]`.
//!
//! Makes one call and prints its outcome as a JSON object, whatever the status.

mod answer;
mod calls;
mod finish_reason;
mod reencode;
mod report;
#[cfg(test)]
mod vectors;

/// The code that prost and tonic generate from the contract.
#[allow(clippy::large_enum_variant, dead_code)]
mod v1 {
    tonic::include_proto!("mistralwire.v1");
}

use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::time::Duration;

use prost::Message;
use serde_json::json;

use crate::answer::Answer;
use crate::calls::connect;
use crate::v1::ChatCompletionRequest;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [address, "unary", request_id] => {
            let mut client = connect(address).await?;
            report::unary(calls::unary(&mut client, request_id.parse()?).await)
        }
        [address, "stream", request_id] => {
            let (mut client, mut answer) = (connect(address).await?, Answer::default());
            let outcome = calls::stream(&mut client, request_id.parse()?, &mut answer).await;
            report::stream(&answer, outcome)
        }
        [address, "broken"] => report::unary(calls::broken(&mut connect(address).await?).await),
        [address, "deadline", milliseconds] => {
            let timeout = Duration::from_millis(milliseconds.parse()?);
            report::unary(calls::deadline(&mut connect(address).await?, timeout).await)
        }
        [address, "cancel", count] => {
            let (mut client, mut answer) = (connect(address).await?, Answer::default());
            let outcome = calls::cancel(&mut client, count.parse()?, &mut answer).await;
            report::stream(&answer, outcome)
        }
        [address, "relay"] => {
            let request = ChatCompletionRequest::decode(&standard_input()?[..])?;
            report::relay(calls::relay(&mut connect(address).await?, request).await)
        }
        [_, "reencode", type_name] => {
            let data = reencode::reencode(type_name, &standard_input()?)?;
            json!({"bytes": report::base64(&data)})
        }
        _ => return Err("usage: mistralwire-client ADDRESS CALL [ARGUMENT]".into()),
    };
    println!("{outcome}");
    Ok(())
}

fn standard_input() -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    io::stdin().read_to_end(&mut data)?;
    Ok(data)
}
