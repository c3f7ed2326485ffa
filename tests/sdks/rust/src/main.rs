//! Publishes events with the Rust SDK of CloudEvents, whose NATS binding knows structured mode only.
//!
//! Usage: sender URL < events.json; each event goes out on the subject that it names.
use base64::Engine as _;
use cloudevents::binding::nats::NatsCloudEvent;
use cloudevents::{Data, Event, EventBuilder, EventBuilderV10};
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let url = std::env::args().nth(1).ok_or("usage: sender URL < events.json")?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(url).await?);
    for item in serde_json::from_reader::<_, Vec<Value>>(std::io::stdin())? {
        let event = built(&item)?;
        let subject = text(&item, "on").ok_or("an event without a subject")?;
        let payload = NatsCloudEvent::from_event(event)?.payload;
        jetstream.publish(subject, payload.into()).await?.await?;
    }
    Ok(())
}

fn text(item: &Value, name: &str) -> Option<String> {
    item.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn built(item: &Value) -> Result<Event, Failure> {
    let mut builder = EventBuilderV10::new()
        .id(text(item, "id").unwrap_or_default())
        .source(text(item, "source").unwrap_or_default())
        .ty(text(item, "type").unwrap_or_default());
    if let Some(subject) = text(item, "subject") {
        builder = builder.subject(subject);
    }
    if let Some(time) = text(item, "time") {
        builder = builder.time(time);
    }
    for (name, value) in item.get("extensions").and_then(Value::as_object).into_iter().flatten() {
        builder = match value {
            Value::Bool(flag) => builder.extension(name, *flag),
            Value::Number(number) => builder.extension(name, number.as_i64().unwrap_or_default()),
            other => builder.extension(name, other.as_str().unwrap_or_default()),
        };
    }
    let kind = text(item, "datacontenttype").unwrap_or_default();
    if let Some(encoded) = text(item, "bytes") {
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded)?;
        builder = builder.data(kind, Data::Binary(bytes));
    } else if let Some(data) = text(item, "text") {
        builder = if kind == "application/json" {
            builder.data(kind, serde_json::from_str::<Value>(&data)?)
        } else {
            builder.data(kind, data)
        };
    }
    Ok(builder.build()?)
}
