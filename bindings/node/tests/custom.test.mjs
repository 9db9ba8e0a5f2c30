// Tokens by a function of the program: customSource.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Engine, qauth, runNode, startServer } from './support.mjs'

const { QauthError } = qauth

/** A source of its own engine, and how often its function was called. */
function make(give, options) {
  const calls = []
  const engine = new Engine()
  const source = engine.customSource(
    'vault',
    (request) => {
      calls.push(request)
      return give(request, calls.length)
    },
    options,
  )
  return { engine, source, calls }
}

/** A promise, and how to settle it. */
function open() {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

test('one call is for all who wait, and is cached', async () => {
  const { source, calls } = make(async (_, count) => {
    await sleep(20)
    return { accessToken: `t-${count}`, expiresIn: 600 }
  })
  const tokens = await Promise.all(Array.from({ length: 100 }, () => source.token()))
  assert.deepEqual(new Set(tokens.map(({ accessToken }) => accessToken)), new Set(['t-1']))
  assert.equal(source.header(), 'Bearer t-1')
  assert.equal((await source.token()).accessToken, 't-1')
  assert.deepEqual(calls, [{ profile: 'vault', scope: null, audience: null, resource: null }])
  assert.equal(source.profile, 'vault')
})

test('a text, an object, a Token, now or later', async () => {
  const other = await make(() => ({ accessToken: 'abc', expiresIn: 60, tokenType: 'bearer', zone: 7 })).source.token()
  const later = { then: (resolve) => setTimeout(resolve, 5, 'abc') }
  for (const [given, expected] of [
    ['abc', { expiresIn: 300, tokenType: 'Bearer', scope: null, extras: {} }],
    [Promise.resolve('abc'), { expiresIn: 300, tokenType: 'Bearer', scope: null, extras: {} }],
    [later, { expiresIn: 300, tokenType: 'Bearer', scope: null, extras: {} }],
    [{ accessToken: 'abc', expiresIn: null, scope: undefined }, { expiresIn: 300, scope: null, extras: {} }],
    [Object.assign(Object.create(null), { accessToken: 'abc' }), { expiresIn: 300 }],
    [
      { accessToken: 'abc', expiresIn: 600, tokenType: 'bearer', scope: 'a b', id: 1, more: { list: [null] } },
      { expiresIn: 600, tokenType: 'bearer', scope: 'a b', extras: { id: 1, more: { list: [null] } } },
    ],
    [other, { expiresIn: 60, tokenType: 'bearer', extras: { zone: 7 } }],
  ]) {
    const token = await make(() => given).source.token()
    assert.equal(token.accessToken, 'abc')
    for (const [name, value] of Object.entries(expected)) {
      if (name === 'expiresIn') assert.ok(token.expiresIn > value - 3 && token.expiresIn <= value, String(token.expiresIn))
      else assert.deepEqual(token[name], value, name)
    }
  }
})

test('it is told what the token is narrowed to', async () => {
  const { source, calls } = make(({ scope, audience }) => `${scope}-${audience}`)
  const narrow = source.scoped({ scope: 'read', audience: 'https://a.example' })
  assert.equal((await narrow.token()).accessToken, 'read-https://a.example')
  assert.deepEqual(calls, [{ profile: 'vault', scope: 'read', audience: 'https://a.example', resource: null }])
})

test('requests carry the token; a 401 leads to one more call', async (t) => {
  const api = await startServer((request, response) =>
    response.writeHead(request.headers.authorization === 'Bearer t-1' ? 401 : 200).end('{}'),
  )
  t.after(api.close)
  for (const ask of [(source) => source.fetch('/a'), (source) => source.request('GET', '/a')]) {
    const { source, calls } = make((_, count) => `t-${count}`, { api_base_url: api.url })
    assert.equal((await ask(source)).status, 200)
    assert.equal(calls.length, 2)
    assert.deepEqual(await source.headers('GET', '/a'), { Authorization: 'Bearer t-2' })
  }
})

test('what it throws reaches everybody who waits, by its class alone', async () => {
  class VaultError extends Error {}
  const secret = 'hvs.very-secret'
  for (const [thrown, text] of [
    [new TypeError(secret), 'TypeError'],
    [new VaultError(secret), 'VaultError'],
    [new DOMException(secret, 'AbortError'), 'DOMException'],
    [secret, 'a string'],
    [undefined, 'undefined'],
    [Object.create(null), 'an object'],
    [new (class extends Error {})(secret), 'an object'],
    [new Proxy({}, { get: () => assert.fail() }), 'an object'],
  ]) {
    for (const give of [
      () => {
        throw thrown
      },
      () => Promise.reject(thrown),
      async () => {
        await turn()
        throw thrown
      },
    ]) {
      const { source, calls } = make(give)
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => source.token()))
      assert.equal(new Set(results.map(({ reason }) => reason)).size, 20)
      for (const { reason } of results) {
        assert.ok(reason instanceof QauthError)
        assert.equal(reason.code, 'protocol')
        assert.equal(reason.message, `protocol: profile "vault": the token function failed: ${text}`)
        assert.equal(reason.profile, 'vault')
        assert.ok(Object.is(reason.cause, thrown))
        assert.ok(!JSON.stringify(reason).includes(secret) && !reason.stack.includes(secret))
      }
      assert.equal(calls.length, 1)
    }
  }
})

