// What a token costs in node, as ratios within one run; run.sh installs what is measured in QAUTH_NODE_APP.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'

const app = process.env.QAUTH_NODE_APP
const fromApp = createRequire(join(app, 'package.json'))
const qauth = fromApp('qauth')
const { empty } = fromApp(`qauth-${process.platform}-${process.arch}-gnu`)
const { ConfidentialClientApplication } = fromApp('@azure/msal-node')
const { ClientCredentials } = fromApp('simple-oauth2')

const sim = spawn(process.env.QAUTH_SIM, ['--until-stdin-closes'], { stdio: ['pipe', 'pipe', 'inherit'] })
const url = (await once(createInterface({ input: sim.stdout }), 'line'))[0].split(' ').at(-1)
const CLIENT = { client_id: 'a1b2c3d4e5f6a1b2c3d4e5f6', client_secret: '0123456789abcdef'.repeat(4) }
const control = (name, body) => fetch(`${url}/_sim/${name}`, { method: 'POST', body: JSON.stringify(body ?? {}) })
const requests = async () => (await (await fetch(`${url}/_sim/state`)).json()).vendors.quantaprice.token_requests

// The subjects: each gives a function that resolves to an access token.

const makeSource = () =>
  new qauth.Engine({ profiles: { a: { provider: 'quantaprice', base_url: `${url}/quantaprice`, ...CLIENT } } }).source(
    'a',
  )

async function login() {
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...CLIENT })
  const response = await fetch(`${url}/quantaprice/oauth2/token`, { method: 'POST', body })
  return { status: response.status, answer: await response.json() }
}

/** The twenty lines that every service has; this one is a good one: it does not log in twice at once. */
function makeHandWritten() {
  let token
  let ends = 0
  let pending
  return async () => {
    if (Date.now() < ends) return token
    pending ??= login()
      .then(({ answer }) => {
        token = answer.access_token
        ends = Date.now() + (answer.expires_in - 60) * 1000
      })
      .finally(() => (pending = undefined))
    await pending
    return token
  }
}

/** As its documentation shows it: a token is kept, and asked whether it has expired. */
function makeSimpleOauth2() {
  const client = new ClientCredentials({
    client: { id: CLIENT.client_id, secret: CLIENT.client_secret },
    auth: { tokenHost: url, tokenPath: '/quantaprice/oauth2/token' },
    options: { authorizationMethod: 'body' },
  })
  let token
  return async () => {
    if (token === undefined || token.expired(60)) token = await client.getToken({})
    return token.token.access_token
  }
}

/** Its authority is Microsoft's alone, so its network is replaced: every POST becomes a login at the simulator. */
function makeMsal() {
  const networkClient = {
    sendGetRequestAsync: async () => ({ status: 404, headers: {}, body: {} }),
    sendPostRequestAsync: async () => {
      const { status, answer } = await login()
      return { status, headers: {}, body: { ...answer, token_type: 'Bearer' } }
    },
  }
  const tenant = '11111111-2222-3333-4444-555555555555'
  const auth = {
    clientId: tenant,
    authority: `https://login.microsoftonline.com/${tenant}`,
    clientSecret: CLIENT.client_secret,
  }
  const client = new ConfidentialClientApplication({ auth, system: { networkClient } })
  return async () => (await client.acquireTokenByClientCredential({ scopes: ['a/.default'] })).accessToken
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]
const pad = (text, width) => String(text).padStart(width)

function table(title, rows, columns) {
  console.log(`\n${title}`)
  const lines = [columns, ...rows]
  for (const [name, ...cells] of lines)
    console.log(`  ${name.padEnd(46)}${cells.map((cell) => pad(cell, 14)).join('')}`)
}

async function cached() {
  const source = makeSource()
  await source.token()
  await source.token()
  source.header()
  const others = {
    'hand-written cache': makeHandWritten(),
    'simple-oauth2': makeSimpleOauth2(),
    '@azure/msal-node': makeMsal(),
  }
  for (const get of Object.values(others)) await get()
  const resolved = Promise.resolve('token')
  const many = 500_000
  const subjects = {
    'empty native function': [
      many,
      (n) => {
        for (let i = 0; i < n; i++) empty()
      },
    ],
    'empty native function + Date.now()': [
      many,
      (n) => {
        let sum = 0
        for (let i = 0; i < n; i++) {
          empty()
          sum += Date.now()
        }
        return sum
      },
    ],
    'qauth: header()': [
      many,
      (n) => {
        let value
        for (let i = 0; i < n; i++) value = source.header()
        return value
      },
    ],
    'await a resolved promise + Date.now()': [
      many,
      async (n) => {
        let sum = 0
        for (let i = 0; i < n; i++) {
          await resolved
          sum += Date.now()
        }
        return sum
      },
    ],
    'qauth: await token()': [
      many,
      async (n) => {
        let value
        for (let i = 0; i < n; i++) value = await source.token()
        return value
      },
    ],
    ...Object.fromEntries(
      Object.entries(others).map(([name, get]) => [
        `${name}: await token`,
        [
          name.startsWith('@') ? many / 1000 : many / 10,
          async (n) => {
            let value
            for (let i = 0; i < n; i++) value = await get()
            return value
          },
        ],
      ]),
    ),
  }
  const times = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]))
  for (let round = 0; round < 15; round++) {
    for (const [name, [count, run]] of Object.entries(subjects)) {
      const began = process.hrtime.bigint()
      await run(count)
      times[name].push(Number(process.hrtime.bigint() - began) / count)
    }
  }
  const of = (name) => median(times[name])
  const call = of('empty native function + Date.now()')
  const bare = of('await a resolved promise + Date.now()')
  const rows = Object.keys(subjects).map((name) => {
    const ns = of(name)
    return [
      name,
      ns.toFixed(1),
      name.includes('await') ? '' : `${(ns / call).toFixed(2)} x`,
      name.includes('await') ? `${(ns / bare).toFixed(2)} x` : '',
    ]
  })
  table('cached', rows, ['', 'ns', 'to a call', 'to an await'])
}

