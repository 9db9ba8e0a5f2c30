// A worker with a source of the process's engine. `gives`: it gives the function, which answers with this text,
// after `after` ms if that is set, never if that is null. `asks`: it asks for so many tokens, and tells what came of them.
// `busy`: after that it never comes back to its loop.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parentPort, threadId, workerData } from 'node:worker_threads'

const { app, name, gives, after, asks, busy, stays, options } = workerData
const qauth = createRequire(join(app, 'package.json'))('qauth')
const give = () => {
  parentPort.postMessage('called')
  const token = { accessToken: gives, expiresIn: 600, thread: threadId }
  if (after === undefined) return token
  return new Promise((resolve) => after !== null && setTimeout(resolve, after, token))
}
const source = gives ? qauth.customSource(name, give, options) : qauth.source(name)
if (stays) setInterval(() => {}, 60_000)
const calls = Array.from({ length: asks ?? 0 }, () => source.token())
parentPort.postMessage('ready')
if (busy) for (;;);
const results = await Promise.allSettled(calls)
if (asks) parentPort.postMessage(results.map(({ value, reason }) => value?.accessToken ?? reason.code))
