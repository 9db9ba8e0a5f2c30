// Every method, against the simulator.
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { Engine, KNOWN, qauth, startSim } from './support.mjs'

const sim = await startSim()
beforeEach(() => sim.post('reset'))

test('a token has its value, type, end, scope, extras and number', async () => {
  const source = sim.engine().source('quiqup')
  const before = Date.now()
  const token = await source.token()
  assert.match(token.accessToken, /^\S+$/)
  assert.equal(token.headerValue, `${token.tokenType} ${token.accessToken}`.replace(/^b/, 'B'))
  assert.ok(token.expiresAt instanceof Date && token.expiresAt.getTime() > before)
  assert.ok(token.expiresIn > 0 && token.expiresIn <= (token.expiresAt - before) / 1000)
  assert.equal(typeof token.generation, 'number')
  assert.ok(token.scope === null || typeof token.scope === 'string')
  assert.equal(typeof token.extras, 'object')
  assert.ok(Object.isFrozen(token.extras))
  const { accessToken, expiresAt } = await source.token()
  assert.equal(accessToken, token.accessToken)
  assert.deepEqual(expiresAt, token.expiresAt)
  assert.throws(() => (token.accessToken = 'x'), TypeError)
})

test('a cached token and header are given again, and a new one after the rejection of the old', async () => {
  const source = sim.engine().source('quiqup')
  const first = await source.token()
  assert.equal(source.token(), source.token(), 'the same promise')
  assert.equal(await source.token(), await source.token())
  const header = source.header()
  assert.equal(header, first.headerValue)
  assert.equal(await sim.tokenRequests('quiqup'), 1)
  assert.equal(source.invalidate(first), true)
  assert.equal(source.invalidate(first), false)
  const second = source.header()
  assert.ok(second instanceof Promise)
  assert.notEqual(await second, header)
  assert.equal(source.header(), await second)
  assert.ok((await source.token()).generation > first.generation)
})

test('header: a promise where nothing is cached; unsupported where one header is not enough', async () => {
  const engine = sim.engine()
  assert.equal(await engine.source('quantaprice').header(), (await engine.source('quantaprice').token()).headerValue)
  const source = engine.source('quartile')
  await assert.rejects(async () => source.header(), { name: 'QauthError', code: 'unsupported' })
  assert.equal(await sim.tokenRequests('quartile'), 0)
  await source.token()
  await assert.rejects(async () => source.header(), { code: 'unsupported' })
})

test('timeoutMs and minRemainingMs', async () => {
  const source = sim.engine().source('quiqup')
  await assert.rejects(source.token({ timeoutMs: 0 }), { code: 'timeout' })
  assert.equal(await sim.tokenRequests('quiqup'), 0)
  const token = await source.token()
  assert.equal((await source.token({ timeoutMs: 0 })).accessToken, token.accessToken)
  const same = await source.token({ minRemainingMs: 1000, timeoutMs: undefined, signal: undefined })
  assert.equal(same.accessToken, token.accessToken)
  await sim.post('faults', { vendor: 'quantaprice', endpoint: 'token', delay_ms: 60_000 })
  await assert.rejects(sim.engine().source('quantaprice').token({ timeoutMs: 20 }), {
    code: 'timeout',
    retryable: true,
  })
})

test('headers: everything that a request carries, for the own hosts only', async () => {
  const source = sim.engine().source('quartile')
  const headers = await source.headers('GET', '/reports')
  const { headerValue } = await source.token()
  assert.deepEqual(headers, { Authorization: headerValue, 'Subscription-Key': KNOWN.quartile.subscription_key })
  assert.deepEqual(await source.headers('GET', new URL(`${source.apiBaseUrl}/reports`)), headers)
  await assert.rejects(source.headers('GET', 'https://elsewhere.example/'), { code: 'invalid_argument' })
  await assert.rejects(source.headers('no method', '/reports'), { code: 'invalid_argument' })
})