/** The same without the line for those who come while a login is under way: as one finds it. */
function makeNaive() {
  let token
  let ends = 0
  return async () => {
    if (Date.now() < ends) return token
    const { answer } = await login()
    token = answer.access_token
    ends = Date.now() + (answer.expires_in - 60) * 1000
    return token
  }
}

const CALLERS = 1000
const ROUNDS = 9

/** Milliseconds from before the first call until the last promise is settled. */
async function together(get, callers) {
  const began = performance.now()
  await Promise.all(Array.from({ length: callers }, () => get()))
  return performance.now() - began
}

async function counted(rounds, run) {
  const took = []
  const before = await requests()
  for (let round = 0; round < rounds; round++) took.push(await run())
  return [((await requests()) - before) / rounds, median(took).toFixed(1)]
}

async function cold() {
  await control('settings', { vendor: 'quantaprice', delay_ms: 50 })
  const subjects = {
    'floor: setTimeout of 50 ms': [ROUNDS, () => () => sleep(50)],
    qauth: [ROUNDS, () => ((source) => () => source.token())(makeSource())],
    'hand-written cache': [ROUNDS, makeHandWritten],
    'hand-written, without single flight': [1, makeNaive],
    'simple-oauth2': [1, makeSimpleOauth2],
    '@azure/msal-node': [1, makeMsal],
  }
  const rows = []
  for (const [name, [rounds, make]] of Object.entries(subjects))
    rows.push([name, ...(await counted(rounds, () => together(make(), CALLERS)))])
  rows.push(['qauth: main thread and two workers', ...(await counted(1, await makeThreads()))])
  await control('settings', { vendor: 'quantaprice', delay_ms: 0 })
  table(`${CALLERS} promises at once, an endpoint of 50 ms, until the last is settled`, rows, ['', 'requests', 'ms'])
}

/** A third of the callers each, on the source that all threads of the process share. It is cold once. */
async function makeThreads() {
  const folder = mkdtempSync(join(tmpdir(), 'qauth-bench-'))
  const profile = { provider: 'quantaprice', base_url: `${url}/quantaprice`, ...CLIENT }
  process.env.QAUTH_CONFIG = join(folder, 'qauth.json')
  writeFileSync(process.env.QAUTH_CONFIG, JSON.stringify({ profiles: { shared: profile } }), { mode: 0o600 })
  const share = Math.round(CALLERS / 3)
  const program = `
    const { parentPort, workerData } = require('node:worker_threads')
    const qauth = require(workerData.qauth)
    const source = qauth.source('shared')
    parentPort.on('message', async () => {
      await Promise.all(Array.from({ length: workerData.share }, () => source.token()))
      parentPort.postMessage('through')
    })
    parentPort.postMessage('ready')`
  const workerData = { qauth: fromApp.resolve('qauth'), share }
  const workers = [1, 2].map(() => new Worker(program, { eval: true, workerData }))
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  for (const worker of workers) worker.unref()
  const source = qauth.source('shared')
  return async () => {
    const began = performance.now()
    const through = workers.map((worker) => once(worker, 'message'))
    for (const worker of workers) worker.postMessage('go')
    await Promise.all([together(() => source.token(), CALLERS - 2 * share), ...through])
    return performance.now() - began
  }
}

function loading() {
  const programs = {
    'bare node, script': ['-e', ''],
    "require('qauth')": ['-e', "require('qauth')"],
    "require('@azure/msal-node')": ['-e', "require('@azure/msal-node')"],
    "require('simple-oauth2')": ['-e', "require('simple-oauth2')"],
    'bare node, module': ['--input-type=module', '-e', ''],
    "import 'qauth'": ['--input-type=module', '-e', "import 'qauth'"],
  }
  const times = Object.fromEntries(Object.keys(programs).map((name) => [name, []]))
  for (let round = 0; round < 15; round++) {
    for (const [name, args] of Object.entries(programs)) {
      const began = performance.now()
      if (spawnSync(process.execPath, args, { cwd: app }).status !== 0) throw new Error(name)
      times[name].push(performance.now() - began)
    }
  }
  const rows = Object.keys(programs).map((name) => {
    const bare = median(
      times[name.includes('import') || name.includes('module') ? 'bare node, module' : 'bare node, script'],
    )
    const ms = median(times[name])
    return [name, ms.toFixed(1), name.startsWith('bare') ? '' : `+ ${(ms - bare).toFixed(1)}`]
  })
  table('loading, a process each', rows, ['', 'ms', 'over bare'])
}

function sizes() {
  const rows = ['qauth', `qauth-${process.platform}-${process.arch}-gnu`].map((name) => {
    const folder = join(app, 'node_modules', name)
    const files = readdirSync(folder, { recursive: true })
      .map((file) => join(folder, file))
      .filter((file) => statSync(file).isFile())
    const sum = (measure) => files.reduce((total, file) => total + measure(readFileSync(file)), 0)
    return [
      name,
      (sum((bytes) => bytes.length) / 1000).toFixed(0),
      (sum((bytes) => gzipSync(bytes).length) / 1000).toFixed(0),
    ]
  })
  table('sizes', rows, ['', 'kB', 'kB, gzip'])
}

await cached()
await cold()
loading()
sizes()
sim.stdin.end()
