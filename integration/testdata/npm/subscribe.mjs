// Drives Event Grid's resource at ENDPOINT with Microsoft's client for it, and
// writes what it has been told as one JSON object. HOOK is a receiver that agrees.
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { EventGridManagementClient } = require("@azure/arm-eventgrid");

const { ENDPOINT, TOKEN, HOOK } = process.env;
const credential = { getToken: async () => ({ token: TOKEN, expiresOnTimestamp: Date.now() + 3600e3 }) };
const client = new EventGridManagementClient(credential, "sub", { endpoint: ENDPOINT });
// On loopback there is no TLS, which Azure's clients insist on; and they know
// nothing of insecure, which the receiver here needs for the same reason.
client.pipeline.removePolicy({ name: "bearerTokenAuthenticationPolicy" });
client.pipeline.addPolicy({
  name: "loopback",
  sendRequest: async (request, next) => {
    request.headers.set("Authorization", "Bearer " + TOKEN);
    request.allowInsecureConnection = true;
    if (request.method === "PUT" && request.body.includes(HOOK)) {
      const body = JSON.parse(request.body);
      body.properties.destination.properties.insecure = true;
      request.body = JSON.stringify(body);
    }
    return next(request);
  },
});

const subscriptions = client.eventSubscriptions;
const scope = "subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/reg";
const storage = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc";
const told = {};

told.created = await subscriptions.beginCreateOrUpdateAndWait(scope, "js-hook", {
  destination: {
    endpointType: "WebHook", endpointUrl: HOOK + "/?code=SECRET", maxEventsPerBatch: 2,
    deliveryAttributeMappings: [
      { name: "X-Static", type: "Static", value: "SECRET", isSecret: true },
      { name: "X-Dynamic", type: "Dynamic", sourceField: "data.target.tag" },
    ],
  },
  filter: {
    subjectBeginsWith: "app", isSubjectCaseSensitive: true, enableAdvancedFilteringOnArrays: true,
    includedEventTypes: ["Microsoft.ContainerRegistry.ImagePushed"],
    advancedFilters: [
      { operatorType: "StringIn", key: "data.target.tag", values: ["v1"] },
      { operatorType: "NumberInRange", key: "data.target.size", values: [[1, 1000]] },
      { operatorType: "BoolEquals", key: "data.x", value: false },
      { operatorType: "IsNullOrUndefined", key: "data.y" },
    ],
  },
  labels: ["a"], eventDeliverySchema: "EventGridSchema", expirationTimeUtc: new Date("2099-01-01T00:00:00Z"),
  retryPolicy: { maxDeliveryAttempts: 3, eventTimeToLiveInMinutes: 10 },
  deadLetterDestination: { endpointType: "StorageBlob", resourceId: storage, blobContainerName: "dead" },
});
told.url = await subscriptions.getFullUrl(scope, "js-hook");
told.attributes = await subscriptions.getDeliveryAttributes(scope, "js-hook");
told.updated = await subscriptions.beginUpdateAndWait(scope, "js-hook", { labels: ["b"], filter: { subjectEndsWith: ":v1" } });
told.queue = await subscriptions.beginCreateOrUpdateAndWait(scope, "js-queue", {
  destination: { endpointType: "StorageQueue", resourceId: storage, queueName: "q", queueMessageTimeToLiveInSeconds: 300 },
});
told.listed = [];
for await (const s of subscriptions.listByResource("rg", "Microsoft.ContainerRegistry", "registries", "reg")) {
  told.listed.push(s.name);
}
told.faults = await subscriptions
  .beginCreateOrUpdateAndWait(scope, "x", { destination: { endpointType: "WebHook", endpointUrl: "ftp://x" } })
  .catch((e) => ({ status: e.statusCode, targets: e.details.body.error.details.map((d) => d.target) }));
for (const name of ["js-hook", "js-queue", "js-queue"]) {
  await subscriptions.beginDeleteAndWait(scope, name); // the last time there is none any more
}
told.gone = await subscriptions.get(scope, "js-hook").catch((e) => ({ status: e.statusCode, code: e.code }));
console.log(JSON.stringify(told));
