// A program that ends, in the way that it is told, while a refresh token that rotates is under way: app, way,
// config, control URL. It says the generation of the token before.
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'

const [app, way, config, control] = isMainThread ? process.argv.slice(2) : workerData
const qauth = createRequire(join(app, 'package.json'))('qauth')
const source = new qauth.Engine(JSON.parse(config)).source('quartile')
const requests = async () => (await (await fetch(`${control}/state`)).json()).vendors.quartile.token_requests

/** Until the refresh token has been sent. */
async function underWay() {
  const old = await source.token()
  console.log(old.generation)
  source.invalidate(old)
  const body = JSON.stringify({ vendor: 'quartile', delay_ms: 400 })
  await fetch(`${control}/settings`, { method: 'POST', body })
  // Who gives up does not end the renewal; the others wait to the end, whatever that is.
  await source.token({ timeoutMs: 1 }).catch(() => {})
  if (way !== 'natural') for (let index = 0; index < 5; index++) source.token().catch(() => {})
  while ((await requests()) < 2);
}

const ways = {
  exit: () => process.exit(7),
  natural: () => {},
  exception: () => setImmediate(() => { throw new Error('nobody catches this') }),
  rejection: () => void Promise.reject(new Error('nor this')),
  'on exit': () => process.on('exit', () => source.token().catch(() => {})) && process.exit(7),
  handler: () => process.on('SIGTERM', () => process.exit(7)) && process.kill(process.pid, 'SIGTERM') && sleep(20_000),
  signal: () => process.kill(process.pid, 'SIGTERM') && sleep(20_000),
}

if (!isMainThread) {
  await underWay()
  parentPort.postMessage('under way')
  await source.token()
} else if (way === 'terminate') {
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv.slice(2) })
  await once(worker, 'message')
  await worker.terminate()
} else {
  await underWay()
  await ways[way]()
}
