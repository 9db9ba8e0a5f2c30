// A worker that listens to the engine of the process: tells `ready`, and each event. `gone`: it ends without a word to the
// engine as soon as it has heard one.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parentPort, threadId, workerData } from 'node:worker_threads'

const qauth = createRequire(join(workerData.app, 'package.json'))('qauth')
const engine = qauth.Engine.shared()
engine.on('event', ({ kind, profile, message }) => {
  parentPort.postMessage({ kind, profile, message, threadId })
  if (workerData.gone) process.exit()
  if (workerData.throws) throw new RangeError('of the listener')
})
if (workerData.stays) setInterval(() => {}, 60_000)
parentPort.postMessage('ready')