test('what it throws may resist being looked at', async () => {
  const resisting = new Proxy({}, { getPrototypeOf: () => assert.fail() })
  const Odd = class extends Error {}
  Object.defineProperty(Odd, 'name', { value: { toString: () => 'Odd' } })
  for (const thrown of [resisting, new Odd()]) {
    const { source } = make(() => Promise.reject(thrown))
    await assert.rejects(source.token(), {
      code: 'protocol',
      message: 'protocol: profile "vault": the token function failed: an object',
    })
  }
})

test('a QauthError keeps its code', async () => {
  const broken = make(() => 'two words').source
  for (const [fail, code] of [
    [() => new QauthError({ code: 'access_denied', message: 'ask the owner' }), 'access_denied'],
    [() => broken.token().catch((error) => error), 'protocol'],
    [() => new QauthError({ code: 'nonsense', message: 'x' }), 'protocol'],
    [() => new QauthError({ code: 7, message: 'x', retryAfterMs: 'y' }), 'protocol'],
  ]) {
    const thrown = await fail()
    const { source } = make(() => Promise.reject(thrown))
    const caught = await source.token().catch((error) => error)
    assert.equal(caught.code, code)
    assert.equal(caught.message, `${code}: profile "vault": the token function failed: QauthError`)
    assert.equal(caught.cause, thrown)
    assert.equal(typeof thrown.retryable, 'boolean')
  }
  const busy = make(() => Promise.reject(Object.assign(new QauthError({ code: 'rate_limited' }), { retryAfterMs: 7000 })))
  const { code, retryAfterMs } = await busy.source.token().catch((error) => error)
  assert.equal(code, 'rate_limited')
  assert.ok(retryAfterMs > 5000 && retryAfterMs <= 7000, String(retryAfterMs))
})

test('a cause is that of its own source, or none', async () => {
  const [one, two] = [new TypeError('one'), new TypeError('two')]
  const first = make(() => Promise.reject(one)).source
  await assert.rejects(first.token(), (error) => error.cause === one)
  const second = make(() => Promise.reject(two)).source
  await assert.rejects(second.token(), (error) => error.code === 'protocol' && error.cause !== one)
})

