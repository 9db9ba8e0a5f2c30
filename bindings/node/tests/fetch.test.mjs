// source.fetch: the global fetch with the profile's headers, against servers that write down what they saw.
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { beforeEach, test } from 'node:test'
import { KNOWN, qauth, startServer, startSim } from './support.mjs'

const sim = await startSim()
beforeEach(() => sim.post('reset'))

const KEY = KNOWN.quartile.subscription_key

/** The profile `quartile`, whose requests carry two headers, with an API of our own. */
async function start(t, handle, more = {}) {
  const api = await startServer(handle)
  t.after(api.close)
  const profile = sim.profile('quartile', { api_base_url: api.url, ...more })
  const source = new qauth.Engine({ profiles: { quartile: profile } }).source('quartile')
  return { api, source, bearer: (await source.token()).headerValue }
}

async function startOther(t, handle = (request, response) => response.end('other')) {
  const other = await startServer(handle)
  t.after(other.close)
  return other
}

const fine = (request, response) => response.end('fine')
const redirect = (status, to) => (request, response) =>
  request.url === '/from' ? response.writeHead(status, { location: to(request) }).end('moved') : fine(request, response)

test('a path, a URL, a string and a Request all carry every header', async (t) => {
  const { api, source, bearer } = await start(t, fine)
  const { fetch } = source
  for (const input of [
    '/orders?a=1#part',
    `${api.url}/orders?a=1#part`,
    new URL(`${api.url}/orders?a=1#part`),
    new Request(`${api.url}/orders?a=1#part`),
  ]) {
    const response = await fetch(input)
    assert.ok(response instanceof Response)
    assert.equal(await response.text(), 'fine')
    assert.equal(response.url, `${api.url}/orders?a=1`)
    assert.equal(response.redirected, false)
    const seen = api.seen.at(-1)
    assert.equal(seen.url, '/orders?a=1')
    assert.equal(seen.headers.authorization, bearer)
    assert.equal(seen.headers['subscription-key'], KEY)
  }
  assert.equal(source.fetch, fetch)
})

test('a path of a provider with an api_path', async () => {
  const response = await sim.engine().source('quantaprice').fetch('/prices?sku=PRODUCT-001')
  assert.equal(response.status, 200)
  assert.equal(response.url, `${sim.url}/quantaprice/api/v1/prices?sku=PRODUCT-001`)
})

test('what the caller gives is sent; what qauth writes replaces it', async (t) => {
  const { api, source, bearer } = await start(t, fine)
  await source.fetch('/a', {
    method: 'post',
    body: 'Grüße',
    headers: { authorization: 'Bearer own', 'SUBSCRIPTION-KEY': 'own', 'x-own': '1' },
  })
  const [seen] = api.seen
  assert.equal(seen.method, 'POST')
  assert.equal(seen.body, 'Grüße')
  assert.equal(seen.headers.authorization, bearer)
  assert.equal(seen.headers['subscription-key'], KEY)
  assert.equal(seen.headers['x-own'], '1')
  assert.match(seen.headers['content-type'], /^text\/plain/)
  const request = new Request(`${api.url}/b`, {
    method: 'PUT',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json', 'x-own': '2' },
  })
  await source.fetch(request)
  assert.equal(api.seen[1].method, 'PUT')
  assert.equal(api.seen[1].body, '{"a":1}')
  assert.equal(api.seen[1].headers['content-type'], 'application/json')
  assert.equal(api.seen[1].headers['content-length'], '7')
  assert.equal(api.seen[1].headers['x-own'], '2')
  await source.fetch(new Request(`${api.url}/c`, { headers: { 'x-own': '3' } }), {
    headers: { 'x-other': '1' },
    method: 'DELETE',
  })
  assert.equal(api.seen[2].method, 'DELETE')
  assert.equal(api.seen[2].headers['x-own'], undefined)
  assert.equal(api.seen[2].headers['x-other'], '1')
})

test('another host, and what is no URL, is refused before a token is sent', async (t) => {
  const { source } = await start(t, fine)
  const other = await startOther(t)
  for (const input of [
    other.url,
    `${other.url}/a`,
    new URL(other.url),
    new Request(other.url),
    'orders',
    '//host/a',
    'https://user:pw@host/',
  ]) {
    await assert.rejects(source.fetch(input), { name: 'QauthError', code: 'invalid_argument' })
  }
  assert.deepEqual(other.seen, [])
})