test('request: status, headers and body of every status', async () => {
  const source = sim.engine().source('quiqup')
  const response = await source.request('POST', '/echo?a=1', {
    query: { b: 'x y', c: 2, d: true, e: ['1', '2'], f: undefined },
    headers: { 'X-Own': 'yes', 'X-Not': undefined },
    body: 'Grüße',
  })
  assert.equal(response.status, 200)
  assert.equal(response.ok, true)
  assert.ok(response.headers instanceof Headers)
  assert.match(response.headers.get('content-type'), /json/)
  assert.ok(Buffer.isBuffer(response.body))
  const echo = response.json()
  assert.deepEqual(JSON.parse(response.text()), echo)
  assert.equal(echo.query, 'a=1&b=x+y&c=2&d=true&e=1&e=2')
  assert.equal(echo.headers['x-own'], 'yes')
  assert.equal(echo.headers['x-not'], undefined)
  assert.equal(echo.body, 'Grüße')
  const bytes = new Uint8Array([0, 104, 105, 0]).subarray(1, 3)
  for (const body of [bytes, Buffer.from('hi'), new Uint8Array([104, 105]).buffer, new DataView(bytes.buffer, 1, 2)]) {
    assert.equal((await source.request('POST', '/echo', { body })).json().body, 'hi')
  }
  const pairs = { query: new URLSearchParams('a=1&a=2'), headers: new Headers({ 'X-Own': '1' }), body: null }
  const second = (await source.request('PUT', new URL(`${source.apiBaseUrl}/echo`), pairs)).json()
  assert.equal(second.method, 'PUT')
  assert.equal(second.query, 'a=1&a=2')
  const forbidden = await source.request('GET', '/forbidden')
  assert.equal(forbidden.status, 403)
  assert.equal(forbidden.ok, false)
  assert.equal((await source.request('GET', '/redirect')).status, 302)
})

test('request: a 401 leads to one new token and one more try', async () => {
  const source = sim.engine().source('quiqup')
  await source.token()
  await sim.post('revoke', { vendor: 'quiqup', tokens: true })
  assert.equal((await source.request('GET', '/orders')).status, 200)
  assert.equal(await sim.tokenRequests('quiqup'), 2)
})

test('a body that is no JSON is a protocol error that does not quote it', async () => {
  const source = sim.engine().source('quiqup')
  const response = await source.request('GET', '/large?bytes=100')
  assert.throws(
    () => response.json(),
    (error) => {
      assert.equal(error.code, 'protocol')
      return !error.message.includes(response.text().slice(0, 10))
    },
  )
})

test('call: the parsed result of an operation; its refusal is an error', async () => {
  const engine = sim.engine()
  const prices = await engine.source('quantaprice').call('prices', { sku: 'PRODUCT-001' })
  assert.equal(typeof prices, 'object')
  assert.equal(await engine.source('quartile').call('validate'), true)
  await assert.rejects(engine.source('quantaprice').call('nothing'), { code: 'invalid_argument' })
  await assert.rejects(engine.source('quantaprice').call('prices', { skew: 1 }), { code: 'invalid_argument' })
})

test('update replaces a secret, reset forgets a failure', async () => {
  const source = sim.engine().source('quiqup', { client_secret: 'wrong-secret-0001' })
  await assert.rejects(source.token(), { code: 'invalid_client', profile: 'quiqup', provider: 'quiqup', status: 401 })
  await assert.rejects(source.token(), { code: 'invalid_client' })
  assert.equal(await sim.tokenRequests('quiqup'), 1)
  source.reset()
  await assert.rejects(source.token(), { code: 'invalid_client' })
  assert.equal(await sim.tokenRequests('quiqup'), 2)
  assert.equal(source.update({ client_secret: KNOWN.quiqup.client_secret, scope: undefined }), undefined)
  assert.ok((await source.token()).accessToken)
})

test('scoped: tokens of their own', async () => {
  const source = sim.engine().source('qpay')
  const narrowed = source.scoped({ scope: 'openid', audience: undefined })
  assert.ok(narrowed instanceof qauth.TokenSource)
  assert.notEqual((await narrowed.token()).accessToken, (await source.token()).accessToken)
  assert.throws(() => sim.engine().source('quable').scoped({ audience: 'x' }), { code: 'config' })
})

test('a source tells its profile, provider, address and header', () => {
  const source = new Engine({ profiles: { main: sim.profile('quiqup') } }).source('main')
  assert.equal(source.profile, 'main')
  assert.equal(source.provider, 'quiqup')
  assert.equal(source.apiBaseUrl, `${sim.url}/quiqup`)
  assert.equal(source.headerName, 'Authorization')
  const none = {
    providers: { local: { credentials: { key: {} }, grants: { static: { token: '{key}' } } } },
    profiles: { main: { provider: 'local', key: 'none' } },
  }
  assert.equal(new Engine(none).source('main').apiBaseUrl, null)
})

test('engines of every kind', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qauth-'))
  const json = JSON.stringify(sim.config())
  const toml = '[profiles.one]\nprovider = "quiqup"\n'
  writeFileSync(join(folder, 'qauth.json'), json)
  const names = Object.keys(KNOWN)
  assert.deepEqual(Engine.fromJson(json).profiles(), names)
  assert.deepEqual(Engine.fromFile(join(folder, 'qauth.json')).profiles(), names)
  assert.deepEqual(Engine.fromToml(toml).profiles(), ['one'])
  assert.deepEqual(new Engine().profiles(), [])
  assert.deepEqual(new Engine(sim.config()).profiles(), names)
  process.env.QAUTH_CONFIG = join(folder, 'qauth.json')
  assert.deepEqual(Engine.discover().profiles(), names)
  assert.deepEqual(Engine.shared().profiles(), names)
  assert.equal(Engine.shared(), Engine.shared())
  const ends = (await qauth.source('quiqup').token()).expiresIn
  assert.ok(ends > 0)
  assert.throws(() => Engine.fromFile(join(folder, 'none.toml')), { code: 'config' })
})