test('what is no token is refused, and not shown', async () => {
  const secret = 'very secret token'
  const accessToken = 'abc'
  for (const [given, text] of [
    [undefined, /expected a string, or an object with accessToken, got undefined/],
    [null, /got null/],
    [7, /got a number/],
    [[secret], /got an array/],
    [new Date(), /got an object of a class/],
    [() => secret, /got a function/],
    [{}, /accessToken: expected a string, got undefined/],
    [{ access_token: secret }, /accessToken: expected a string, got undefined/],
    [{ accessToken: 7 }, /accessToken: expected a string, got a number/],
    ['', /what no token can be/],
    [secret, /what no token can be/],
    ['a'.repeat(65537), /what no token can be/],
    [`${secret}\ud800`, /accessToken: holds half of a surrogate pair/],
    [{ accessToken, expiresIn: '3600' }, /expiresIn: expected a number, got a string/],
    [{ accessToken, expiresIn: -1 }, /expiresIn: expected a number that is not negative/],
    [{ accessToken, expiresIn: NaN }, /expiresIn: expected a number that is not negative/],
    [{ accessToken, expiresIn: 0 }, /already expired/],
    [{ accessToken, expiresIn: 5n }, /expiresIn: expected a number, got a bigint/],
    [{ accessToken, tokenType: 1 }, /tokenType: expected a string, got a number/],
    [{ accessToken, scope: ['a'] }, /scope: expected a string, got an array/],
    [{ accessToken, when: new Date() }, /extras.when: expected a string, number, boolean/],
    [{ accessToken, many: 10n }, /extras.many: expected/],
  ]) {
    const error = await make(() => given)
      .source.token()
      .catch((error) => error)
    assert.ok(error instanceof QauthError, inspect(given))
    assert.equal(error.code, 'protocol')
    assert.match(error.message, text)
    assert.ok(!inspect(error).includes(secret), inspect(error))
  }
  const getter = { accessToken, get scope() { throw new RangeError(secret) } } // prettier-ignore
  await assert.rejects(make(() => getter).source.token(), /failed: RangeError/)
})

test('one that never answers is a timeout, and is called again by a later caller', async () => {
  const waits = [new Promise(() => {}), 'abc']
  const { source, calls } = make(() => waits.shift(), { timeout: '100ms' })
  const begun = performance.now()
  const results = await Promise.allSettled([source.token(), source.token(), source.header(), source.headers('GET', '/a')])
  assert.ok(performance.now() - begun < 5000)
  assert.deepEqual(results.map(({ reason }) => reason.code), ['timeout', 'timeout', 'timeout', 'config']) // prettier-ignore
  source.reset()
  assert.equal((await source.token()).accessToken, 'abc')
  assert.equal(calls.length, 2)
})

test('a caller in a hurry harms nobody', async () => {
  const answer = open()
  const { source, calls } = make(() => answer.promise)
  const patient = source.token()
  await assert.rejects(source.token({ timeoutMs: 20 }), { code: 'timeout' })
  await assert.rejects(source.token({ timeoutMs: 0 }), { code: 'timeout' })
  answer.resolve('abc')
  assert.equal((await patient).accessToken, 'abc')
  assert.equal(calls.length, 1)
})

test('a function that asks its own source gets a timeout, and so does its caller', async () => {
  const inner = open()
  const { source } = make(
    async () => {
      await source.token().catch(inner.resolve)
      return 'abc'
    },
    { timeout: '150ms' },
  )
  await assert.rejects(source.token(), { code: 'timeout' })
  assert.equal((await inner.promise).code, 'timeout')
})

test('a function may ask another source', async () => {
  const first = make(() => sleep(5, 'one')).source
  const { source } = make(async () => `${(await first.token()).accessToken}-two`)
  assert.equal((await source.token()).accessToken, 'one-two')
})

test('a function may remove its source, and close its engine', async () => {
  for (const end of [(engine) => engine.remove('vault'), (engine) => engine.close()]) {
    const engine = new Engine()
    const source = engine.customSource('vault', async () => {
      await end(engine)
      return 'canary'
    })
    await assert.rejects(source.token({ timeoutMs: 10_000 }), { code: 'closed' })
  }
})

test('a signal gives up its own call only', async () => {
  const answer = open()
  const { source, calls } = make(() => answer.promise)
  const controller = new AbortController()
  const { signal } = controller
  const patient = [source.token(), source.token()]
  const others = [source.token({ signal }), source.headers('GET', '/a', { signal }).catch(({ code }) => code)]
  const reason = new Error('enough')
  controller.abort(reason)
  await assert.rejects(others[0], (error) => error.code === 'cancelled' && error.cause === reason)
  answer.resolve('abc')
  for (const token of patient) assert.equal((await token).accessToken, 'abc')
  assert.equal(calls.length, 1)
})

