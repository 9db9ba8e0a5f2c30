// What happens to tokens, told to listeners and counted.
import assert from 'node:assert/strict'
import { EventEmitter, on, once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { KNOWN, app, qauth, runNode, startSim } from './support.mjs'

const sim = await startSim()
const config = join(mkdtempSync(join(tmpdir(), 'qauth-')), 'qauth.json')
writeFileSync(config, JSON.stringify(sim.config()))
process.env.QAUTH_CONFIG = config

const { Engine } = qauth
const shared = Engine.shared()
const manual = () => sim.engine({ testing: { clock: 'manual' } })

beforeEach(async () => {
  await sim.post('reset')
  await sim.post('clock', { freeze: true })
  shared.removeAllListeners()
  shared.remove('quiqup')
})

/** Lets both clocks go on by so many seconds. */
async function timePasses(engine, seconds) {
  await sim.post('clock', { advance: seconds })
  await engine.advance(seconds)
}

function heard(engine, name = 'event') {
  const events = []
  engine.on(name, (event) => events.push(event))
  return events
}
const kinds = (events) => events.splice(0).map(({ kind }) => kind)

test('an event says what happened to whom, why and when', async () => {
  const engine = manual()
  const events = heard(engine)
  await engine.advance(30)
  const token = await engine.source('quiqup').token()
  const [event] = events
  assert.equal(events.length, 1)
  // The engine's own time, 30 s from ours.
  assert.ok(Math.abs(event.at - (token.expiresAt - 3600_000)) < 10, String(event.at))
  assert.deepEqual(event, {
    kind: 'obtained',
    severity: 'debug',
    profile: 'quiqup',
    provider: 'quiqup',
    reason: 'first_use',
    seconds: 0,
    at: event.at,
    generation: token.generation,
    lost: 0,
    message: 'token obtained in 0.000 s (first_use)',
    error: undefined,
  })
})

test('each kind is emitted by its word, and all as event', async () => {
  const engine = manual()
  const all = heard(engine)
  const one = Object.fromEntries(
    ['obtained', 'renewed', 'invalidated', 'failed', 'served_while_failing'].map((kind) => [kind, heard(engine, kind)]),
  )
  const source = engine.source('quiqup', { mode: 'on_demand' })
  await source.token()
  await timePasses(engine, 3310)
  await source.token({ minRemainingMs: 3500_000 })
  assert.deepEqual(kinds(all), ['obtained', 'renewed'])
  source.invalidate(await source.token())
  await source.token()
  await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', status: 500, times: 1000 })
  await timePasses(engine, 3545)
  const token = await source.token()
  assert.deepEqual(
    all.map(({ kind, severity }) => [kind, severity]),
    [
      ['invalidated', 'info'],
      ['obtained', 'debug'],
      ['failed', 'warning'],
      ['served_while_failing', 'warning'],
    ],
  )
  const { failed, served_while_failing: served } = one
  assert.ok(failed[0].error instanceof qauth.QauthError)
  assert.deepEqual([failed[0].error.code, failed[0].error.profile, failed[0].error.status], ['server_error', 'quiqup', 500])
  assert.equal(served[0].generation, token.generation)
  assert.deepEqual(
    Object.entries(one).map(([kind, events]) => [kind, events.length]),
    [
      ['obtained', 2],
      ['renewed', 1],
      ['invalidated', 1],
      ['failed', 1],
      ['served_while_failing', 1],
    ],
  )
})

test('a failed renewal behind is told of and rejects nothing while the token is valid', async () => {
  const engine = manual()
  const source = engine.source('quiqup', { mode: 'background' })
  const token = await source.token()
  await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', status: 500, times: 1000 })
  const failed = once(engine, 'failed')
  await timePasses(engine, 3310)
  assert.equal((await failed)[0].reason, 'ahead')
  assert.equal((await source.token()).accessToken, token.accessToken)
})

test('a subscription begins with the first listener and ends with the last one', async () => {
  const engine = manual()
  const source = engine.source('quiqup')
  const next = async () => {
    source.invalidate(await source.token())
    await turn()
  }
  const events = []
  const listener = ({ kind }) => events.push(kind)
  assert.equal(engine.on('invalidated', listener), engine)
  await next()
  assert.equal(engine.off('invalidated', listener), engine)
  await next()
  assert.equal(events.splice(0).length, 1)
  engine.once('invalidated', listener)
  await next()
  await next()
  assert.equal(events.splice(0).length, 1)
  for (const add of ['on', 'addListener', 'prependListener']) {
    for (const remove of ['off', 'removeListener', 'removeAllListeners']) {
      engine[add]('event', listener)
      source.reset()
      await next()
      assert.ok(events.splice(0).includes('invalidated'), add)
      engine[remove]('event', remove === 'removeAllListeners' ? undefined : listener)
      await next()
      assert.deepEqual(events, [], remove)
    }
  }
  engine.prependOnceListener('invalidated', listener).on('obtained', listener)
  engine.removeAllListeners()
  await next()
  assert.deepEqual(events, [])
})

test('an engine is an EventEmitter as any other', async () => {
  const engine = manual()
  assert.ok(engine instanceof EventEmitter)
  const source = engine.source('quiqup')
  const tokens = on(engine, 'obtained')
  const token = source.token()
  assert.equal((await tokens.next()).value[0].generation, (await token).generation)
  await tokens.return()
  assert.equal(engine.listenerCount('obtained'), 0)
  assert.equal(Engine.shared(), shared)
})

test('the shared engine tells of the sources of the package', async () => {
  const events = heard(shared)
  await qauth.source('quiqup').token()
  assert.deepEqual(kinds(events), ['obtained'])
})

test('a listener may use the source of the event', async () => {
  // fault 59
  const engine = manual()
  const source = engine.source('quiqup')
  let depth = 0
  const seen = []
  engine.on('event', ({ kind }) => {
    assert.equal(depth++, 0, 'no event inside an event')
    seen.push(kind)
    if (kind === 'obtained') {
      const token = source.token()
      token.then((token) => source.invalidate(token))
      engine.metrics()
      engine.once('invalidated', () => seen.push('once'))
    }
    depth--
  })
  await source.token()
  while (seen.length < 3) await turn()
  assert.deepEqual(seen, ['obtained', 'once', 'invalidated'])
})

test('what a listener throws is an uncaught exception, and everything else goes on', async () => {
  const program = `
    const { Engine } = require('qauth')
    const engine = new Engine(JSON.parse(process.argv[1]))
    const told = []
    process.on('uncaughtException', (error, origin) => told.push(error.message, origin))
    engine.on('obtained', () => { throw new RangeError('first') })
    engine.on('event', ({ kind, profile }) => told.push(kind, profile))
    const sources = ['quiqup', 'qpay'].map((name) => engine.source(name))
    Promise.all(sources.map((source) => source.token())).then((tokens) => {
      console.log(tokens.length, told.sort().join())
      engine.removeAllListeners()
    })`
  const { status, stdout, stderr } = await runNode(['-e', program, JSON.stringify(sim.config())])
  const told = 'first,first,obtained,obtained,qpay,quiqup,uncaughtException,uncaughtException'
  assert.deepEqual([stdout, stderr, status], [`2 ${told}\n`, '', 0])
  const crash = await runNode(['-e', program.replace(/process\.on.*\n/, '\n'), JSON.stringify(sim.config())])
  assert.equal(crash.status, 1)
  assert.match(crash.stderr, /RangeError: first/)
})

test('listening does not keep the process alive', async () => {
  const program = `
    const { Engine } = require('qauth')
    const engine = new Engine(JSON.parse(process.argv[1]))
    engine.on('event', ({ kind }) => console.log(kind))
    engine.source('quiqup', { mode: 'background' }).token()`
  const { status, stdout, ms } = await runNode(['-e', program, JSON.stringify(sim.config())])
  assert.deepEqual([stdout, status], ['obtained\n', 0])
  assert.ok(ms < 5000, `${ms} ms`)
})

test('an engine that nobody holds is collected with its listeners', async () => {
  const program = `
    const { Engine } = require('qauth')
    let collected = 0
    const registry = new FinalizationRegistry(() => collected++)
    for (let count = 0; count < 20; count++) {
      const engine = new Engine()
      engine.on('event', () => engine)
      registry.register(engine)
    }
    const end = Date.now() + 20_000
    const look = () => {
      gc()
      if (collected < 15 && Date.now() < end) setTimeout(look, 5)
      else console.log(collected >= 15)
    }
    setTimeout(look, 5)`
  const { stdout, stderr } = await runNode(['--expose-gc', '-e', program])
  assert.deepEqual([stdout, stderr], ['true\n', ''])
})

function listen(data) {
  const worker = new Worker(new URL('programs/listener.mjs', import.meta.url), { workerData: { app, ...data } })
  worker.messages = on(worker, 'message')
  // It has none any more once it has ended.
  worker.id = worker.threadId
  worker.ended = once(worker, 'exit').then(([status]) => status)
  return worker
}
const said = async (worker) => (await worker.messages.next()).value[0]

test('each thread hears of the shared engine by itself, and a thread that has ended harms nobody', async () => {
  const mine = heard(shared)
  const source = qauth.source('quiqup')
  const workers = [{ stays: true }, { stays: true }, { stays: true, gone: true }, {}].map(listen)
  const [first, second, gone, idle] = workers
  for (const worker of workers) assert.equal(await said(worker), 'ready')
  assert.equal(await idle.ended, 0, 'listening keeps no worker alive')
  await source.token()
  // Adopted, where an earlier test has left its token in the store.
  const [came] = kinds(mine)
  assert.match(came, /^(obtained|adopted)$/)
  for (const worker of [first, second, gone]) {
    const { kind, profile, threadId } = await said(worker)
    assert.deepEqual([kind, profile, threadId], [came, 'quiqup', worker.id])
  }
  assert.equal(await gone.ended, 0)
  await first.terminate()
  for (let round = 0; round < 3; round++) {
    source.invalidate(await source.token())
    await source.token()
    source.reset()
  }
  assert.equal(kinds(mine).filter((kind) => kind === 'invalidated').length, 3)
  assert.equal((await said(second)).kind, 'invalidated')
  await second.terminate()
})

test('a listener that throws ends its worker, and nothing else', async () => {
  const worker = listen({ throws: true, stays: true })
  const failed = once(worker, 'error')
  worker.ended.catch(() => {})
  assert.equal(await said(worker), 'ready')
  assert.ok((await qauth.source('quiqup').token()).accessToken)
  const [error] = await failed
  assert.deepEqual([error.name, error.message], ['RangeError', 'of the listener'])
  assert.ok((await qauth.source('qpay').token()).accessToken)
})

test('workers that listen are terminated while events arrive', async () => {
  const source = qauth.source('quiqup')
  for (let round = 0; round < 3; round++) {
    const workers = Array.from({ length: 8 }, () => listen({ stays: true }))
    for (const worker of workers) assert.equal(await said(worker), 'ready')
    source.invalidate(await source.token())
    source.reset()
    await Promise.all([...workers.map((worker) => worker.terminate()), source.token()])
  }
})

for (const vendor of Object.keys(KNOWN)) {
  test(`no event and no counter shows a secret or token: ${vendor}`, async () => {
    const engine = manual()
    const events = heard(engine)
    const source = engine.source(vendor)
    const token = await source.token()
    source.invalidate(token)
    const canary = 'deadbeef'.repeat(8)
    source.update({ [vendor === 'quable' || vendor === 'quartile' ? 'password' : 'client_secret']: canary })
    const body = { error: 'invalid_client', error_description: `bad ${canary}` }
    await sim.post('faults', { vendor, endpoint: 'token', status: 401, body, times: 9 })
    await assert.rejects(source.token())
    const shown = JSON.stringify([events, engine.metrics()]) + engine.prometheus() + events.map(({ error }) => error?.stack)
    assert.ok(kinds(events).includes('failed'))
    const { username, client_id, ...secrets } = KNOWN[vendor]
    for (const secret of [canary, token.accessToken, ...Object.values(secrets)]) {
      assert.ok(!shown.includes(secret), shown)
    }
  })
}

test('metrics are counted by profile', async () => {
  const engine = manual()
  const source = engine.source('quiqup')
  assert.deepEqual(engine.metrics(), { sources: 1, evicted: 0, store_degraded: false, profiles: {} })
  const token = await source.token()
  source.invalidate(token)
  await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', status: 401, body: { error: 'invalid_client' } })
  await assert.rejects(source.token(), { code: 'invalid_client' })
  const { events, ...rest } = engine.metrics().profiles.quiqup
  const counted = Object.fromEntries(Object.entries(events).filter(([, count]) => count > 0))
  assert.deepEqual(counted, { obtained: 1, invalidated: 1, failed: 1 })
  assert.deepEqual(rest, {
    provider: 'quiqup',
    failures: { invalid_client: 1 },
    requests: 2,
    renewals: 2,
    renewal_seconds: 0,
    expires_at: Math.floor(token.expiresAt / 1000),
    clock_skew: 0,
  })
  const line = 'qauth_events_total{profile="quiqup",provider="quiqup",event="obtained"} 1'
  assert.ok(engine.prometheus().split('\n').includes(line))
})