test('a 401 leads to one new token and one more try, with every body that can be sent again', async (t) => {
  let refusals = 0
  const { api, source } = await start(t, (request, response) => {
    if (refusals-- > 0) response.writeHead(401).end('again')
    else response.end('fine')
  })
  const form = new FormData()
  form.set('a', '1')
  const bytes = new TextEncoder().encode('a=1')
  const bodies = [
    undefined,
    null,
    'a=1',
    Buffer.from('a=1'),
    bytes,
    bytes.buffer,
    new DataView(bytes.buffer),
    new Blob(['a=1']),
    new URLSearchParams('a=1'),
    form,
  ]
  for (const body of bodies) {
    await sim.post('reset')
    source.reset()
    refusals = 1
    api.seen.length = 0
    const response = await source.fetch('/a', { method: body ? 'POST' : 'GET', body })
    assert.equal(response.status, 200)
    assert.equal(api.seen.length, 2)
    const [first, second] = api.seen
    assert.notEqual(second.headers.authorization, first.headers.authorization)
    if (body === form) assert.match(second.body, /name="a"\r\n\r\n1/)
    else assert.equal(second.body, body ? 'a=1' : '')
    assert.equal(second.body.length, first.body.length)
    // A fresh token that is rejected makes the next renewals wait; a new source has no such memory.
    source.update({ timeout: `${30 + bodies.indexOf(body)}s` })
  }
})

test('a 401 is the answer where the body is gone, the token is rejected all the same', async (t) => {
  for (const make of [
    (url) => ['/a', { method: 'POST', body: Readable.toWeb(Readable.from(['a=1'])), duplex: 'half' }],
    (url) => [
      '/a',
      {
        method: 'POST',
        body: (async function* () {
          yield Buffer.from('a=1')
        })(),
        duplex: 'half',
      },
    ],
    (url) => [new Request(`${url}/a`, { method: 'POST', body: 'a=1' })],
  ]) {
    const { api, source } = await start(t, (request, response) => response.writeHead(401).end('no'))
    const { generation } = await source.token()
    const response = await source.fetch(...make(api.url))
    assert.equal(response.status, 401)
    assert.equal(await response.text(), 'no')
    assert.equal(api.seen.length, 1)
    assert.equal(api.seen[0].body, 'a=1')
    await assert.rejects(source.token({ timeoutMs: 0 }), { code: 'timeout' })
    assert.ok((await source.token()).generation > generation)
  }
})

test('a second 401 is the answer, a 403 always; a Request without a body is sent again', async (t) => {
  const { api, source } = await start(t, (request, response) =>
    response.writeHead(request.url === '/403' ? 403 : 401).end(),
  )
  assert.equal((await source.fetch('/403')).status, 403)
  assert.equal(api.seen.length, 1)
  assert.equal((await source.fetch(new Request(`${api.url}/401`))).status, 401)
  assert.equal(api.seen.length, 3)
})

test('where only a person can get another token, a 401 is the answer', async (t) => {
  const api = await startServer((request, response) => response.writeHead(401).end())
  t.after(api.close)
  const source = new qauth.Engine({
    providers: { local: { credentials: { key: {} }, grants: { static: { token: '{key}' } } } },
    profiles: { main: { provider: 'local', key: 'abc', api_base_url: api.url } },
  }).source('main')
  assert.equal((await source.fetch('/a')).status, 401)
  assert.equal(api.seen.length, 1)
  await assert.rejects(source.fetch('/a'), { code: 'reauthentication_required' })
})

test('a redirect within the own host keeps the headers', async (t) => {
  const { api, source, bearer } = await start(
    t,
    redirect(302, () => '/to?b=2#part'),
  )
  const response = await source.fetch('/from', { headers: { cookie: 'a=1' } })
  assert.equal(await response.text(), 'fine')
  assert.equal(response.url, `${api.url}/to?b=2`)
  assert.equal(response.redirected, true)
  assert.equal(response.status, 200)
  for (const { headers } of api.seen) {
    assert.equal(headers.authorization, bearer)
    assert.equal(headers['subscription-key'], KEY)
    assert.equal(headers.cookie, 'a=1')
  }
})

