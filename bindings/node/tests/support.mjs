// What the tests share: the installed package, a simulator of its own for each file, small servers, child processes.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

export const root = resolve(import.meta.dirname, '../../..')
/** A project in which the packages are installed. */
export const app = resolve(process.env.QAUTH_NODE_APP ?? join(root, 'build/node-app'))
export const requireFromApp = createRequire(join(app, 'package.json'))
export const qauth = requireFromApp('qauth')
export const { Engine } = qauth

/** Starts a simulator that ends with this process. */
export async function startSim() {
  const program = process.env.QAUTH_SIM ?? join(root, 'target/debug/qauth-sim')
  const child = spawn(program, ['--until-stdin-closes'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const url = line.split(' ').at(-1)
  for (const part of [child, child.stdin, child.stdout]) part.unref()
  return new Sim(url)
}

class Sim {
  constructor(url) {
    this.url = url
  }

  async post(name, body) {
    const response = await fetch(`${this.url}/_sim/${name}`, { method: 'POST', body: JSON.stringify(body ?? {}) })
    if (!response.ok) throw new Error(`_sim/${name}: ${await response.text()}`)
    return response.json().catch(() => undefined)
  }

  async get(name) {
    return (await fetch(`${this.url}/_sim/${name}`)).json()
  }

  async tokenRequests(vendor) {
    return (await this.get('state')).vendors[vendor].token_requests
  }

  /** Until so many requests have reached the vendor's token endpoint. */
  async untilTokenRequests(vendor, count) {
    while ((await this.tokenRequests(vendor)) < count);
  }

  /** The profile of a vendor, with what it accepts at first. */
  profile(vendor, more = {}) {
    const path = vendor === 'quable' ? 'quable/acme' : vendor
    return { provider: vendor, base_url: `${this.url}/${path}`, ...KNOWN[vendor], ...more }
  }

  config(more = {}) {
    const profiles = Object.fromEntries(Object.keys(KNOWN).map((vendor) => [vendor, this.profile(vendor)]))
    return { profiles, ...more }
  }

  engine(more) {
    return new Engine(this.config(more))
  }
}

export const KNOWN = {
  quantaprice: { client_id: 'a1b2c3d4e5f6a1b2c3d4e5f6', client_secret: '0123456789abcdef'.repeat(4) },
  quiqup: { client_id: 'quiqup-client', client_secret: 'quiqup-secret-5f1c' },
  quable: { username: 'api_catalogue', password: 'quable-password-93aa' },
  quartile: {
    username: 'ops@example.com',
    password: 'quartile-password-2b7e',
    subscription_key: 'quartile-subscription-77c0',
  },
  qpay: { client_id: 'qpay-machine', client_secret: 'qpay-secret-e41d' },
}

/** A server whose answers `handle(request, response, body)` gives; `seen` are its requests. */
export async function startServer(handle) {
  const seen = []
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const { method, url, headers } = request
    const got = { method, url, headers, body: Buffer.concat(chunks).toString() }
    seen.push(got)
    handle(got, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  const close = () => {
    server.close()
    // Also those that a client has opened and not used.
    server.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${server.address().port}`, seen, close }
}

/** Runs node in the project with these arguments: status, output, and how long it lived after its last output. */
export async function runNode(args, { env, cwd = app } = {}) {
  const options = { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }
  const child = spawn(process.execPath, args, options)
  const output = { stdout: '', stderr: '' }
  let last
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text
      last = performance.now()
    })
  }
  const [status] = await once(child, 'close')
  return { status, ms: performance.now() - last, ...output }
}