test('the one who set the call off gives up, and the next one gets the token', async () => {
  for (let round = 0; round < 100; round++) {
    const answer = open()
    const { source, calls } = make(() => answer.promise)
    const controller = new AbortController()
    const first = source.token({ signal: controller.signal }).catch(({ code }) => code)
    if (round % 2) await turn()
    const second = source.token()
    controller.abort()
    assert.equal(await first, 'cancelled')
    answer.resolve('abc')
    assert.equal((await second).accessToken, 'abc')
    assert.equal(calls.length, 1)
  }
})

test('all give up, and a later one gets what the function gave meanwhile', async () => {
  const answer = open()
  const called = open()
  const { source, calls } = make(() => (called.resolve(), answer.promise))
  const controller = new AbortController()
  const first = source.token({ signal: controller.signal })
  await called.promise
  controller.abort()
  await assert.rejects(first, { code: 'cancelled' })
  answer.resolve('abc')
  assert.equal((await source.token()).accessToken, 'abc')
  assert.equal(calls.length, 1)
})

test('the last function that is given for a name counts', async () => {
  const engine = new Engine()
  const one = engine.customSource('vault', () => 'one')
  const two = engine.customSource('vault', () => 'two')
  assert.equal((await one.token()).accessToken, 'two')
  assert.equal((await two.token()).accessToken, 'two')
  assert.equal((await engine.source('vault', { provider: 'custom' }).token()).accessToken, 'two')
})

test('a profile of the configuration gets its function, and has none before', async () => {
  const engine = new Engine({
    providers: { acme: { environments: { live: {} }, grants: { custom: {} }, attach: { header: 'X-Key', scheme: '' } } },
    profiles: { shop: { provider: 'acme', default_lifetime: '600s' }, pay: { provider: 'qpay', client_id: 'a', client_secret: 'b' } },
  }) // prettier-ignore
  const source = engine.source('shop')
  await assert.rejects(source.token(), { code: 'config' })
  source.reset()
  engine.customSource('shop', () => 'abc')
  assert.equal((await source.token()).accessToken, 'abc')
  assert.equal(source.header(), 'abc')
  assert.equal(source.headerName, 'X-Key')
  assert.ok((await source.token()).expiresIn > 590)
  assert.throws(() => engine.customSource('pay', () => 'abc'), { code: 'config' })
})

test('arguments', () => {
  const engine = new Engine()
  for (const fn of [undefined, null, 'a', {}, []]) {
    assert.throws(() => engine.customSource('vault', fn), { code: 'invalid_argument', message: /fn: expected a function/ })
  }
  assert.throws(() => engine.customSource(7, () => 'a'), { code: 'invalid_argument', message: /name: / })
  assert.throws(() => engine.customSource('vault', () => 'a', 7), { code: 'invalid_argument', message: /options: / })
  assert.throws(() => engine.customSource('vault', () => 'a', { wrong: 1 }), { code: 'config', message: /wrong/ })
  assert.throws(() => engine.customSource('', () => 'a'), { code: 'config' })
  assert.throws(() => engine.customSource('vault', 'a'), QauthError)
  assert.equal(typeof qauth.customSource, 'function')
})

test('a token near its end is renewed by the one who asks', async () => {
  const engine = new Engine({ testing: { clock: 'manual' } })
  let calls = 0
  const source = engine.customSource('vault', () => ({ accessToken: `t-${++calls}`, expiresIn: 600 }))
  assert.equal(await source.header(), 'Bearer t-1')
  await engine.advance(530)
  assert.equal(source.header(), 'Bearer t-1')
  await engine.advance(20)
  assert.equal(await source.header(), 'Bearer t-2')
  await engine.advance(600)
  assert.equal((await source.token()).accessToken, 't-3')
  assert.equal(calls, 3)
})

test('closing ends the wait', async () => {
  const called = open()
  const { engine, source } = make(() => (called.resolve(), new Promise(() => {})))
  const waiting = assert.rejects(source.token(), { code: 'closed' })
  await called.promise
  await engine.close()
  await waiting
  await assert.rejects(source.token(), { code: 'closed' })
  assert.throws(() => engine.customSource('vault', () => 'a'), { code: 'closed' })
})

