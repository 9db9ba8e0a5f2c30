// Wrong arguments: a QauthError that names the argument and what is expected, never the value. What gives a promise
// rejects; nothing is sent.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import vm from 'node:vm'
import { Engine, qauth, startSim } from './support.mjs'

const sim = await startSim()
const engine = sim.engine()
const source = engine.source('quiqup')

after(async () => assert.equal(await sim.tokenRequests('quiqup'), 0))

function refused(name, secret = 'canary') {
  return (error) => {
    assert.ok(error instanceof qauth.QauthError, String(error))
    assert.equal(error.code, 'invalid_argument', error.message)
    assert.ok(error.message.includes(name), `${error.message} does not name ${name}`)
    assert.ok(!error.message.includes(secret), error.message)
    return true
  }
}

const throws = (call, name) => assert.throws(call, refused(name))
async function rejects(call, name) {
  const promise = call()
  assert.ok(promise instanceof Promise, 'a promise, and no exception')
  await assert.rejects(promise, refused(name))
}

const NO_STRINGS = [null, undefined, 1, true, 1n, Symbol('canary'), {}, [], () => {}, new Date(), 'half \ud800 canary']
const NO_OBJECTS = [
  null,
  1,
  'canary',
  true,
  1n,
  Symbol('canary'),
  [],
  () => {},
  new Date(),
  new Map(),
  new Proxy({}, {}),
]

test('texts', async () => {
  for (const wrong of NO_STRINGS) {
    throws(() => qauth.source(wrong), 'name')
    throws(() => engine.source(wrong), 'name')
    throws(() => engine.remove(wrong), 'name')
    throws(() => Engine.fromFile(wrong), 'path')
    throws(() => Engine.fromToml(wrong), 'text')
    throws(() => Engine.fromJson(wrong), 'text')
    await rejects(() => source.headers(wrong, '/orders'), 'method')
    await rejects(() => source.headers('GET', wrong), 'url')
    await rejects(() => source.request(wrong, '/orders'), 'method')
    await rejects(() => source.request('GET', wrong), 'target')
    await rejects(() => source.call(wrong), 'operation')
    await rejects(() => source.fetch(wrong), 'input')
    if (wrong !== undefined) throws(() => source.scoped({ audience: wrong }), 'narrowing.audience')
  }
})

test('objects', async () => {
  for (const wrong of NO_OBJECTS) {
    throws(() => new Engine(wrong), 'config')
    throws(() => engine.source('quiqup', wrong), 'options')
    throws(() => source.update(wrong), 'changes')
    throws(() => source.scoped(wrong), 'narrowing')
    await rejects(() => source.token(wrong), 'options')
    await rejects(() => source.headers('GET', '/orders', wrong), 'options')
    await rejects(() => source.request('GET', '/orders', wrong), 'options')
    await rejects(() => source.call('anything', wrong), 'parameters')
    await rejects(() => source.call('anything', {}, wrong), 'options')
  }
  throws(() => source.update(), 'changes')
  throws(() => source.scoped(), 'narrowing')
  for (const wrong of [1, 'canary', Symbol('canary')]) await rejects(() => source.fetch('/orders', wrong), 'init')
})

test('numbers', async () => {
  for (const wrong of [NaN, -1, -0.5, Infinity, -Infinity, 1e18]) {
    await rejects(() => source.token({ timeoutMs: wrong }), 'timeoutMs')
    await rejects(() => source.token({ minRemainingMs: wrong }), 'minRemainingMs')
    await rejects(() => source.headers('GET', '/orders', { timeoutMs: wrong }), 'timeoutMs')
    await rejects(() => source.request('GET', '/orders', { timeoutMs: wrong }), 'timeoutMs')
    await rejects(() => source.call('anything', {}, { timeoutMs: wrong }), 'timeoutMs')
  }
  for (const wrong of [null, '5', 5n, {}, [], true, Symbol('canary'), new Date()]) {
    await rejects(() => source.token({ timeoutMs: wrong }), 'options.timeoutMs')
    await rejects(() => source.token({ minRemainingMs: wrong }), 'options.minRemainingMs')
    await rejects(() => engine.advance(wrong), 'seconds')
    await rejects(() => engine.suspend(wrong), 'seconds')
    await rejects(async () => engine.stepWallClock(wrong), 'seconds')
  }
  await rejects(() => engine.advance(), 'seconds')
})

test('windows and limits of a profile', async () => {
  for (const key of ['buffer', 'ahead', 'max_lifetime', 'default_lifetime', 'timeout']) {
    for (const wrong of [NaN, Infinity, -Infinity, -1, -0.001, 1e300, 5n, true, 'canary', 'nan', [1], {}]) {
      for (const call of [() => engine.source('quiqup', { [key]: wrong }), () => source.update({ [key]: wrong })]) {
        assert.throws(call, (error) => {
          assert.ok(error instanceof qauth.QauthError && ['config', 'invalid_argument'].includes(error.code), String(error))
          assert.ok(error.message.includes(key) && !error.message.includes('canary'), error.message)
          return true
        })
      }
    }
  }
})

test('signals', async () => {
  for (const wrong of [null, 1, 'canary', {}, new AbortController(), () => {}]) {
    await rejects(() => source.token({ signal: wrong }), 'options.signal')
    await rejects(() => source.request('GET', '/orders', { signal: wrong }), 'options.signal')
    if (wrong !== null) await rejects(() => source.fetch('/orders', { signal: wrong }), 'init.signal')
  }
})

