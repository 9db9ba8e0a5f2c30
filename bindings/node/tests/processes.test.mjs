// Processes that share a store of files: one login for all (fault 73), and what is under way at the end of one is stored
// first (fault 74).
import assert from 'node:assert/strict'
import { exec, fork, spawn } from 'node:child_process'
import cluster from 'node:cluster'
import { on, once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { app, Engine, runNode, startSim } from './support.mjs'

const sim = await startSim()
const program = (name) => fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url))
const shared = () => sim.config({ store: { kind: 'file', path: join(mkdtempSync(join(tmpdir(), 'qauth-')), 'store') } })

beforeEach(() => sim.post('reset'))

for (const vendor of ['quiqup', 'quartile', 'quable']) {
  test(`children of every kind share one login with their parent, whoever is first: ${vendor}`, async () => {
    const config = shared()
    const env = { ...process.env, APP: app, CONFIG: JSON.stringify(config), VENDOR: vendor }
    const spawned = async () => {
      const child = spawn(process.execPath, [program('sharing')], { env, stdio: ['ignore', 'pipe', 'inherit'] })
      return String((await child.stdout.toArray()).join('')).trim()
    }
    const executed = async () => {
      const { stdout } = await promisify(exec)(`"${process.execPath}" "${program('sharing')}"`, { env })
      return stdout.trim()
    }
    const forked = async () => {
      const child = fork(program('sharing'), { env })
      const [token] = await once(child, 'message')
      child.disconnect()
      return token
    }
    const source = new Engine(config).source(vendor)
    const first = await Promise.all([spawned(), executed(), forked()])
    const { accessToken } = await source.token()
    assert.deepEqual(new Set(first), new Set([accessToken]))
    assert.equal(await spawned(), accessToken)
    assert.equal(await sim.tokenRequests(vendor), 1)
  })
}

test('the workers of a cluster share one login, and what one of them obtains the others have too', async () => {
  const env = { APP: app, CONFIG: JSON.stringify(shared()), VENDOR: 'quable' }
  cluster.setupPrimary({ exec: program('sharing') })
  const workers = [1, 2, 3].map(() => cluster.fork(env))
  const messages = workers.map((worker) => on(worker, 'message'))
  const ends = workers.map((worker) => once(worker, 'exit'))
  const said = () => Promise.all(messages.map(async (each) => (await each.next()).value[0]))
  const tell = (message) => workers.forEach((worker) => worker.send(message))
  const [token, ...same] = await said()
  assert.deepEqual(new Set(same), new Set([token]))
  assert.equal(await sim.tokenRequests('quable'), 1)
  workers[0].send('rejected')
  const fresh = (await messages[0].next()).value[0]
  assert.notEqual(fresh, token)
  // They hear of it without asking the server.
  for (let tokens; tokens?.size !== 1; ) {
    tell('which')
    tokens = new Set(await said())
  }
  assert.equal(await sim.tokenRequests('quable'), 2)
  tell('end')
  for (const [status] of await Promise.all(ends)) assert.equal(status, 0)
})

const ENDINGS = { exit: 7, natural: 0, exception: 1, rejection: 1, 'on exit': 7, handler: 7, terminate: 0 }
for (const [way, expected] of Object.entries(ENDINGS)) {
  test(`a refresh token that is under way is stored before the process ends: ${way}`, async () => {
    const config = shared()
    const args = [program('ending'), app, way, JSON.stringify(config), `${sim.url}/_sim`]
    const { status, ms, stdout } = await runNode(args)
    assert.equal(status, expected)
    assert.ok(ms < 10_000, `${ms} ms`)
    await assertGoesOn(config, 2, (source, token) => assert.ok(token.generation > Number(stdout)))
  })
}

test('a process that is killed ends at once, and the next one goes on', async () => {
  const config = shared()
  const { status } = await runNode([program('ending'), app, 'signal', JSON.stringify(config), `${sim.url}/_sim`])
  assert.equal(status, null)
  // Of the token that it was replacing the next one knows no better, until the API rejects it.
  await assertGoesOn(config, 3, (source, token) => source.invalidate(token))
  assert.equal((await sim.get('state')).vendors.quartile.reuse_detected, 0)
})

/** The next process has a good token, after so many requests in all. */
async function assertGoesOn(config, requests, before) {
  await sim.post('settings', { vendor: 'quartile', delay_ms: 0 })
  const source = new Engine(config).source('quartile')
  before(source, await source.token())
  assert.equal((await source.request('GET', '/reports')).status, 200)
  assert.equal(await sim.tokenRequests('quartile'), requests)
}
