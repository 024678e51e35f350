// Graphile Worker with the options that its performance page names: a local queue of 2000 and
// completions in batches to drain; 500 and no delay to be quick.
import { makeWorkerUtils, Logger, run } from 'graphile-worker'
import { patient, serve, url } from './serve.mjs'

const BATCH = 2000
const quiet = new Logger(() => (level, message) => {
  if (level === 'error') process.stderr.write(`${message}\n`)
})

let utils
let runner

const open = async () => {
  utils = await makeWorkerUtils({ connectionString: url, logger: quiet })
}

await serve({
  install: async () => {
    await open()
    await utils.migrate()
  },
  open,
  close: async () => {
    await runner?.stop()
    await utils?.release()
  },
  bulk: async (first, count) => {
    for (let begin = first; begin < first + count; begin += BATCH) {
      const length = Math.min(BATCH, first + count - begin)
      await utils.addJobs(
        Array.from({ length }, (_, n) => ({ identifier: 'noop', payload: { number: begin + n } })),
      )
    }
  },
  single: (number) => utils.addJob('noop', { number }),
  later: (number, runAt) => utils.addJob('noop', { number }, { runAt }),
  work: async (handled) => {
    runner = await run({
      logger: quiet,
      noHandleSignals: true,
      taskList: {
        noop: async (payload) => {
          handled.add(payload.number)
        },
      },
      preset: {
        worker: {
          connectionString: url,
          concurrentJobs: 24,
          maxPoolSize: 26,
          localQueue: { size: patient ? 2000 : 500 },
          completeJobBatchDelay: patient ? 10 : 0,
        },
      },
    })
  },
})