test('it has the caller-independent this, and no more arguments', async () => {
  const seen = []
  const engine = new Engine()
  await engine.customSource('vault', function (...args) { seen.push(this, args.length); return 'abc' }).token() // prettier-ignore
  assert.deepEqual(seen, [undefined, 1])
})

/** A program of its own with `qauth`, `open` (a promise for ever) and the process's engine. */
const run = (program, ...flags) => runNode([...flags, '-e', `const qauth = require('qauth'); ${program}`])

test('a promise that waits keeps the process, and the function alone does not', async () => {
  let ended = await run(`
    qauth.customSource('vault', () => new Promise((resolve) => setTimeout(resolve, 100, 'abc').unref()))
      .token().then((token) => console.log(token.accessToken))
  `)
  assert.deepEqual({ ...ended, ms: 0 }, { status: 0, stdout: 'abc\n', stderr: '', ms: 0 })
  ended = await run(`
    qauth.customSource('vault', () => new Promise(() => {}))
      .token({ timeoutMs: 50 }).catch((error) => console.log(error.code))
  `)
  assert.deepEqual({ ...ended, ms: 0 }, { status: 0, stdout: 'timeout\n', stderr: '', ms: 0 })
  assert.ok(ended.ms < 2000, `${ended.ms} ms`)
  ended = await run(`qauth.customSource('vault', () => 'abc'); console.log('made')`)
  assert.deepEqual({ ...ended, ms: 0 }, { status: 0, stdout: 'made\n', stderr: '', ms: 0 })
})

test('process.exit while a function is called', async () => {
  for (const when of ['process.exit(7)', 'setImmediate(() => process.exit(7))', 'setTimeout(() => process.exit(7), 20)']) {
    const { status, stderr } = await run(`
      const source = qauth.customSource('vault', () => { ${when}; return new Promise(() => {}) })
      for (let index = 0; index < 100; index++) source.token().catch(() => {})
    `)
    assert.deepEqual({ status, stderr }, { status: 7, stderr: '' })
  }
})

test('a rejection that nobody handles ends the process, and names the class', async () => {
  const { status, stderr } = await run(`qauth.customSource('vault', () => { throw new RangeError('x') }).token()`)
  assert.equal(status, 1)
  assert.match(stderr, /QauthError: protocol: profile "vault": the token function failed: RangeError/)
})

test('a promise that can never be settled is not called for again when it is collected', async () => {
  const { stdout, stderr } = await run(
    `
    let calls = 0
    const source = qauth.customSource('vault', () => { calls++; return new Promise(() => {}) }, { timeout: '400ms' })
    const waiting = source.token().catch((error) => console.log(error.code, calls))
    const collect = setInterval(gc, 10)
    waiting.then(() => clearInterval(collect))
  `,
    '--expose-gc',
  )
  assert.deepEqual({ stdout, stderr }, { stdout: 'timeout 1\n', stderr: '' })
})

test('functions are collected: replaced ones, removed ones, those of engines that are gone or closed', async () => {
  const { stdout, stderr } = await run(
    `
    const turn = () => new Promise((resolve) => setTimeout(resolve, 5))
    let alive = 0
    const registry = new FinalizationRegistry(() => alive--)
    const watched = (fn) => (alive++, registry.register(fn), fn)
    ;(async () => {
      const kept = new qauth.Engine()
      for (let round = 0; round < 50; round++) {
        kept.customSource('vault', watched(() => 'abc'))
        await new qauth.Engine().customSource('vault', watched(() => 'abc')).token()
        const engine = new qauth.Engine()
        const source = engine.customSource('vault', watched(() => engine.profiles() && 'abc'))
        await source.token()
        await engine.close()
        const shared = qauth.customSource('vault' + round, watched(() => 'abc'))
        await shared.token()
        qauth.Engine.shared().remove('vault' + round)
      }
      for (let index = 0; index < 50 && alive > 5; index++) { gc(); await turn() }
      console.log(alive <= 5 ? 'collected' : alive)
    })()
  `,
    '--expose-gc',
  )
  assert.deepEqual({ stdout, stderr }, { stdout: 'collected\n', stderr: '' })
})
