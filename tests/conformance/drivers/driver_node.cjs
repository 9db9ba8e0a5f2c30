'use strict'
// The Node driver: each line becomes one call of the package `qauth` that is installed in the project QAUTH_NODE_APP, by
// default the one that bindings/node/tests/run.sh makes. driver_node.mjs runs the same code with `import`.

const { createRequire } = require('node:module')
const { join } = require('node:path')
const { createInterface } = require('node:readline')
const { setImmediate } = require('node:timers/promises')

const app = process.env.QAUTH_NODE_APP ?? join(__dirname, '../../../build/node-app')
const packages = createRequire(join(app, 'package.json'))

async function run(qauth) {
  const driver = new Driver(qauth)
  for await (const line of createInterface({ input: process.stdin })) {
    const fields = line.split('\t').map(decodeURIComponent)
    const reply = await driver.handle(...fields).catch(refused)
    process.stdout.write(`${reply.map(escaped).join('\t')}\n`)
  }
}

class Driver {
  constructor(qauth) {
    this.qauth = qauth
  }

  async handle(command, ...args) {
    const { engine, source, qauth } = this
    const given = (index) => args[index] || undefined
    switch (command) {
      case 'engine':
        this.source = this.token = this.engine = undefined
        await engine?.close()
        this.engine = qauth.Engine.fromJson(args[0])
        this.listen()
        return ok()
      case 'engine_from_file':
        this.source = this.token = this.engine = undefined
        await engine?.close()
        this.engine = qauth.Engine.fromFile(args[0])
        this.listen()
        return ok()
      case 'close':
        await engine?.close()
        return ok()
      case 'source':
        this.source = engine.source(args[0])
        return ok()
      case 'source_with':
        this.source = engine.source(args[0], JSON.parse(args[1]))
        return ok()
      case 'custom_source': {
        const [name, keys, ...results] = args
        this.customCalls = 0
        const fn = async () => {
          const index = 3 * Math.min(this.customCalls++, Math.floor(results.length / 3) - 1)
          const [accessToken, expiresIn, code] = results.slice(index, index + 3)
          if (code) throw new qauth.QauthError({ code, message: 'the function says so' })
          return { accessToken, expiresIn: expiresIn ? Number(expiresIn) : undefined }
        }
        this.source = engine.customSource(name, fn, JSON.parse(keys))
        return ok()
      }
      case 'custom_calls':
        return ok({ count: this.customCalls })
      case 'advance':
        await engine.advance(Number(args[0]))
        return ok()
      case 'suspend':
        await engine.suspend(Number(args[0]))
        return ok()
      case 'step_wall_clock':
        engine.stepWallClock(Number(args[0]))
        return ok()
      case 'events':
        // What has come is told on this loop: at the latest in the next of its rounds.
        for (let round = 0; round < 2; round++) await setImmediate()
        return ok({ events: JSON.stringify(this.events.splice(0)) })
      case 'metrics':
        return ok({ metrics: JSON.stringify(engine.metrics()), prometheus: engine.prometheus() })
      case 'records':
        return ok({ records: JSON.stringify(await engine.records()) })
      case 'clear':
        return ok({ cleared: await engine.clear(args[0]) })
      case 'remove':
        return ok({ removed: engine.remove(args[0]) })
      case 'token':
        return this.got(await source.token(options(args)))
      case 'start':
        this.started = source.token(options(args))
        // Whoever joins hears of it.
        this.started.catch(() => {})
        return ok()
      case 'join':
        return this.got(await this.started)
      case 'header':
        return ok({ value: await source.header() })
      case 'headers': {
        const headers = await source.headers(args[0], args[1])
        return ok({ count: Object.keys(headers).length }, named(Object.entries(headers)))
      }
      case 'request': {
        const [method, target, body, ...pairs] = args
        const headers = {}
        for (let index = 0; pairs[index]; index += 2) headers[pairs[index]] = pairs[index + 1] ?? ''
        const response = await source.request(method, target, { headers, body: body || undefined })
        return ok({ status: response.status, body: response.text() }, named([...response.headers]))
      }
      case 'call': {
        const saving = given(2) && { saveAs: args[2] }
        return ok({ result: JSON.stringify(await source.call(args[0], given(1) && JSON.parse(args[1]), saving)) })
      }
      case 'invalidate':
        return ok({ acted: source.invalidate(this.token) })
      case 'reset':
        source.reset()
        return ok()
      case 'update':
        source.update(JSON.parse(args[0]))
        return ok()
      case 'scoped':
        this.source = source.scoped({ scope: given(0), audience: given(1), resource: given(2) })
        return ok()
      case 'concurrent': {
        const settled = await Promise.allSettled(Array.from({ length: Number(args[0]) }, () => source.token()))
        const tokens = settled.filter(({ status }) => status === 'fulfilled').map(({ value }) => value.accessToken)
        const codes = settled.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.code)
        return ok({ ok: tokens.length, distinct: new Set(tokens).size, errors: [...new Set(codes)].sort().join(',') })
      }
      default:
        return ['unsupported']
    }
  }

  listen() {
    const events = (this.events = [])
    this.engine.on('event', ({ kind, severity, profile, provider, reason, seconds, generation, error }) => {
      events.push({ kind, severity, profile, provider, reason, seconds, generation, code: error?.code })
    })
  }

  got(token) {
    this.token = token
    const { accessToken, tokenType, expiresIn, scope, extras } = token
    const fields = { access_token: accessToken, token_type: tokenType, expires_in: expiresIn, scope }
    return ok({ ...fields, extras: JSON.stringify(extras) })
  }
}

/** `min_remaining` in seconds and `timeout_ms`; without both, the call that a program makes. */
function options([minRemaining, timeoutMs]) {
  if (!minRemaining && !timeoutMs) return undefined
  return {
    minRemainingMs: minRemaining ? Number(minRemaining) * 1000 : undefined,
    timeoutMs: timeoutMs ? Number(timeoutMs) : undefined,
  }
}

const named = (headers) => Object.fromEntries(headers.map(([name, value]) => [`header.${name}`, value]))

function pairs(fields) {
  return Object.entries(fields)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${value}`)
}

function ok(...fields) {
  return ['ok', ...fields.flatMap(pairs)]
}

function refused(error) {
  const { code, message, retryable, profile, provider, status, retryAfterMs } = error
  return [
    'error',
    ...pairs({
      code,
      message,
      retryable,
      profile,
      provider,
      status,
      server_error: error.serverError,
      server_error_description: error.serverErrorDescription,
      retry_after: retryAfterMs === null ? null : retryAfterMs / 1000,
      answer: error.answer && JSON.stringify(error.answer),
    }),
  ]
}

/** Every byte up to 0x20, `%`, 0x7f and everything beyond ASCII as `%XX`. */
function escaped(field) {
  return [...Buffer.from(field)]
    .map((byte) =>
      byte > 0x20 && byte < 0x7f && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).padStart(2, '0')}`,
    )
    .join('')
}

module.exports = { packages, run }
if (require.main === module) run(packages('qauth'))
