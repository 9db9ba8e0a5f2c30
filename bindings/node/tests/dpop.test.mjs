// Tokens that are bound to a key (RFC 9449), against a server that checks every proof and asks for nonces.
import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { Engine, requireFromApp, startServer } from './support.mjs'

const sha256 = (text) => createHash('sha256').update(text).digest('base64url')
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url'))

/**
 * A token endpoint and an API. `wants`: the nonce that a request to this path must prove, if any; `gives`: the one that an
 * answer brings; `rejects`: whether the API refuses this token. Faults of proofs are in `faults`.
 */
async function start(t, { wants = () => undefined, gives = wants, rejects = () => false, answers } = {}, more = {}) {
  const used = new Set()
  const keys = new Set()
  const state = { faults: [], tokens: [], api: [], wants, gives, rejects }

  function check({ method, url, headers }, token) {
    const [head, body, signature] = (headers.dpop ?? '..').split('.')
    const { typ, alg, jwk } = decode(head)
    const { htm, htu, iat, jti, ath, nonce } = decode(body)
    const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }
    const expect = (fine, what) => fine || state.faults.push(`${method} ${url}: ${what}`)
    expect(typ === 'dpop+jwt' && alg === 'ES256' && jwk.kty === 'EC' && jwk.d === undefined, 'header')
    expect(verify('sha256', `${head}.${body}`, key, Buffer.from(signature, 'base64url')), 'signature')
    expect(htm === method, `htm ${htm}`)
    expect(htu === `http://${headers.host}${url.split('?')[0]}`, `htu ${htu}`)
    expect(Math.abs(Date.now() / 1000 - iat) < 60, `iat ${iat}`)
    expect(typeof jti === 'string' && jti.length >= 16 && !used.has(jti), `jti ${jti}`)
    expect(ath === (token && sha256(token)), `ath ${ath}`)
    used.add(jti)
    keys.add(JSON.stringify([jwk.x, jwk.y]))
    expect(keys.size === 1, 'another key')
    return nonce
  }

  function handle(request, response) {
    const atToken = request.url === '/token'
    const [scheme, token] = atToken ? [] : (request.headers.authorization ?? '').split(' ')
    if (!atToken && scheme !== 'DPoP') state.faults.push(`${request.url}: scheme ${scheme}`)
    const nonce = check(request, token)
    const wanted = state.wants(request.url, nonce)
    const given = state.gives(request.url, nonce)
    if (given !== undefined) response.setHeader('dpop-nonce', given)
    const answer = (status, challenge) => {
      if (!atToken) state.api.push(status)
      if (challenge) response.setHeader('www-authenticate', `DPoP error="${challenge}", algs="ES256"`)
      response.statusCode = status
    }
    if (wanted !== undefined && wanted !== nonce) {
      answer(atToken ? 400 : 401, 'use_dpop_nonce')
      response.end(JSON.stringify({ error: 'use_dpop_nonce' }))
    } else if (atToken) {
      state.tokens.push(`t-${state.tokens.length + 1}`)
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ access_token: state.tokens.at(-1), token_type: 'DPoP', expires_in: 3600 }))
    } else if (!state.tokens.includes(token) || state.rejects(token)) {
      answer(401, 'invalid_token')
      response.end('rejected')
    } else {
      answer(200)
      if (answers) answers(request, response)
      else response.end(request.body || 'fine')
    }
  }

  const server = await startServer(handle)
  t.after(() => {
    server.close()
    assert.deepEqual(state.faults, [])
  })
  const profile = {
    provider: 'oauth2',
    token_endpoint: `${server.url}/token`,
    client_id: 'c',
    client_secret: 'client-secret-5f1c',
    dpop: true,
    api_base_url: server.url,
    ...more,
  }
  const source = new Engine({ profiles: { p: profile } }).source('p')
  return Object.assign(state, { source, url: server.url, seen: server.seen })
}

