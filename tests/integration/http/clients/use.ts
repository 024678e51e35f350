// Uses a live service through a client whose types were generated from the service's own document.
// It is compiled strictly first: a call that the document does not have is an error there.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

declare const process: { argv: string[] };

type Task = components["schemas"]["TaskWithAttempts"];

const [, , address, queue] = process.argv;
if (address === undefined || queue === undefined) throw new Error("give an address and a queue");
const client = createClient<paths>({ baseUrl: address });

function same<T>(found: T, expected: T, what: string): void {
  if (found !== expected) throw new Error(`${what}: ${String(found)}, not ${String(expected)}`);
}

function good<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const execute_at = "2093-05-06T07:08:09.123456Z";
const body = { kind: "Baz", queue, execute_at, payload: { any: ["JSON", null] } };
const { id } = good(await client.PUT("/tasks", { body }));
const path = { task_id: id };
let task: Task = good(await client.GET("/tasks/{task_id}", { params: { path } }));
same(task.status, "Pending", "status");
same(task.execute_at, execute_at, "time");
same(JSON.stringify(task.payload), JSON.stringify(body.payload), "payload");

const batch = good(await client.POST("/tasks/batch", { body: [body, { kind: "Foo", queue }] }));
same(batch.ids.length, 2, "stored at once");
const query = { filter: [`queue:${queue}`, "kind:Baz"] };
const listed = good(await client.GET("/tasks", { params: { query } }));
same(listed.length, 2, "listed");

const edit = { params: { path, header: {} }, body: { priority: 0 } };
same(good(await client.PATCH("/tasks/{task_id}", edit)).priority, 0, "priority");
const why = good(await client.GET("/tasks/{task_id}/why", { params: { path } }));
same(why.reasons[0]?.reason, "NotDue", "reason");
task = good(await client.POST("/tasks/{task_id}/cancel", { params: { path } }));
same(task.status, "Cancelled", "status");

const of = { params: { path: { name: queue } } };
same(good(await client.POST("/queues/{name}/pause", of)).paused, true, "paused");
same(good(await client.POST("/queues/{name}/resume", of)).due.count, 1, "due");
const workers = good(await client.GET("/workers", {}));
same(workers.some((worker) => worker.kinds.includes("Baz")), true, "a worker");

const refused = await client.POST("/tasks/{task_id}/cancel", { params: { path } });
same(refused.error?.status, 409, "error");
same(refused.error?.type, "urn:taskscheduler:problem:conflict", "problem");
const filter = [`queue:${queue}`];
const gone = good(await client.POST("/tasks/delete", { params: { query: { filter } } }));
same(gone.changed, 3, "deleted");
same(gone.cursor, null, "cursor");
const unknown = await client.GET("/tasks/{task_id}", { params: { path } });
same(unknown.response.status, 404, "status");
console.log("all is as it should be");
