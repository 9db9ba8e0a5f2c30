// customSource and worker threads: a function is called in its own thread only, and no thread's end harms another one.
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker, threadId } from 'node:worker_threads'
import { app, qauth } from './support.mjs'

const names = Array.from({ length: 20 }, (_, index) => `vault-${index}`)
const config = join(mkdtempSync(join(tmpdir(), 'qauth-')), 'qauth.json')
const profiles = Object.fromEntries(names.map((name) => [name, { provider: 'custom', timeout: '10s' }]))
writeFileSync(config, JSON.stringify({ profiles }))
process.env.QAUTH_CONFIG = config

// Tokens outlive their source in the store: each test has a profile of its own.
let name
const next = () => (name = names.pop())
beforeEach(next)

function start(data) {
  const workerData = { app, name, ...data }
  const worker = new Worker(new URL('programs/custom.mjs', import.meta.url), { workerData })
  // From the beginning, so that none is missed.
  worker.messages = on(worker, 'message')
  worker.ended = once(worker, 'exit')
  return worker
}
const startAll = (count, data) => Array.from({ length: count }, () => start(data))
const said = async (worker) => (await worker.messages.next()).value[0]

test('eight threads wait, and the function of one is called once, in its own', async () => {
  const threads = []
  qauth.customSource(name, async () => {
    threads.push(threadId)
    await sleep(30)
    return 'of-main'
  })
  const workers = startAll(8, { asks: 50 })
  const answers = workers.map(async (worker) => {
    assert.equal(await said(worker), 'ready')
    return said(worker)
  })
  for (const answer of await Promise.all(answers)) assert.deepEqual(new Set(answer), new Set(['of-main']))
  assert.deepEqual(threads, [0])
  await Promise.all(workers.map(({ ended }) => ended))
})

test('a thread that waits calls its own function before that of others', async () => {
  const main = qauth.customSource(name, () => 'of-main')
  const worker = start({ gives: 'of-worker', stays: true })
  assert.equal(await said(worker), 'ready')
  assert.equal((await main.token()).accessToken, 'of-main')
  await worker.terminate()

  next()
  qauth.customSource(name, () => assert.fail('not here'))
  const other = start({ gives: 'of-worker', asks: 3 })
  assert.equal(await said(other), 'ready')
  assert.equal(await said(other), 'called')
  assert.deepEqual(await said(other), ['of-worker', 'of-worker', 'of-worker'])
  await other.ended
})

test('the function of a worker serves the main thread while it lives', async () => {
  const worker = start({ gives: 'of-worker', after: 20, stays: true })
  assert.equal(await said(worker), 'ready')
  const source = qauth.source(name)
  const token = await source.token()
  assert.equal(token.accessToken, 'of-worker')
  assert.equal(token.extras.thread, worker.threadId)
  assert.equal(await said(worker), 'called')
  await worker.terminate()
  assert.equal((await source.token()).accessToken, 'of-worker')
  source.invalidate(token)
  await assert.rejects(source.token(), { code: 'closed', message: /the thread that gave the token function has ended/ })
  source.reset()
  qauth.customSource(name, () => 'of-main')
  assert.equal((await source.token()).accessToken, 'of-main')
})

test('a worker ends while its function is called: another one is called instead, or an error comes', async () => {
  for (const instead of [true, false]) {
    next()
    // Given first, and called only where the other cannot be.
    const helper = instead && start({ gives: 'of-helper', stays: true })
    if (helper) assert.equal(await said(helper), 'ready')
    const worker = start({ gives: 'of-worker', after: null, stays: true })
    assert.equal(await said(worker), 'ready')
    const waiting = Promise.allSettled([qauth.source(name).token(), qauth.source(name).header()])
    assert.equal(await said(worker), 'called')
    await worker.terminate()
    const [{ value, reason }, header] = await waiting
    if (instead) assert.equal(value.accessToken, 'of-helper')
    else assert.deepEqual([reason.code, header.reason.code], ['closed', 'closed'])
    await helper?.terminate?.()
  }
})

test('a worker that waits ends, and one that never comes back to its loop keeps nobody waiting', async () => {
  const calls = []
  const source = qauth.customSource(name, async () => {
    calls.push(1)
    await sleep(20)
    return 'of-main'
  })
  const busy = startAll(2, { asks: 5, busy: true })
  for (const worker of busy) assert.equal(await said(worker), 'ready')
  assert.equal((await source.token()).accessToken, 'of-main')
  await Promise.all(busy.map((worker) => worker.terminate()))
  assert.equal(calls.length, 1)
})

for (const round of [1, 2, 3]) {
  test(`workers are terminated at any moment of a call: ${round}`, async () => {
    const source = qauth.customSource(name, () => sleep(3, { accessToken: 'of-main', expiresIn: 600 }))
    const workers = startAll(16, { gives: 'of-worker', after: round, asks: 20 })
    await Promise.all(
      workers.map(async (worker, index) => {
        if (index % 4) await said(worker)
        if (index % 4 > 1) await sleep(index % 4)
        if (index % 4 === 3) source.invalidate(await source.token())
        await worker.terminate()
      }),
    )
    source.reset()
    assert.match((await source.token()).accessToken, /^of-/)
  })
}

test('options in another order are the same source, whose functions stay together', async () => {
  const main = qauth.customSource(name, () => 'of-main', { timeout: '9s', max_lifetime: '1h' })
  const worker = start({ gives: 'of-worker', options: { max_lifetime: '1h', timeout: '9s' } })
  assert.equal(await said(worker), 'ready')
  await worker.ended
  assert.equal((await main.token()).accessToken, 'of-main')
})
