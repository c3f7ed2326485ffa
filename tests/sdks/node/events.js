// What is to be sent, as the SDK's CloudEvent.
const { CloudEvent } = require("cloudevents");

function built({ on, text, bytes, extensions, ...attributes }) {
  const json = attributes.datacontenttype === "application/json";
  const data = bytes ? new Uint8Array(Buffer.from(bytes, "base64")) : json ? JSON.parse(text) : text;
  return new CloudEvent({ ...attributes, ...extensions, data });
}

module.exports = { built };
