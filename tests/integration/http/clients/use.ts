// Uses a live service through a client whose types were generated from the service's own document.
// It is compiled strictly first: a call that the document does not have is an error there.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

declare const process: { argv: string[] };

type Task = components["schemas"]["TaskWithAttempts"];
type Schedule = components["schemas"]["ScheduleMessage"];

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
const nightly = `${queue}.nightly`;
const named = { params: { path: { name: nightly } } };
const daily = { kind: "Baz", cron: "0 3 * * *", time_zone: "Europe/Berlin", queue };
const put = { ...named, body: { ...daily, starts_at: execute_at } };
let schedule: Schedule = good(await client.PUT("/schedules/{name}", put));
same(schedule.cron, "0 3 * * *", "cron");
same(schedule.catch_up, "latest", "catch-up");
same((await client.PUT("/schedules/{name}", put)).response.status, 200, "put again");
const taken = await client.POST("/schedules", { body: { ...daily, name: nightly } });
same(taken.error?.status, 409, "taken");
same(good(await client.POST("/schedules/{name}/pause", named)).paused, true, "paused");
const hourly = { ...named, body: { every_s: 3600, starts_at: null } };
schedule = good(await client.PATCH("/schedules/{name}", hourly));
same(schedule.cron, null, "no cron");
same(schedule.every_s, 3600, "every_s");
const asked = { params: { ...named.params, query: { n: 2 } } };
const { fires } = good(await client.GET("/schedules/{name}/preview", asked));
same(fires.length, 2, "fires");
same(/\+0[12]:00$/.test(fires[0]?.local ?? ""), true, "a local time");
same(good(await client.POST("/schedules/{name}/resume", named)).paused, false, "resumed");
const triggered = good(await client.POST("/schedules/{name}/trigger", named));
const found = { params: { path: { task_id: triggered.id } } };
same(good(await client.GET("/tasks/{task_id}", found)).queue, queue, "triggered");
const schedules = good(await client.GET("/schedules", { params: { query: { limit: 1000 } } }));
same(schedules.some((each) => each.name === nightly), true, "listed by name");
same((await client.DELETE("/schedules/{name}", named)).response.status, 204, "schedule deleted");
same((await client.GET("/schedules/{name}", named)).error?.status, 404, "no schedule");

const filter = [`queue:${queue}`];
const gone = good(await client.POST("/tasks/delete", { params: { query: { filter } } }));
same(gone.changed, 4, "deleted");
same(gone.cursor, null, "cursor");
const unknown = await client.GET("/tasks/{task_id}", { params: { path } });
same(unknown.response.status, 404, "status");
console.log("all is as it should be");
