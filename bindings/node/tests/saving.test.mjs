// A new client that is saved as a profile, and the secrecy of an answer that cannot be kept.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { inspect } from 'node:util'
import { serialize } from 'node:v8'
import { Engine, qauth, startSim } from './support.mjs'

const client = { tenant_id: 'issuer-001', name: 'batch', roles: ['issuer'] }
const person = { grant: 'password', username: 'maria', password: 'qpay-password-08fd' }

const sim = await startSim()
const folder = await mkdtemp(join(tmpdir(), 'qauth-'))
after(() => rm(folder, { recursive: true }))
beforeEach(async () => {
  await rm(join(folder, 'profiles.d'), { recursive: true, force: true })
  await sim.post('reset')
})

async function console_() {
  const profiles = { console: { provider: 'qpay', base_url: `${sim.url}/qpay`, ...person } }
  await writeFile(join(folder, 'qauth.json'), JSON.stringify({ profiles }))
  const engine = Engine.fromFile(join(folder, 'qauth.json'))
  return { engine, source: engine.source('console') }
}

test('the new profile works at once', async () => {
  const { engine, source } = await console_()
  const made = await source.call('create_client', client, { saveAs: 'batch', timeoutMs: 20_000 })
  const file = join(folder, 'profiles.d/batch.toml')
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.ok((await readFile(file, 'utf8')).includes(made.client_secret))
  assert.deepEqual(engine.profiles(), ['console', 'batch'])
  assert.equal((await engine.source('batch').token()).tokenType, 'Bearer')
  const taken = { code: 'invalid_argument', message: /batch is a profile already/ }
  await assert.rejects(source.call('create_client', client, { saveAs: 'batch' }), taken)
})

test('what is no name is refused', async () => {
  const { source } = await console_()
  for (const saveAs of ['', '../x', 5, null, '\ud800'])
    await assert.rejects(source.call('create_client', client, { saveAs }), (error) => {
      assert.ok(error instanceof qauth.QauthError && error.code === 'invalid_argument', String(error))
      return /saveAs|save_as/.test(error.message)
    })
  await assert.rejects(source.token({ saveAs: 'batch' }), /options.saveAs: is unknown/)
  assert.equal((await sim.get('state')).vendors.qpay.requests, 0)
})

test('an answer that cannot be kept comes with the error, where only its name finds it', async () => {
  const { source } = await console_()
  const body = { id: '7', client_secret: 'canary-secret' }
  await sim.post('faults', { vendor: 'qpay', endpoint: 'api', status: 201, body })
  const error = await source.call('create_client', client, { saveAs: 'batch' }).catch((error) => error)
  assert.equal(error.code, 'protocol')
  assert.deepEqual(error.answer, body)
  const shown = [
    String(error),
    error.stack,
    JSON.stringify(error),
    inspect(error),
    inspect({ a: [error] }, { showHidden: true, getters: true, depth: null }),
    inspect(error, { customInspect: false, showHidden: true, depth: null }),
    inspect({ ...error }),
    Reflect.ownKeys(error).map(String).join(),
    serialize(error).toString('latin1'),
    inspect(structuredClone(error), { showHidden: true }),
  ]
  for (const text of shown) assert.ok(!text.includes('canary') , text)
  const other = await source.call('create_client', client, { saveAs: 'console' }).catch((error) => error)
  assert.equal(other.answer, null)
})