test('a redirect to another host loses the headers, and gets them back at home', async (t) => {
  const home = {}
  const other = await startOther(t, (request, response) =>
    request.url === '/back' ? response.writeHead(302, { location: `${home.url}/to` }).end() : response.end('other'),
  )
  const targets = [`${other.url}/there`, `${other.url}/back`]
  const { api, source, bearer } = await start(
    t,
    redirect(307, () => targets.shift()),
  )
  home.url = api.url
  const own = { authorization: 'Bearer own', 'proxy-authorization': 'own', cookie: 'a=1', 'x-own': '1' }
  const response = await source.fetch('/from', { headers: own })
  assert.equal(await response.text(), 'other')
  assert.equal(response.redirected, true)
  const [{ headers }] = other.seen
  for (const name of ['authorization', 'subscription-key', 'cookie', 'proxy-authorization'])
    assert.equal(headers[name], undefined, name)
  assert.equal(headers['x-own'], '1')
  assert.equal(headers.host, new URL(other.url).host)
  await source.fetch('/from', { headers: own })
  assert.equal(other.seen[1].headers.authorization, undefined)
  const back = api.seen.at(-1)
  assert.equal(back.url, '/to')
  assert.equal(back.headers.authorization, bearer)
  assert.equal(back.headers.cookie, undefined)
})

test('a redirect to a host of allowed_hosts carries the headers', async (t) => {
  const other = await startOther(t)
  const { source, bearer } = await start(
    t,
    redirect(302, () => `${other.url}/a`),
    { allowed_hosts: [other.url] },
  )
  await source.fetch('/from')
  assert.equal(other.seen[0].headers.authorization, bearer)
  assert.equal(other.seen[0].headers['subscription-key'], KEY)
})

