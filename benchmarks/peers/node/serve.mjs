// The twin of benchmarks/protocol.py: one JSON object a line, in and out. See there.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const REPORT_MS = 20

export const url = process.env.BENCH_URL ?? ''
export const patient = process.env.BENCH_AIM !== 'latency'

// CLOCK_MONOTONIC in seconds, which all processes share.
export const monotonic = () => Number(process.hrtime.bigint()) / 1e9

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// Counts what handlers did. It is all that a handler does.
export class Handled {
  count = 0
  first = null
  begun = null

  add(number) {
    if (this.first === null) this.first = monotonic()
    this.count += 1
    if (this.begun !== null) this.begun.set(number, monotonic())
  }
}

export async function serve(contestant) {
  const handled = new Handled()
  let report
  const verbs = {
    install: () => contestant.install(),
    open: () => contestant.open(),
    bulk: async ({ first, count }) => {
      const began = monotonic()
      await contestant.bulk(first, count)
      return { seconds: monotonic() - began }
    },
    single: async ({ first, count, callers }) => {
      let next = first
      const call = async () => {
        while (next < first + count) await contestant.single(next++)
      }
      const began = monotonic()
      await Promise.all(Array.from({ length: callers }, call))
      return { seconds: monotonic() - began }
    },
    trickle: async ({ first, count, every_s: everyS, lead_s: leadS }) => {
      const marks = []
      const began = monotonic()
      for (let number = first; number < first + count; number += 1) {
        const waitS = began + (number - first) * everyS - monotonic()
        if (waitS > 0) await sleep(waitS * 1000)
        if (leadS) {
          const due = new Date(Date.now() + leadS * 1000)
          const wallS = (performance.timeOrigin + performance.now()) / 1000
          marks.push([number, monotonic() + due.getTime() / 1000 - wallS])
          await contestant.later(number, due)
        } else {
          await contestant.single(number)
          marks.push([number, monotonic()])
        }
      }
      return { marks }
    },
    work: async ({ record }) => {
      if (record) handled.begun = new Map()
      await contestant.work(handled)
      let told = 0
      report = setInterval(() => {
        if (handled.count === told) return
        told = handled.count
        say({ handled: told, first: handled.first })
      }, REPORT_MS)
    },
    begun: async () => ({ marks: [...(handled.begun ?? [])] }),
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    if (request.do === 'quit') break
    say({ answer: (await verbs[request.do](request)) ?? {} })
  }
  clearInterval(report)
  await Promise.race([contestant.close(), sleep(5000)])
  say({ answer: {} })
  process.exit(0)
}