test('the same engine gives the same source, and another one after remove', async () => {
  const engine = sim.engine()
  const source = engine.source('quiqup')
  const { accessToken } = await source.token()
  assert.equal((await engine.source('quiqup').token()).accessToken, accessToken)
  assert.equal(engine.remove('quiqup'), true)
  assert.equal(engine.remove('quiqup'), false)
  await assert.rejects(source.token(), { code: 'closed' })
  assert.ok((await engine.source('quiqup').token()).accessToken)
})

test('a record is told and cleared', async () => {
  const engine = sim.engine()
  assert.deepEqual(await engine.records(), [])
  const { accessToken } = await engine.source('quiqup').token()
  const [record, ...others] = await engine.records()
  assert.deepEqual(others, [])
  const { profile, provider, state, has_refresh_token: refresh, name, error } = record
  assert.deepEqual([profile, provider, state, refresh, name, error], ['quiqup', 'quiqup', 'valid', false, null, null])
  assert.equal(record.expires_at, record.obtained_at + 3600)
  assert.ok(!JSON.stringify(record).includes(accessToken))
  assert.equal(await engine.clear('quiqup'), true)
  assert.equal(await engine.clear('quiqup'), false)
  assert.deepEqual((await engine.records()).map(({ state }) => state), ['empty'])
  assert.notEqual((await engine.source('quiqup').token()).accessToken, accessToken)
  await assert.rejects(engine.clear('nowhere'), { code: 'config' })
  await engine.close()
  await assert.rejects(engine.records(), { code: 'closed' })
})

test('close ends everything, waiters too', async () => {
  const engine = sim.engine()
  const source = engine.source('quiqup')
  const token = await source.token()
  await sim.post('faults', { vendor: 'quantaprice', endpoint: 'token', delay_ms: 60_000 })
  const waiting = assert.rejects(engine.source('quantaprice').token(), { code: 'closed' })
  await sim.untilTokenRequests('quantaprice', 1)
  assert.equal(await engine.close(), undefined)
  await waiting
  await engine.close()
  const closed = { name: 'QauthError', code: 'closed' }
  await assert.rejects(source.token(), closed)
  await assert.rejects(async () => source.header(), closed)
  await assert.rejects(source.headers('GET', '/orders'), closed)
  await assert.rejects(source.request('GET', '/orders'), closed)
  await assert.rejects(source.call('anything'), closed)
  await assert.rejects(source.fetch('/orders'), closed)
  assert.throws(() => engine.source('quiqup'), closed)
  await assert.rejects(engine.advance(1), (error) => ['closed', 'unsupported'].includes(error.code))
  assert.equal(source.invalidate(token), false)
  assert.equal(token.accessToken.length > 0, true)
  assert.equal(source.profile, 'quiqup')
})

test('await using closes an engine', { skip: !Symbol.asyncDispose }, async () => {
  const engine = sim.engine()
  await engine[Symbol.asyncDispose]()
  assert.throws(() => engine.source('quiqup'), { code: 'closed' })
})

test('advance moves a manual clock, to a renewal and to the end of a token', async () => {
  await sim.post('clock', { freeze: true })
  const engine = sim.engine({ testing: { clock: 'manual' } })
  const source = engine.source('quantaprice')
  const token = await source.token()
  const header = source.header()
  assert.equal(token.expiresIn, 3600)
  assert.equal(await engine.advance(3530), undefined)
  assert.equal(await sim.tokenRequests('quantaprice'), 2)
  assert.equal(token.expiresIn, 70)
  assert.notEqual(source.header(), header)
  assert.notEqual((await source.token()).accessToken, token.accessToken)
  await engine.advance(100)
  assert.equal(token.expiresIn, 0)
  await assert.rejects(sim.engine().advance(1), { code: 'unsupported' })
  for (const seconds of [-1, NaN, Infinity]) {
    await assert.rejects(engine.advance(seconds), { code: 'invalid_argument' })
  }
})

test('a token without an end has neither expiresAt nor expiresIn', async () => {
  const config = {
    providers: { local: { credentials: { key: {} }, grants: { static: { token: '{key}' } } } },
    profiles: { main: { provider: 'local', key: 'abc' } },
  }
  const token = await new Engine(config).source('main').token()
  assert.equal(token.expiresAt, null)
  assert.equal(token.expiresIn, null)
  assert.equal(token.scope, null)
  assert.equal(token.headerValue, 'Bearer abc')
})
