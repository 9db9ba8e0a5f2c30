// Other HTTP clients: `headers()` is all they need.
import assert from 'node:assert/strict'
import { get } from 'node:http'
import { once } from 'node:events'
import { test } from 'node:test'
import { requireFromApp, startSim } from './support.mjs'

const sim = await startSim()
const engine = sim.engine()

test('fetch with headers() and with header()', async () => {
  const reports = `${sim.url}/quartile/reports`
  const headers = await engine.source('quartile').headers('GET', reports)
  assert.equal((await fetch(reports, { headers })).status, 200)
  const source = engine.source('quiqup')
  for (const round of [1, 2]) {
    const authorization = await source.header()
    assert.equal((await fetch(`${sim.url}/quiqup/orders`, { headers: { authorization } })).status, 200, String(round))
  }
})

test('axios, with an interceptor', async () => {
  const axios = requireFromApp('axios')
  const source = engine.source('quartile')
  const client = axios.create({ baseURL: source.apiBaseUrl, proxy: false })
  client.interceptors.request.use(async (config) => {
    config.headers.set(await source.headers(config.method.toUpperCase(), client.getUri(config)))
    return config
  })
  const { status, data } = await client.get('/reports')
  assert.equal(status, 200)
  assert.equal(typeof data, 'object')
})

test('node:http', async () => {
  const url = `${sim.url}/quartile/reports`
  const [response] = await once(get(url, { headers: await engine.source('quartile').headers('GET', url) }), 'response')
  response.resume()
  assert.equal(response.statusCode, 200)
})
