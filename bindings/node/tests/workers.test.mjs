// Worker threads: one login for all, and terminating them at any moment harms nobody.
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { app, qauth, startSim } from './support.mjs'

const sim = await startSim()
const config = join(mkdtempSync(join(tmpdir(), 'qauth-')), 'qauth.json')
writeFileSync(config, JSON.stringify(sim.config()))
process.env.QAUTH_CONFIG = config

beforeEach(async () => {
  await sim.post('reset')
  qauth.Engine.shared().remove('quiqup')
})

function start(data) {
  const worker = new Worker(new URL('programs/worker.mjs', import.meta.url), { workerData: { app, ...data } })
  // From the beginning, so that none is missed.
  worker.messages = on(worker, 'message')
  return worker
}
const startAll = (count, data) => Array.from({ length: count }, () => start(data))
const said = async (worker) => (await worker.messages.next()).value[0]
const ended = async (worker) => (await once(worker, 'exit'))[0]

test('the threads of a process share one login', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 50 })
  const workers = startAll(8)
  const results = workers.map(async (worker) => {
    const end = ended(worker)
    assert.equal(await said(worker), 'asked')
    const [token] = await said(worker)
    assert.equal(await end, 0)
    return token
  })
  const tokens = new Set(await Promise.all(results))
  tokens.add((await qauth.source('quiqup').token()).accessToken)
  assert.equal(tokens.size, 1)
  assert.ok((await sim.tokenRequests('quiqup')) <= 1)
})

// Worker threads and promises of this one together: some wait to the end, and some give up in each way there is.
for (const [answer, expected] of [
  [{ delay_ms: 1500 }, undefined],
  [{ delay_ms: 1500, status: 401, body: { error: 'invalid_client' } }, 'invalid_client'],
]) {
  test(`workers and promises share one answer, whoever gives up: ${expected ?? 'a token'}`, async () => {
    const source = qauth.source('quiqup')
    source.invalidate(await source.token())
    const before = await sim.tokenRequests('quiqup')
    await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', times: 9, ...answer })
    const few = (call) => Array.from({ length: 20 }, call)
    const settled = (calls) => Promise.all(calls.map((call) => call.catch((error) => error)))
    const controllers = few(() => new AbortController())
    const patient = [...few(() => source.token()), ...few(() => source.header())]
    const hurried = settled(few(() => source.token({ timeoutMs: 30 })))
    const given = settled(controllers.map(({ signal }) => source.token({ signal })))
    const bounded = settled(few(() => source.token({ signal: AbortSignal.timeout(30) })))
    const heard = Promise.allSettled(patient)
    await sim.untilTokenRequests('quiqup', before + 1)
    controllers.forEach((controller) => controller.abort())
    const codes = (errors) => [...new Set(errors.map(({ code }) => code))]
    assert.deepEqual(codes(await hurried), ['timeout'])
    assert.deepEqual(codes(await given), ['cancelled'])
    assert.deepEqual(codes(await bounded), ['cancelled'])

    const workers = startAll(6, { calls: 5 })
    await Promise.all(workers.map(said))
    const leaving = workers.splice(3)
    await Promise.all(leaving.map((worker) => worker.terminate()))
    const results = (await Promise.all(workers.map(said))).flat()
    for (const { value, reason } of await heard) results.push(value?.accessToken ?? value ?? reason.code)
    const token = expected ?? (await source.token()).accessToken
    const bare = results.map((result) => result.replace(/^Bearer /, ''))
    assert.deepEqual([...new Set(bare)], [token])
    assert.equal(bare.length, 15 + 40)
    assert.equal(await sim.tokenRequests('quiqup'), before + 1)
  })
}

for (const round of [1, 2, 3]) {
  test(`50 workers are terminated while a token request is under way: ${round}`, async () => {
    await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', delay_ms: 60_000, times: 50 })
    const workers = startAll(50, { config: sim.config(), calls: 20 })
    await Promise.all(workers.map(said))
    const ends = workers.map(ended)
    await Promise.all(workers.map((worker) => worker.terminate()))
    await Promise.all(ends)
    await sim.post('reset')
    assert.ok((await sim.engine().source('quiqup').token()).accessToken)
  })
}

test('workers are terminated while answers arrive', async () => {
  for (let round = 0; round < 4; round++) {
    const workers = startAll(12, { config: sim.config(), calls: 200 })
    await Promise.all(
      workers.map(async (worker) => {
        await said(worker)
        await worker.terminate()
      }),
    )
  }
})

test('workers that share the engine of the process are terminated, the others get their token', async () => {
  await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', delay_ms: 200 })
  const mine = qauth.source('quiqup').token()
  const workers = startAll(10, { calls: 50 })
  await Promise.all(workers.map(said))
  const [patient, ...others] = workers
  const answer = said(patient)
  await Promise.all(others.map((worker) => worker.terminate()))
  assert.equal((await answer)[0], (await mine).accessToken)
})

test('a worker ends by itself when nothing is pending, and not before', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 100 })
  const worker = start({ config: sim.config(), leaving: true })
  assert.equal(await ended(worker), 0)
  assert.equal((await sim.get('state')).vendors.quiqup.api_requests, 1)
})

test('a worker that exits, or whose engine is closed, leaves no trace', async () => {
  await sim.post('settings', { vendor: 'quiqup', delay_ms: 50 })
  for (const data of [{ leaving: true, exit: true }, { closing: true }, { closing: true, exit: true }]) {
    const workers = startAll(5, { config: sim.config(), calls: 10, ...data })
    assert.deepEqual(new Set(await Promise.all(workers.map(ended))), new Set([0]))
  }
})