const atApi = (nonce) => (url) => (url === '/token' ? undefined : nonce)
const atApiOnly = (seen) => seen.filter(({ url }) => url !== '/token')
/** The same call by `fetch` and by `request`: the status of its answer. */
const WAYS = {
  fetch: async (source, method = 'GET', url = '/a?b=1', body) => {
    const response = await source.fetch(url, { method, body })
    await response.arrayBuffer()
    return response.status
  },
  request: async (source, method = 'GET', url = '/a?b=1', body) => (await source.request(method, url, { body })).status,
}

test('a token is bound, and every request proves it anew', async (t) => {
  const { source, url, api, tokens } = await start(t)
  const token = await source.token()
  assert.equal(token.tokenType, 'DPoP')
  assert.equal(token.headerValue, 'DPoP t-1')
  const headers = [await source.headers('GET', '/a'), await source.headers('GET', `${url}/a`)]
  assert.deepEqual(Object.keys(headers[0]).sort(), ['Authorization', 'DPoP'])
  assert.notEqual(headers[0].DPoP, headers[1].DPoP)
  for (const way of Object.values(WAYS)) {
    for (const method of ['GET', 'POST', 'DELETE', 'HEAD']) assert.equal(await way(source, method, '/a/b?c=1'), 200)
  }
  assert.equal((await source.fetch(new Request(`${url}/ä?c=%20`, { method: 'PUT', body: 'x' }))).status, 200)
  assert.equal(api.length, 9)
  assert.equal(tokens.length, 1)
})

