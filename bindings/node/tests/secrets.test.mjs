// What is shown, printed, copied or sent holds no secret and no token.
import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { serialize } from 'node:v8'
import { inspect, format } from 'node:util'
import { MessageChannel } from 'node:worker_threads'
import { KNOWN, qauth, startSim } from './support.mjs'

const sim = await startSim()
beforeEach(() => sim.post('reset'))

async function objects() {
  const engine = sim.engine()
  const source = engine.source('quartile')
  const token = await source.token()
  source.fetch
  await source.token()
  const response = await source.request('POST', '/echo', { body: token.accessToken })
  const wrong = engine.source('quiqup', { client_secret: 'wrong-secret-0001' })
  const error = await wrong.token().catch((error) => error)
  assert.equal(error.code, 'invalid_client')
  const secrets = [
    token.accessToken,
    'wrong-secret-0001',
    ...Object.values(KNOWN).flatMap(({ username, client_id, ...secret }) => Object.values(secret)),
  ]
  return { shown: { engine, source, token, response, error, wrong }, secrets }
}

function attempt(show, value) {
  try {
    return show(value)
  } catch (error) {
    assert.ok(error instanceof qauth.QauthError, String(error))
    return error.message
  }
}

test('no way of showing an object shows a secret', async () => {
  const { shown, secrets } = await objects()
  const ways = {
    inspect: (value) => inspect(value),
    deeply: (value) => inspect({ a: [value] }, { depth: null, showHidden: true, getters: true }),
    plainly: (value) => inspect(value, { customInspect: false, showHidden: true, depth: null }),
    format: (value) => format('%s %o %O %j %d', value, value, value, value, value),
    json: (value) => JSON.stringify({ value }),
    string: (value) => String(value),
    keys: (value) => Reflect.ownKeys(value).map(String).join(),
    names: (value) => {
      const names = []
      for (const name in value) names.push(name)
      return names.join()
    },
    assign: (value) => inspect(Object.assign({}, value), { depth: null }),
    spread: (value) => inspect({ ...value }, { depth: null }),
    entries: (value) => inspect(Object.entries(value), { depth: null }),
  }
  for (const [name, value] of Object.entries(shown)) {
    for (const [way, show] of Object.entries(ways)) {
      const text = attempt(show, value)
      for (const secret of secrets) assert.ok(!text.includes(secret), `${way} of ${name}: ${text}`)
    }
  }
  assert.match(inspect(shown.source), /^TokenSource \{ profile: 'quartile', provider: 'quartile' \}$/)
  assert.match(inspect(shown.token), /^Token \{\s+tokenType: '\w+',\s+expiresAt: .*,\s+generation: 1\s+\}$/)
  assert.match(inspect(shown.response), /^Response \{ status: 200, bytes: \d+ \}$/)
  assert.match(inspect(shown.engine), /^Engine \{ profiles: \[ 'quantaprice', /)
  assert.equal(inspect([shown.source], { depth: 0 }).includes('quartile-'), false)
  assert.equal(String(shown.token), '[object Token]')
  assert.equal(JSON.parse(JSON.stringify(shown.error)).code, 'invalid_client')
})

test('what cannot be cloned says so, and what to do instead', async () => {
  const { shown } = await objects()
  const { port1, port2 } = new MessageChannel()
  for (const name of ['engine', 'source', 'token']) {
    const refused = (error) =>
      error instanceof qauth.QauthError && error.code === 'invalid_argument' && /cloned/.test(error.message)
    assert.throws(() => structuredClone(shown[name]), refused)
    assert.throws(() => structuredClone({ deep: [shown[name]] }), refused)
    assert.throws(() => port1.postMessage(shown[name]), refused)
    assert.throws(() => serialize(shown[name]), refused)
  }
  port2.close()
  const cloned = structuredClone(shown.error)
  assert.equal(cloned.message, shown.error.message)
})

test('an error has all its fields, null where there is nothing', async () => {
  const { shown } = await objects()
  const { error } = shown
  assert.ok(error instanceof Error)
  assert.equal(error.name, 'QauthError')
  assert.deepEqual(
    { ...error },
    {
      code: 'invalid_client',
      profile: 'quiqup',
      provider: 'quiqup',
      status: 401,
      serverError: 'invalid_client',
      serverErrorDescription: error.serverErrorDescription,
      retryable: false,
      retryAfterMs: error.retryAfterMs,
    },
  )
  assert.match(error.message, /^invalid_client: profile "quiqup": /)
  await sim.post('faults', {
    vendor: 'quantaprice',
    endpoint: 'token',
    status: 429,
    headers: { 'Retry-After': '60' },
    times: 9,
  })
  const limited = await sim
    .engine()
    .source('quantaprice')
    .token({ timeoutMs: 5000 })
    .catch((error) => error)
  assert.equal(limited.code, 'rate_limited')
  assert.equal(limited.retryable, true)
  assert.ok(limited.retryAfterMs > 50_000 && limited.retryAfterMs <= 60_000, String(limited.retryAfterMs))
})
