// Reads deliveries from stdin, a line of JSON each ({"contentType", "body"}), and
// writes for each a line with the events that Microsoft's and CloudEvents' parsers
// have found in it.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { EventGridDeserializer } = require("@azure/eventgrid");
const { HTTP } = require("cloudevents");

const deserializer = new EventGridDeserializer();

function found(parser, type, event) {
  return {
    parser, type, id: event.id, subject: event.subject,
    digest: event.data?.target?.digest,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { contentType, body } = JSON.parse(line);
  const events = [];
  if (contentType.startsWith("application/cloudevents")) {
    for (const e of await deserializer.deserializeCloudEvents(body)) {
      events.push(found("@azure/eventgrid", e.type, e));
    }
    for (const e of [HTTP.toEvent({ headers: { "content-type": contentType }, body })].flat()) {
      e.validate();
      events.push(found("cloudevents", e.type, e));
    }
  } else {
    for (const e of await deserializer.deserializeEventGridEvents(body)) {
      events.push(found("@azure/eventgrid", e.eventType, e));
    }
  }
  console.log(JSON.stringify(events));
}