test('one constant header is not enough', async (t) => {
  const { source, seen } = await start(t)
  await assert.rejects(async () => source.header(), { code: 'unsupported' })
  assert.equal(seen.length, 0)
  await source.token()
  await assert.rejects(async () => source.header(), { code: 'unsupported' })
})

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: the first contact needs a nonce, the next one has it`, async (t) => {
    const { source, api, tokens } = await start(t, { wants: atApi('n-1') })
    assert.equal(await way(source), 200)
    assert.deepEqual(api, [401, 200])
    assert.equal(await way(source), 200)
    assert.deepEqual(api, [401, 200, 200])
    assert.equal(tokens.length, 1)
  })

  test(`${name}: the token endpoint needs a nonce too`, async (t) => {
    const { source, api, tokens, seen } = await start(t, { wants: (url) => (url === '/token' ? 't-nonce' : 'a-nonce') })
    assert.equal(await way(source), 200)
    // One host: the nonce of the one is tried at the other.
    assert.deepEqual(api, [401, 200])
    assert.equal(tokens.length, 1)
    assert.equal(seen.length, 4)
  })

  test(`${name}: a nonce is learned from a 200`, async (t) => {
    const state = await start(t, { gives: atApi('n-1') })
    assert.equal(await way(state.source), 200)
    state.wants = atApi('n-1')
    assert.equal(await way(state.source), 200)
    assert.deepEqual(state.api, [200, 200])
  })

  test(`${name}: a new nonce with every answer`, async (t) => {
    let count = 0
    const state = await start(t, { wants: atApi('n-0'), gives: (url) => (url === '/token' ? undefined : `n-${++count}`) })
    state.wants = (url) => (url === '/token' ? undefined : `n-${count}`)
    for (let call = 0; call < 5; call++) assert.equal(await way(state.source), 200)
    assert.deepEqual(state.api, [401, 200, 200, 200, 200, 200])
    assert.equal(state.tokens.length, 1)
  })

  test(`${name}: a nonce that has run out is replaced`, async (t) => {
    const state = await start(t, { wants: atApi('n-1') })
    assert.equal(await way(state.source), 200)
    state.wants = state.gives = atApi('n-2')
    assert.equal(await way(state.source), 200)
    assert.deepEqual(state.api, [401, 200, 401, 200])
    assert.equal(state.tokens.length, 1)
  })

  test(`${name}: a rejected token leads to one renewal and a fresh proof`, async (t) => {
    const { source, api, tokens } = await start(t, { rejects: (token) => token === 't-1' })
    assert.equal(await way(source), 200)
    assert.deepEqual(api, [401, 200])
    assert.deepEqual(tokens, ['t-1', 't-2'])
  })

  test(`${name}: a nonce and a new token in one call`, async (t) => {
    const { source, api, tokens } = await start(t, { wants: atApi('n-1'), rejects: (token) => token === 't-1' })
    assert.equal(await way(source, 'POST', '/a', 'x=1'), 200)
    assert.deepEqual(api, [401, 401, 200])
    assert.deepEqual(tokens, ['t-1', 't-2'])
  })

  test(`${name}: a token that is always rejected is renewed once`, async (t) => {
    const { source, api, tokens } = await start(t, { rejects: () => true })
    assert.equal(await way(source), 401)
    assert.deepEqual(api, [401, 401])
    assert.equal(tokens.length, 2)
  })

  test(`${name}: a body is sent again`, async (t) => {
    const { source, api, seen } = await start(t, { wants: atApi('n-1') })
    assert.equal(await way(source, 'POST', '/a', 'x=ü'), 200)
    assert.deepEqual(api, [401, 200])
    assert.deepEqual(atApiOnly(seen).map(({ body }) => body), ['x=ü', 'x=ü']) // prettier-ignore
  })

  test(`${name}: many at first contact`, async (t) => {
    const { source, api, tokens } = await start(t, { wants: atApi('n-1') })
    const statuses = await Promise.all(Array.from({ length: 20 }, () => way(source)))
    assert.deepEqual(new Set(statuses), new Set([200]))
    assert.ok(api.length <= 40)
    assert.equal(tokens.length, 1)
  })
}

/** An API that is never content with a nonce. */
function endless() {
  let count = 0
  return { wants: atApi('never'), gives: (url) => (url === '/token' ? undefined : `n-${++count}`) }
}

test('an API that always wants another nonce is tried once more: fetch gives its answer, request an error', async (t) => {
  const { source, api, tokens } = await start(t, endless())
  const response = await source.fetch('/a')
  assert.equal(response.status, 401)
  assert.match(response.headers.get('www-authenticate'), /use_dpop_nonce/)
  assert.deepEqual(await response.json(), { error: 'use_dpop_nonce' })
  assert.deepEqual(api, [401, 401])
  await assert.rejects(source.request('GET', '/a'), { code: 'protocol', status: 401 })
  assert.deepEqual(api, [401, 401, 401, 401])
  assert.equal(tokens.length, 1)
})

test('a challenge without a nonce is an answer', async (t) => {
  const { source, api, tokens } = await start(t, { wants: atApi('n-1'), gives: () => undefined })
  assert.equal((await source.fetch('/a')).status, 401)
  assert.deepEqual(api, [401])
  assert.equal(tokens.length, 1)
})

test('a body that is gone is not sent again, the nonce is learned all the same', async (t) => {
  for (const make of [
    () => ['/a', { method: 'POST', body: Readable.toWeb(Readable.from(['x=1'])), duplex: 'half' }],
    (url) => [new Request(`${url}/a`, { method: 'POST', body: 'x=1' })],
  ]) {
    const { source, url, api, tokens } = await start(t, { wants: atApi('n-1') })
    assert.equal((await source.fetch(...make(url))).status, 401)
    assert.deepEqual(api, [401])
    assert.equal(await (await source.fetch(...make(url))).text(), 'x=1')
    assert.deepEqual(api, [401, 200])
    assert.equal(tokens.length, 1)
  }
})

test('a body that is gone behind a redirect counts for nothing that follows', async (t) => {
  const { source, url, api, seen } = await start(t, {
    wants: (path) => (path === '/to' ? 'n-1' : undefined),
    answers: (request, response) =>
      request.url === '/from' ? response.writeHead(303, { location: '/to' }).end() : response.end('fine'),
  })
  const response = await source.fetch(new Request(`${url}/from`, { method: 'POST', body: 'x=1' }))
  assert.equal(await response.text(), 'fine')
  assert.deepEqual(api, [200, 401, 200])
  assert.deepEqual(atApiOnly(seen).map(({ method, body }) => method + body), ['POSTx=1', 'GET', 'GET']) // prettier-ignore
})

test('a Request without a body is sent again as it is', async (t) => {
  const { source, url, api, seen } = await start(t, { wants: atApi('n-1'), rejects: (token) => token === 't-1' })
  const request = new Request(`${url}/a`, { method: 'DELETE', headers: { 'x-own': '1' } })
  assert.equal((await source.fetch(request)).status, 200)
  assert.deepEqual(api, [401, 401, 200])
  for (const { method, headers } of atApiOnly(seen)) assert.deepEqual([method, headers['x-own']], ['DELETE', '1'])
  const other = new Request(`${url}/b`, { method: 'POST', body: 'own' })
  assert.equal(await (await source.fetch(other, { body: 'given' })).text(), 'given')
})

test('a redirect within the API has a proof for its own address', async (t) => {
  const { source, api } = await start(t, {
    wants: atApi('n-1'),
    answers: (request, response) =>
      request.url === '/from' ? response.writeHead(307, { location: '/to?x=1' }).end() : response.end(request.body),
  })
  const response = await source.fetch('/from', { method: 'POST', body: 'x=1' })
  assert.equal(await response.text(), 'x=1')
  assert.equal(response.redirected, true)
  assert.deepEqual(api, [401, 200, 200])
})

test('a redirect to a foreign host carries neither token nor proof', async (t) => {
  const other = await startServer((request, response) =>
    response.writeHead(401, { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'foreign' }).end(),
  )
  t.after(other.close)
  const { source, api, tokens } = await start(t, {
    wants: atApi('n-1'),
    answers: (request, response) => response.writeHead(302, { location: `${other.url}/there` }).end(),
  })
  const own = { dpop: 'own', authorization: 'DPoP own', 'x-own': '1' }
  assert.equal((await source.fetch('/from', { headers: own })).status, 401)
  assert.deepEqual(api, [401, 200])
  assert.equal(other.seen.length, 1)
  const [{ headers }] = other.seen
  assert.deepEqual([headers.dpop, headers.authorization, headers['x-own']], [undefined, undefined, '1'])
  assert.ok(await source.token({ timeoutMs: 0 }))
  assert.equal(tokens.length, 1)
})

test('each of two hosts has its nonce', async (t) => {
  const first = {}
  const second = await startServer((request, response) => {
    const { nonce } = decode(request.headers.dpop.split('.')[1])
    assert.match(request.headers.authorization, /^DPoP t-/)
    if (nonce === 'of-second') response.end('second')
    else response.writeHead(401, { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'of-second' }).end()
  })
  t.after(second.close)
  const answers = (request, response) => response.writeHead(307, { location: `${second.url}/to` }).end()
  Object.assign(first, await start(t, { wants: atApi('of-first'), answers }, { allowed_hosts: [second.url] }))
  for (const count of [2, 3]) {
    assert.equal(await (await first.source.fetch('/from')).text(), 'second')
    assert.equal(second.seen.length, count)
  }
  assert.deepEqual(first.api, [401, 200, 200])
})

test('axios with an interceptor, with the nonce that fetch has learned', async (t) => {
  const axios = requireFromApp('axios')
  const { source, url, api } = await start(t, { wants: atApi('n-1') })
  const client = axios.create({ baseURL: url, proxy: false })
  client.interceptors.request.use(async (config) => {
    config.headers.set(await source.headers(config.method.toUpperCase(), client.getUri(config)))
    return config
  })
  await source.fetch('/a')
  assert.equal((await client.get('/a', { params: { b: 'c d' } })).data, 'fine')
  assert.equal((await client.post('/a', 'x=1')).data, 'x=1')
  assert.deepEqual(api, [401, 200, 200, 200])
})

test('a proof shows no secret, and an engine has its own key', async (t) => {
  const one = await start(t)
  const two = await start(t)
  const [first, second] = await Promise.all([one, two].map(async ({ source }) => (await source.headers('GET', '/a')).DPoP))
  const jwk = (proof) => decode(proof.split('.')[0]).jwk
  assert.deepEqual(Object.keys(jwk(first)).sort(), ['crv', 'kty', 'x', 'y'])
  assert.notEqual(jwk(first).x, jwk(second).x)
})