test('options that do not exist are named', async () => {
  await rejects(() => source.token({ timeout: 5 }), 'options.timeout')
  await rejects(() => source.headers('GET', '/orders', { body: 'canary' }), 'options.body')
  await rejects(() => source.request('GET', '/orders', { minRemainingMs: 5 }), 'options.minRemainingMs')
  await rejects(() => source.request('GET', '/orders', { json: {} }), 'options.json')
  await rejects(() => source.call('anything', {}, { query: {} }), 'options.query')
  throws(() => source.scoped({ scopes: 'canary' }), 'narrowing.scopes')
})

test('bodies, queries and headers', async () => {
  for (const wrong of [1, true, {}, [], new Map(), new URLSearchParams(), () => {}, Symbol('canary')]) {
    await rejects(() => source.request('POST', '/orders', { body: wrong }), 'options.body')
  }
  for (const wrong of [null, 'a=canary', 1, new Map(), []]) {
    await rejects(() => source.request('GET', '/orders', { query: wrong }), 'options.query')
    await rejects(() => source.request('GET', '/orders', { headers: wrong }), 'options.headers')
  }
  for (const wrong of [null, {}, NaN, 1n, Symbol('canary'), [undefined], [[1]]]) {
    await rejects(() => source.request('GET', '/orders', { query: { sku: wrong } }), 'options.query.sku')
  }
  for (const wrong of [null, 1, {}, ['canary']]) {
    await rejects(() => source.request('GET', '/orders', { headers: { accept: wrong } }), 'options.headers.accept')
  }
  await rejects(() => source.request('GET', '/orders', { headers: { Authorization: 'canary' } }), 'Authorization')
  await rejects(() => source.request('GET', '/orders', { headers: { 'X-A': 'canary\r\nX-B: 1' } }), 'X-A')
})

test('what JSON cannot hold is named by its path', () => {
  const itself = {}
  itself.profiles = { pricing: itself }
  const list = []
  list.push(list)
  const deep = {}
  Array.from({ length: 100 }).reduce((at) => (at.a = {}), deep)
  for (const wrong of [
    () => {},
    Symbol('canary'),
    1n,
    new Date(),
    new Map(),
    new Set(),
    new URL('http://canary'),
    /canary/,
  ]) {
    throws(() => new Engine({ profiles: { pricing: { timeout: wrong } } }), 'config.profiles.pricing.timeout')
    throws(() => new Engine({ profiles: { pricing: { hosts: ['a', wrong] } } }), 'config.profiles.pricing.hosts[1]')
    throws(() => engine.source('quiqup', { timeout: wrong }), 'options.timeout')
    throws(() => source.update({ client_secret: wrong }), 'changes.client_secret')
  }
  for (const wrong of [NaN, Infinity]) throws(() => new Engine({ store: { size: wrong } }), 'config.store.size')
  throws(() => new Engine(itself), 'config.profiles.pricing: holds itself')
  throws(() => new Engine({ a: list }), 'config.a[0]: holds itself')
  throws(() => new Engine({ deep }), 'config.deep.a.a')
  throws(() => new Engine({ list: [undefined] }), 'config.list[0]')
  throws(() => new Engine({ list: [, 1] }), 'config.list[0]') // eslint-disable-line no-sparse-arrays
  throws(() => new Engine({ a: 'canary \udc00' }), 'config.a')
})

test('a mistake in the configuration is one of core: config, naming the field', () => {
  const config = (profile) => ({ profiles: { pricing: { provider: 'quantaprice', ...profile } } })
  for (const [profile, field] of [
    [{ timeout: 'canary' }, 'timeout'],
    [{ timeout: null }, 'timeout'],
    [{ base_ulr: 'canary' }, 'base_ulr'],
  ]) {
    assert.throws(
      () => new Engine(config(profile)).source('pricing'),
      (error) => error.code === 'config' && error.message.includes(field) && !error.message.includes('canary'),
    )
  }
})

test('undefined members are not given, also twice the same object is fine', () => {
  const shared = { provider: 'quiqup', environment: undefined }
  assert.deepEqual(new Engine({ profiles: { a: shared, b: shared }, store: undefined }).profiles(), ['a', 'b'])
  assert.deepEqual(new Engine(undefined).profiles(), [])
})

test('objects of another realm and without a prototype are objects', () => {
  const foreign = vm.runInNewContext('({ profiles: { a: { provider: "quiqup" } } })')
  assert.deepEqual(new Engine(foreign).profiles(), ['a'])
  assert.deepEqual(new Engine(Object.assign(Object.create(null), { profiles: {} })).profiles(), [])
  const config = JSON.parse('{ "profiles": { "__proto__": { "provider": "quiqup" } } }')
  assert.throws(() => new Engine(config).source('__proto__'), qauth.QauthError)
})

test('a token is a Token', async () => {
  for (const wrong of [
    undefined,
    null,
    'canary',
    {},
    [],
    { generation: 1 },
    source,
    Object.create(qauth.Token.prototype),
  ]) {
    throws(() => source.invalidate(wrong), 'token')
  }
})

test('classes cannot be made or extended by users', () => {
  class Own extends Engine {}
  throws(() => new Own(), 'Engine: cannot be extended')
  for (const name of ['TokenSource', 'Token', 'Response']) {
    throws(() => new qauth[name](), `${name}: cannot be constructed`)
    throws(() => new qauth[name](Symbol('qauth'), {}), `${name}: cannot be constructed`)
    throws(() => new (class extends qauth[name] {})(), `${name}: cannot be constructed`)
  }
})

test('an error has a stack that leads to the caller', async () => {
  async function theCaller() {
    await source.token({ timeoutMs: 0 })
  }
  await assert.rejects(
    theCaller(),
    (error) => /^QauthError: timeout: /.test(error.stack) && error.stack.includes('theCaller'),
  )
  function theOther() {
    engine.source('no such profile')
  }
  assert.throws(theOther, (error) => error.stack.includes('theOther') && error.stack.includes(import.meta.filename))
})
