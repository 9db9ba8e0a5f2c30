// The whole API as a program in TypeScript uses it; only its types are looked at.
import * as qauth from 'qauth'
import { Engine, QauthError, Response, Token, TokenSource, source, version } from 'qauth'
import type { EngineEvent, EventKind, ProfileMetrics, RecordInfo } from 'qauth'
import { once } from 'node:events'
import type { CallOptions, ErrorCode, Json, JsonObject, Narrowing, RequestOptions, TokenOptions } from 'qauth'

function is<T>(_value: T): void {}

const config: JsonObject = { profiles: { pricing: { provider: 'quantaprice', timeout: undefined, hosts: ['a'] } } }
is<Engine[]>([new Engine(), new Engine(config), Engine.discover(), Engine.fromFile('qauth.toml')])
is<Engine[]>([Engine.fromToml(''), Engine.fromJson('{}'), Engine.shared()])
const engine: Engine = new qauth.Engine(config)
is<TokenSource[]>([source('a'), source('a', { client_id: 'b' }), engine.source('a'), engine.source('a', config)])
is<boolean>(engine.remove('a'))
is<string[]>(engine.profiles())
engine.on('renewed', (event) => is<EngineEvent>(event)).once('event', ({ kind, at }) => is<[EventKind, Date]>([kind, at]))
engine.off('failed', ({ error }) => is<QauthError | undefined>(error)).removeAllListeners()
// @ts-expect-error: no event has that name
engine.on('renewd', () => {})
is<Promise<unknown[]>>(once(engine, 'obtained'))
is<ProfileMetrics | undefined>(engine.metrics().profiles['pricing'])
is<number>(engine.metrics().evicted)
is<Promise<RecordInfo[]>>(engine.records())
is<Promise<boolean>>(engine.clear('pricing'))
is<string>(engine.prometheus())
is<void>(engine.stepWallClock(-1))
is<Promise<void>[]>([engine.advance(1), engine.suspend(1), engine.close(), engine[Symbol.asyncDispose]()])
is<string>(version)

const one: TokenSource = source('a')
is<string[]>([one.profile, one.provider, one.headerName])
is<string | null>(one.apiBaseUrl)
const options: TokenOptions = { timeoutMs: 1, minRemainingMs: 2, signal: AbortSignal.timeout(1) }
const limits: CallOptions = options
is<Promise<Token>[]>([
  one.token(),
  one.token({}),
  one.token(options),
  one.token(limits),
  one.token({ timeoutMs: undefined }),
])
is<string>(await one.header())
is<string | Promise<string>>(one.header())
is<Record<string, string>>(await one.headers('GET', new URL('https://a'), options))
const request: RequestOptions = {
  query: { a: [1, 'b'], c: true },
  headers: new Headers(),
  body: Buffer.from(''),
  ...limits,
}
is<Promise<Response>[]>([one.request('GET', '/a'), one.request('GET', new URL('https://a'), request)])
is<Promise<Response>>(one.request('GET', '/a', { query: new URLSearchParams(), headers: { a: 'b' }, body: null }))
is<{ role: string }>(await one.call('whoami'))
is<Promise<any>>(one.call('whoami', { a: [1] }, options))
is<Promise<any>>(one.call('create_client', {}, { ...options, saveAs: 'batch' }))
const { fetch } = one
is<Promise<globalThis.Response>[]>([
  fetch('/a'),
  fetch(new URL('https://a')),
  fetch(new Request('https://a'), { method: 'POST' }),
])
one.reset()
one.update({ client_secret: 'b' })
const narrowing: Narrowing = { scope: 'a', audience: 'b', resource: 'c' }
is<TokenSource>(one.scoped(narrowing))

const token = await one.token()
const { accessToken, tokenType, expiresAt, expiresIn, scope, extras, generation, headerValue } = token
is<[string, string, Date | null, number | null, string | null, number, string]>([
  accessToken,
  tokenType,
  expiresAt,
  expiresIn,
  scope,
  generation,
  headerValue,
])
is<Json>(extras['instance'])
is<boolean>(one.invalidate(token))

const response = await one.request('GET', '/a')
is<[number, boolean, Headers, Buffer, string]>([
  response.status,
  response.ok,
  response.headers,
  response.body,
  response.text(),
])
is<{ a: number }>(response.json())

try {
  await one.token()
} catch (error) {
  if (error instanceof QauthError) {
    is<Error>(error)
    is<'QauthError'>(error.name)
    is<ErrorCode>(error.code)
    is<(string | null)[]>([error.profile, error.provider, error.serverError, error.serverErrorDescription])
    is<(number | null)[]>([error.status, error.retryAfterMs])
    is<boolean>(error.retryable)
    is<object>(error.toJSON())
    is<{ client_secret: string } | null>(error.answer)
    // @ts-expect-error: no such word
    if (error.code === 'wrong') throw error
  }
}

// @ts-expect-error: a source is given by an engine
new TokenSource()
// @ts-expect-error: a token is given by a source
new Token()
// @ts-expect-error: an option that does not exist
one.token({ timeout: 1 })
// @ts-expect-error: a token, and no string
one.invalidate('a')
// @ts-expect-error: a token does not change
token.accessToken = 'a'
// @ts-expect-error: JSON only
new Engine({ profiles: () => 1 })
