// pg-boss with NOTIFY, without which it polls; batches of 1000 by four local workers to drain, of
// 100 to be quick.
import { PgBoss } from 'pg-boss'
import { patient, serve, url } from './serve.mjs'

const BATCH = 5000
const QUEUE = 'bench'

let boss

const open = async () => {
  boss = new PgBoss({ connectionString: url, max: 10, useListenNotify: true })
  boss.on('error', (error) => process.stderr.write(`${error}\n`))
  await boss.start()
}

await serve({
  install: async () => {
    await open()
    await boss.createQueue(QUEUE, { notify: true })
  },
  open,
  close: async () => boss?.stop({ graceful: false }),
  bulk: async (first, count) => {
    for (let begin = first; begin < first + count; begin += BATCH) {
      const length = Math.min(BATCH, first + count - begin)
      await boss.insert(
        QUEUE,
        Array.from({ length }, (_, n) => ({ data: { number: begin + n } })),
      )
    }
  },
  single: (number) => boss.send(QUEUE, { number }),
  later: (number, startAfter) => boss.send(QUEUE, { number }, { startAfter }),
  work: async (handled) => {
    await boss.work(
      QUEUE,
      {
        batchSize: patient ? 1000 : 100,
        localConcurrency: 4,
        burstWhenBatchFull: true,
        pollingIntervalSeconds: 0.5,
        notifyPollingIntervalSeconds: 0.5,
      },
      async (jobs) => {
        for (const job of jobs) handled.add(job.data.number)
      },
    )
  },
})