test('what becomes of method and body', async (t) => {
  const body = 'a=1'
  for (const [status, method, then] of [
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [303, 'POST', 'GET'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
    [301, 'PUT', 'PUT'],
    [302, 'PATCH', 'PATCH'],
    [303, 'PUT', 'GET'],
    [303, 'HEAD', 'HEAD'],
    [302, 'HEAD', 'HEAD'],
    [303, 'GET', 'GET'],
    [303, 'DELETE', 'GET'],
    [307, 'DELETE', 'DELETE'],
  ]) {
    const { api, source } = await start(
      t,
      redirect(status, () => '/to'),
    )
    const withBody = method !== 'GET' && method !== 'HEAD'
    const headers = withBody ? { 'content-type': 'x/y', 'content-language': 'de' } : {}
    const response = await source.fetch('/from', { method, body: withBody ? body : undefined, headers })
    assert.equal(response.status, 200)
    const [, seen] = api.seen
    const keeps = withBody && then === method
    assert.deepEqual([seen.method, seen.body], [then, keeps ? body : ''], `${status} ${method}`)
    assert.equal(seen.headers['content-type'], keeps ? 'x/y' : undefined)
    assert.equal(seen.headers['content-language'], keeps ? 'de' : undefined)
  }
})

test('a body that is read only once follows a 303 alone', async (t) => {
  for (const [status, follows] of [
    [301, false],
    [302, false],
    [303, true],
    [307, false],
    [308, false],
  ]) {
    for (const make of [
      () => ['/from', { method: 'POST', body: Readable.toWeb(Readable.from(['a=1'])), duplex: 'half' }],
      (url) => [new Request(`${url}/from`, { method: 'POST', body: 'a=1' })],
    ]) {
      const { api, source } = await start(
        t,
        redirect(status, () => '/to'),
      )
      const answer = source.fetch(...make(api.url))
      if (follows) assert.equal(await (await answer).text(), 'fine')
      else await assert.rejects(answer, { name: 'TypeError', message: 'fetch failed' })
      assert.deepEqual(
        api.seen.map(({ method }) => method),
        follows ? ['POST', 'GET'] : ['POST'],
      )
    }
  }
})

test('the caller may ask to see a redirect, or to fail', async (t) => {
  const { api, source } = await start(
    t,
    redirect(302, () => '/to'),
  )
  for (const args of [['/from', { redirect: 'manual' }], [new Request(`${api.url}/from`, { redirect: 'manual' })]]) {
    const response = await source.fetch(...args)
    assert.equal(response.status, 302)
    assert.equal(response.headers.get('location'), '/to')
    assert.equal(response.redirected, false)
  }
  await assert.rejects(source.fetch('/from', { redirect: 'error' }), { name: 'TypeError', message: 'fetch failed' })
  await assert.rejects(source.fetch('/from', { redirect: 'wrong' }), TypeError)
  assert.ok(api.seen.every(({ url }) => url === '/from'))
})

test('twenty redirects are followed, one more is not', async (t) => {
  let left
  const { api, source } = await start(t, (request, response) =>
    left-- > 0 ? response.writeHead(302, { location: `/${left}` }).end() : response.end('fine'),
  )
  left = 20
  assert.equal(await (await source.fetch('/from')).text(), 'fine')
  assert.equal(api.seen.length, 21)
  left = 21
  await assert.rejects(source.fetch('/from'), { name: 'TypeError', message: 'fetch failed' })
})

test('a redirect to nowhere', async (t) => {
  for (const location of [
    'ftp://host/',
    'javascript:alert(1)',
    'https://',
    'http://user:pw@127.0.0.1/',
    'http://user@127.0.0.1/',
  ]) {
    const { source } = await start(
      t,
      redirect(302, () => location),
    )
    await assert.rejects(source.fetch('/from'), { name: 'TypeError', message: 'fetch failed' })
  }
  const { source } = await start(t, (request, response) => response.writeHead(302).end('no location'))
  assert.equal(await (await source.fetch('/from')).text(), 'no location')
  const same = await start(t, (request, response) => response.writeHead(304).end())
  assert.equal((await same.source.fetch('/from')).status, 304)
})

test('a location in UTF-8', async (t) => {
  const { api, source } = await start(
    t,
    redirect(302, () => Buffer.from('/größe').toString('latin1')),
  )
  await source.fetch('/from')
  assert.equal(api.seen[1].url, '/gr%C3%B6%C3%9Fe')
})

test('a 401 behind a redirect is tried again there', async (t) => {
  let refusals = 1
  const { api, source } = await start(t, (request, response) => {
    if (request.url === '/from') response.writeHead(307, { location: '/to' }).end()
    else if (refusals-- > 0) response.writeHead(401).end()
    else response.end('fine')
  })
  const response = await source.fetch('/from', { method: 'POST', body: 'a=1' })
  assert.equal(await response.text(), 'fine')
  assert.deepEqual(
    api.seen.map(({ url }) => url),
    ['/from', '/to', '/to'],
  )
  assert.equal(api.seen[2].body, 'a=1')
})

test('a 401 of a foreign host is no matter of this profile', async (t) => {
  const other = await startOther(t, (request, response) => response.writeHead(401).end())
  const { source } = await start(
    t,
    redirect(302, () => other.url),
  )
  assert.equal((await source.fetch('/from')).status, 401)
  assert.equal(other.seen.length, 1)
  assert.ok(await source.token({ timeoutMs: 0 }))
})

test('a signal ends the wait for the answer and for the token, with its own reason', async (t) => {
  let asked
  const arrived = new Promise((resolve) => (asked = resolve))
  const { api, source } = await start(t, (request, response) => asked(response))
  const controller = new AbortController()
  const answer = source.fetch('/a', { signal: controller.signal })
  const response = await arrived
  controller.abort()
  await assert.rejects(answer, { name: 'AbortError' })
  response.end()
  const reason = new Error('enough')
  await assert.rejects(source.fetch('/a', { signal: AbortSignal.abort(reason) }), (error) => error === reason)
  assert.equal(api.seen.length, 1)

  await sim.post('faults', { vendor: 'quiqup', endpoint: 'token', delay_ms: 60_000 })
  const slow = sim.engine().source('quiqup')
  const second = new AbortController()
  const waiting = slow.fetch(new Request(`${slow.apiBaseUrl}/orders`, { signal: second.signal }))
  await sim.untilTokenRequests('quiqup', 1)
  second.abort(reason)
  await assert.rejects(waiting, (error) => error === reason)
})

test('the failure of the token is the failure of fetch', async () => {
  const source = sim.engine().source('quiqup', { client_secret: 'wrong-secret-0001' })
  await assert.rejects(source.fetch('/orders'), { name: 'QauthError', code: 'invalid_client' })
})

test('the fetch that is global at the time is used', async (t) => {
  const { source } = await start(t, fine)
  const calls = []
  t.mock.method(globalThis, 'fetch', async (input, init) => {
    calls.push([input, init])
    return new Response('mocked')
  })
  assert.equal(await (await source.fetch('/a', { dispatcher: 'own' })).text(), 'mocked')
  assert.equal(calls[0][1].dispatcher, 'own')
  assert.equal(calls[0][1].redirect, 'manual')
})
