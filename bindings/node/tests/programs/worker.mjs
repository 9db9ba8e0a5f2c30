// A worker that asks for tokens: tells `asked` once its calls are on their way, and what came of them.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'

const qauth = createRequire(join(workerData.app, 'package.json'))('qauth')
const engine = workerData.config ? new qauth.Engine(workerData.config) : qauth.Engine.shared()
const source = engine.source('quiqup')
const calls = Array.from({ length: workerData.calls ?? 1 }, () => source.token())
if (workerData.closing) engine.close()
parentPort.postMessage('asked')
const results = await Promise.allSettled(calls)
parentPort.postMessage(results.map(({ value, reason }) => value?.accessToken ?? reason.code))
// Its end leaves everything to the environment: sources, tokens, and calls that are still on their way.
if (workerData.leaving) source.request('GET', '/orders').catch(() => {})
if (workerData.exit) process.exit()
