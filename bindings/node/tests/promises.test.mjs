// Promises: many at once, given up, and what the process does meanwhile.
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { getEventListeners } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { qauth, runNode, startSim } from './support.mjs'

const sim = await startSim()
beforeEach(() => sim.post('reset'))

const config = join(mkdtempSync(join(tmpdir(), 'qauth-')), 'qauth.json')
writeFileSync(config, JSON.stringify(sim.config()))

/** A program of its own, with `qauth`, `source` (Quiqup's) and `sim`, the simulator's URL. */
function run(program, options) {
  const head = `
    const qauth = require('qauth')
    const sim = ${JSON.stringify(sim.url)}
    const source = qauth.source('quiqup')
    const tokenRequests = async () => (await (await fetch(sim + '/_sim/state')).json()).vendors.quiqup.token_requests
    const arrived = async () => { while (await tokenRequests() === 0); }
  `
  return runNode(['-e', `${head}\n${program}`], { env: { QAUTH_CONFIG: config }, ...options })
}

const slow = (ms) => sim.post('faults', { vendor: 'quiqup', endpoint: 'token', delay_ms: ms, times: 9 })

test('a thousand promises on an empty cache are one token request', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 50 })
  const source = sim.engine().source('quiqup')
  const tokens = await Promise.all(Array.from({ length: 1000 }, () => source.token()))
  assert.equal(new Set(tokens.map(({ accessToken }) => accessToken)).size, 1)
  assert.equal(await sim.tokenRequests('quiqup'), 1)
})

test('a thousand promises share one failure, each as an error of its own', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 50 })
  const source = sim.engine().source('quiqup', { client_secret: 'wrong-secret-0001' })
  const results = await Promise.allSettled(Array.from({ length: 1000 }, () => source.token()))
  assert.ok(results.every(({ reason }) => reason instanceof qauth.QauthError && reason.code === 'invalid_client'))
  assert.equal(await sim.tokenRequests('quiqup'), 1)
})

test('promises of every kind at once', async () => {
  const source = sim.engine().source('quiqup')
  const [token, header, headers, response, answer] = await Promise.all([
    source.token(),
    source.header(),
    source.headers('GET', '/orders'),
    source.request('GET', '/orders'),
    source.fetch('/orders'),
  ])
  assert.equal(header, token.headerValue)
  assert.equal(headers.Authorization, header)
  assert.equal(response.status, 200)
  assert.equal(answer.status, 200)
  assert.equal(await sim.tokenRequests('quiqup'), 1)
})

test('a signal gives up its own call only, and keeps nothing', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 100 })
  const source = sim.engine().source('quiqup')
  const controller = new AbortController()
  const { signal } = controller
  const reason = new Error('enough')
  const other = sim.engine().source('quantaprice')
  await sim.post('settings', { vendor: 'quantaprice', delay_ms: 60_000 })
  const calls = [
    source.token({ signal }),
    source.headers('GET', '/orders', { signal }),
    source.request('GET', '/orders', { signal }),
    other.call('prices', { sku: 'PRODUCT-001' }, { signal }),
  ]
  calls.forEach((call) => call.catch(() => {}))
  const patient = source.token()
  await sim.untilTokenRequests('quiqup', 1)
  assert.equal(getEventListeners(signal, 'abort').length, calls.length)
  controller.abort(reason)
  for (const call of calls) {
    await assert.rejects(
      call,
      (error) => error instanceof qauth.QauthError && error.code === 'cancelled' && error.cause === reason,
    )
  }
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  assert.ok((await patient).accessToken)
  assert.equal(await sim.tokenRequests('quiqup'), 1)
})

test('a signal that is aborted already, one that is aborted later, one with a limit', async () => {
  const source = sim.engine().source('quiqup')
  const reason = new TypeError('enough')
  await assert.rejects(source.token({ signal: AbortSignal.abort(reason) }), { code: 'cancelled', cause: reason })
  assert.equal(await sim.tokenRequests('quiqup'), 0)
  const controller = new AbortController()
  const { signal } = controller
  for (let index = 0; index < 50; index++) await source.token({ signal })
  assert.equal(getEventListeners(signal, 'abort').length, 0)
  controller.abort()
  await slow(60_000)
  const late = sim
    .engine()
    .source('quiqup')
    .token({ signal: AbortSignal.timeout(20) })
  await assert.rejects(late, (error) => error.code === 'cancelled' && error.cause.name === 'TimeoutError')
})

test('a pending promise keeps the process, and nothing else does', async () => {
  await slow(200)
  const { status, stdout, stderr } = await run(`source.token().then((token) => console.log(token.tokenType))`)
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'bearer\n', stderr: '' })
})

test('a rejection that nobody handles ends the process as any other', async () => {
  await sim.post('revoke', { vendor: 'quiqup', client_id: 'quiqup-client' })
  const { status, stderr } = await run(`source.token()`)
  assert.equal(status, 1)
  assert.match(stderr, /QauthError: invalid_client: profile "quiqup"/)
})

test('the process ends by itself with a renewal under way', async () => {
  await slow(60_000)
  const program = `source.token({ timeoutMs: 50 }).catch((error) => arrived().then(() => console.log(error.code)))`
  const { status, stdout, stderr, ms } = await run(program)
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'timeout\n', stderr: '' })
  assert.ok(ms < 2000, `${ms} ms`)
})

test('process.exit during a request', async () => {
  await slow(60_000)
  const program = `
    process.on('exit', () => source.token().catch(() => {}))
    for (let index = 0; index < 100; index++) source.token().catch(() => {})
    arrived().then(() => { console.log('over'); process.exit(7) })
  `
  const { status, stdout, stderr, ms } = await run(program)
  assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'over\n', stderr: '' })
  assert.ok(ms < 2000, `${ms} ms`)
})

test('process.exit while answers arrive', async () => {
  const program = `
    const engine = new qauth.Engine(${JSON.stringify(sim.config())})
    for (let index = 0; index < 200; index++) source.request('GET', '/orders').catch(() => {})
    source.request('GET', '/orders').then(() => process.exit(0))
  `
  const { status, stderr } = await run(program)
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' })
})

test('an engine may be closed at the end, or not', async () => {
  const { status, stdout, stderr } = await run(`
    source.token().then(async () => { await qauth.Engine.shared().close(); console.log('closed') })
  `)
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'closed\n', stderr: '' })
})

test('async context follows a promise', async () => {
  const { AsyncLocalStorage } = await import('node:async_hooks')
  const storage = new AsyncLocalStorage()
  const source = sim.engine().source('quiqup')
  const seen = await Promise.all(
    ['a', 'b'].map((name) =>
      storage.run(name, async () => {
        await source.request('GET', '/orders')
        return storage.getStore()
      }),
    ),
  )
  assert.deepEqual(seen, ['a', 'b'])
})

test('handles are collected', async () => {
  const { status, stdout, stderr } = await runNode([
    '--expose-gc',
    '-e',
    `
    const { Engine } = require('qauth')
    const settle = () => new Promise(setImmediate)
    ;(async () => {
      let alive = 0
      const registry = new FinalizationRegistry(() => alive--)
      for (let round = 0; round < 50; round++) {
        const engine = new Engine(${JSON.stringify(sim.config())})
        const source = engine.source('quiqup')
        for (const object of [engine, source]) { registry.register(object); alive++ }
        await source.token(); await source.token()
      }
      for (let index = 0; index < 20; index++) { gc(); await settle() }
      console.log(alive < 10 ? 'collected' : alive)
    })()
  `,
  ])
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'collected\n', stderr: '' })
})
