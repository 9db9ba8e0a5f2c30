/// <reference types="node" />
import { EventEmitter } from 'node:events'

/** JSON as configurations, parameters and results have it; members that are `undefined` are left out. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined }

/** An object of JSON: the structure of `qauth.toml`, or keys of a profile. */
export interface JsonObject {
  [key: string]: Json | undefined
}

/** The words of {@link QauthError.code}. */
export type ErrorCode =
  | 'invalid_argument'
  | 'config'
  | 'invalid_client'
  | 'invalid_grant'
  | 'reauthentication_required'
  | 'access_denied'
  | 'rate_limited'
  | 'server_error'
  | 'network'
  | 'timeout'
  | 'tls'
  | 'protocol'
  | 'store'
  | 'store_unavailable'
  | 'session_conflict'
  | 'unsupported'
  | 'cancelled'
  | 'closed'
  | 'internal'

/** Limits of a call. */
export interface CallOptions {
  /**
   * For everything the call does. Not given: the profile's own (30 s unless set). 0: cached tokens only, nothing
   * is waited for.
   */
  timeoutMs?: number | undefined
  /**
   * Gives the call up: it rejects with `cancelled`, whose `cause` is the signal's reason. A renewal under way
   * goes on.
   */
  signal?: AbortSignal | undefined
}

/** Limits of a call that needs a token. */
export interface TokenOptions extends CallOptions {
  /** The token must be valid at least this long from now on. */
  minRemainingMs?: number | undefined
}

/** What goes with an operation, beside its parameters. */
export interface OperationOptions extends TokenOptions {
  /**
   * Where the operation makes a new client: the name of the profile that it becomes, in `profiles.d` beside the
   * configuration, before the promise is fulfilled. `engine.source(name)` works at once. An error that comes after the
   * vendor's answer has it as `answer`.
   */
  saveAs?: string | undefined
}

/** What goes with a request, beside the token. */
export interface RequestOptions extends CallOptions {
  /** Appended to the target's own query. An array repeats its name. */
  query?:
    URLSearchParams | Record<string, string | number | boolean | (string | number | boolean)[] | undefined> | undefined
  /** Sent beside those that the token needs; those, `Host` and the framing headers are refused. */
  headers?: Headers | Record<string, string | undefined> | undefined
  /** Sent as it is, a string in UTF-8. */
  body?: string | ArrayBuffer | ArrayBufferView | null | undefined
}

/** What a {@link TokenFunction} is asked for; `null` where nothing is asked. */
export interface TokenRequest {
  /** The profile's name. */
  profile: string
  scope: string | null
  audience: string | null
  resource: string | null
}

/** What a {@link TokenFunction} gives; further members become the token's `extras`. */
export interface CustomToken {
  accessToken: string
  /** Seconds from the call of the function on; not given: the profile's `default_lifetime`, else five minutes. */
  expiresIn?: number | null | undefined
  /** `Bearer` where nothing is said. */
  tokenType?: string | null | undefined
  scope?: string | null | undefined
  [extra: string]: Json | undefined
}

/**
 * Gives a token, or throws. A {@link QauthError} keeps its code; of anything else the callers are told the class, and have
 * it as `cause` in the thread that threw it.
 */
export type TokenFunction = (
  request: TokenRequest,
) => string | CustomToken | Token | PromiseLike<string | CustomToken | Token>

/**
 * What happened to a source's token. `obtained`: there was none. `renewed`: in place of a valid one. `adopted`: a sibling
 * had obtained it. `failed`: a renewal brought none. `served_while_failing`: callers get a valid one though it cannot be
 * renewed, told once until it can. `conflict`: another party keeps taking over this account's only session. `invalidated`:
 * the API rejected it. `skew`: the server's clock is far from ours. `evicted`: a source that nobody used was let go of.
 * `switched`: other credentials of the profile are used from now on. `store_degraded`: the store cannot be used as it
 * should, told once until it can (`store_recovered`).
 */
export type EventKind =
  | 'obtained'
  | 'renewed'
  | 'adopted'
  | 'failed'
  | 'served_while_failing'
  | 'conflict'
  | 'invalidated'
  | 'skew'
  | 'evicted'
  | 'switched'
  | 'store_degraded'
  | 'store_recovered'

/** What listeners of an {@link Engine} get. It holds no secret and no token. */
export interface EngineEvent {
  kind: EventKind
  /** How much it matters to somebody who reads a log. */
  severity: 'debug' | 'info' | 'warning'
  profile: string
  provider: string
  /**
   * Why. Of a renewal, what set it off: `first_use`, `ahead`, `stale`, `expired`, `min_remaining` or `rejected`; of
   * `served_while_failing` and `conflict` the error's code; of `invalidated` `rejected`; of `skew` `server_ahead` or
   * `server_behind`; of `evicted` `unused`; of `switched` `refused`; of `store_degraded`
   * the error's code; of `store_recovered` `store`. Of a token that a sibling obtained, taken up without a renewal:
   * `announced`.
   */
  reason: string
  /**
   * Of a renewal how long it took; of `served_while_failing` what the token has left; of `conflict` for how long nothing is
   * tried; of `invalidated` how old the token was; of `skew` by how much; of `evicted` for how long nobody used it; of all
   * others 0.
   */
  seconds: number
  /** By the engine's clock. */
  at: Date
  /** Of the token that came, was rejected, or is served though it cannot be renewed. */
  generation: number | undefined
  /** How many events before this one were dropped, since the thread did not come to its loop. */
  lost: number
  /** One line for people, without profile and provider. */
  message: string
  /** What the renewal met. */
  error: QauthError | undefined
}

/** Each kind by its word, and every event as `event`. There is no `error` among them. */
export type EngineEventName = EventKind | 'event'

/** Counters of one profile, since the process began to use it. */
export interface ProfileMetrics {
  provider: string
  /** How often each event happened. */
  events: Record<EventKind, number>
  /** Renewals that brought no token, by the error's code; codes that never came are left out. */
  failures: Partial<Record<ErrorCode, number>>
  /** Requests for tokens that were sent or tried. */
  requests: number
  /** Renewals that ended, whatever came of them. */
  renewals: number
  /** How long they took together. */
  renewal_seconds: number
  /** When the token that came last ends, in seconds since 1970; `null` before the first one, and for one without an end. */
  expires_at: number | null
  /** By how many seconds the server's clock was ahead of ours when last it was far off; 0 where it was not. */
  clock_skew: number
}

/** How a record of the store stands: the first of these that is true of it. */
export type RecordState =
  | 'unreadable'
  | 'conflict'
  | 'refused'
  | 'paused'
  | 'maybe_spent'
  | 'valid'
  | 'renewable'
  | 'expired'
  | 'empty'

/** One record of the store: no token and no secret. Times are in seconds since 1970; what is not there is `null`. */
export interface RecordInfo {
  /** The store's own name for it, by which its file or key is found; `null` in a store of kind memory. */
  name: string | null
  profile: string | null
  provider: string | null
  state: RecordState
  /** Rises with every write. */
  generation: number
  obtained_at: number | null
  expires_at: number | null
  has_refresh_token: boolean
  refresh_expires_at: number | null
  /** The failure that is remembered, while it is, and until when nothing is tried. */
  failure: ErrorCode | null
  failure_until: number | null
  /** `null` in a store of kind memory. */
  written_at: number | null
  /** Host and process. */
  written_by: string | null
  /** Why it cannot be read. */
  error: { code: ErrorCode; message: string } | null
}

/** What a source's tokens are narrowed to. */
export interface Narrowing {
  scope?: string | undefined
  audience?: string | undefined
  resource?: string | undefined
}

/**
 * The source of a profile, or of a provider whose credentials are in the environment (`source('quiqup')`), in the process's
 * own engine: `Engine.shared().source(name, options)`.
 */
export function source(name: string, options?: JsonObject): TokenSource

/**
 * The source whose tokens come from a function of this program, in the process's own engine:
 * `Engine.shared().customSource(name, fn, options)`.
 */
export function customSource(name: string, fn: TokenFunction, options?: JsonObject): TokenSource

/** The version of this package. */
export const version: string

/**
 * Owns the connections, the threads and the sources. One per process is enough, and all threads may share it:
 * {@link Engine.shared}, which {@link source} uses. Cannot be extended.
 *
 * Emits what happens to tokens, on the loop of the thread that listens. Listening does not keep the process alive.
 */
export class Engine extends EventEmitter {
  /**
   * With a configuration of the structure of `qauth.toml`; without one: providers by name, credentials from the
   * environment.
   */
  constructor(config?: JsonObject)
  /** With the configuration that is found: `QAUTH_CONFIG`, then `qauth/qauth.toml` in the XDG folder; none is fine. */
  static discover(): Engine
  /** With a `qauth.toml`, or JSON of that structure where the name ends in `.json`. */
  static fromFile(path: string): Engine
  /** With the text of a `qauth.toml`. */
  static fromToml(text: string): Engine
  /** With the same structure as JSON. */
  static fromJson(text: string): Engine
  /** The process's own, made as by {@link Engine.discover} at its first use; the same one in all worker threads. */
  static shared(): Engine
  /**
   * The source of a profile or provider; `options` are keys over those of the profile. Sends nothing. Keep what
   * it gives.
   */
  source(name: string, options?: JsonObject): TokenSource
  /**
   * The source of a profile whose tokens come from a function: of a profile with grant `custom`, or of one made of these
   * options (`api_base_url` and the like). Everything else works as always: one call for all who wait, a cache, renewal
   * when somebody asks near the token's end, the limits of time. A function that has not answered at the limit is not
   * waited for any more.
   *
   * The last function that is given for a name counts. Of the process's own engine each thread may give its own: it is
   * called where somebody waits, else in the thread that gave its own last and still runs.
   */
  customSource(name: string, fn: TokenFunction, options?: JsonObject): TokenSource
  /** Forgets a profile's source: its objects answer `closed` from now on. Whether there was one. */
  remove(name: string): boolean
  /**
   * The names of the profiles there are now: those of the configuration, then those that have come into `profiles.d` since,
   * which is read at every call.
   */
  profiles(): string[]
  on(name: EngineEventName, listener: (event: EngineEvent) => void): this
  once(name: EngineEventName, listener: (event: EngineEvent) => void): this
  off(name: EngineEventName, listener: (event: EngineEvent) => void): this
  addListener(name: EngineEventName, listener: (event: EngineEvent) => void): this
  removeListener(name: EngineEventName, listener: (event: EngineEvent) => void): this
  prependListener(name: EngineEventName, listener: (event: EngineEvent) => void): this
  prependOnceListener(name: EngineEventName, listener: (event: EngineEvent) => void): this
  /**
   * Counters and durations as they are now, by profile; names as in `prometheus()`, so in snake_case. `sources` is how many
   * the engine holds, `evicted` how many nobody used and were let go of; `store_degraded`: the store cannot be used as it
   * should.
   */
  metrics(): { sources: number; evicted: number; store_degraded: boolean; profiles: Record<string, ProfileMetrics> }
  /**
   * The same in the text format of Prometheus (OpenMetrics 1.0): serve it as
   * `application/openmetrics-text; version=1.0.0; charset=utf-8`.
   */
  prometheus(): string
  /**
   * What the store holds, of every process that shares it; of this one alone where it is of kind memory. Names as in the
   * store, so in snake_case.
   */
  records(): Promise<RecordInfo[]>
  /**
   * Forgets what the store holds of a profile, for every process that shares it; whether there was anything. The next call
   * obtains a token anew. Waits for a renewal under way. No server is told: tokens stay good until their own end, and other
   * processes serve theirs until they renew. A refresh token that stood in the store alone is lost: a person who signed in must
   * do so again.
   */
  clear(name: string): Promise<boolean>
  /** Moves a manual clock (`testing.clock = "manual"`), and resolves when the renewals that came due have ended. */
  advance(seconds: number): Promise<void>
  /** Lets a machine with a manual clock sleep: the monotonic clock stands still; what came due runs afterwards. */
  suspend(seconds: number): Promise<void>
  /** Sets the wall clock of a manual clock forward, or back where the number is negative; no time passes. */
  stepWallClock(seconds: number): void
  /** Ends the engine: calls that wait and all later ones answer `closed`. Resolves when its threads have ended. */
  close(): Promise<void>
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** The live object of one profile: a valid token whenever it is asked for one. An engine gives it. */
export class TokenSource {
  private constructor()
  /** The profile's name. */
  readonly profile: string
  /** The provider's name. */
  readonly provider: string
  /** The API's base address; `null` for a profile without one, which can `token()` and `header()`. */
  readonly apiBaseUrl: string | null
  /** The header that carries the token, `Authorization` as a rule. */
  readonly headerName: string
  /** A valid token: the cached one, or a new one. */
  token(options?: TokenOptions): Promise<Token>
  /**
   * The value of that header, `Bearer …`: at once while a token is cached, else a promise; `await source.header()` is always
   * right. Rejects with `unsupported` where a request needs more than one constant header.
   */
  header(): string | Promise<string>
  /** Every header that a request to `url` (a path below the API address, or a whole URL) must carry. */
  headers(method: string, url: string | URL, options?: TokenOptions): Promise<Record<string, string>>
  /**
   * Calls the API. Every status is a result; a 401 leads to one new token and one more try; a redirect is not followed.
   */
  request(method: string, target: string | URL, options?: RequestOptions): Promise<Response>
  /** Runs an operation that the provider declares, and gives its parsed answer. */
  call(operation: string, parameters?: JsonObject, options?: OperationOptions): Promise<any>
  /**
   * The global `fetch` with every header that the profile's API needs; it needs no `this`. A path that begins with `/` is one
   * below the API address. A 401 leads to one new token and one more try, if the body can be sent again. Redirects are
   * followed as by `fetch`; the profile's headers go to the profile's own hosts only.
   */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<globalThis.Response>
  /** The API rejected this token. Acts only if it is still the current one; whether it was. */
  invalidate(token: Token): boolean
  /** Forgets remembered failures and pauses: the next call tries again at once. */
  reset(): void
  /** Replaces keys of the profile, for instance a secret. Tokens of the old ones are not given any more. */
  update(changes: JsonObject): void
  /** The source of the same profile's tokens with this scope, audience or resource. */
  scoped(narrowing: Narrowing): TokenSource
}

/**
 * A token as one source gave it; it does not change. Nothing shows its text but {@link Token.accessToken} and
 * `headerValue`.
 */
export class Token {
  private constructor()
  /** The access token itself. Keep it out of logs. */
  readonly accessToken: string
  /** As the server spelled it, `Bearer` where it said nothing. */
  readonly tokenType: string
  /** When it ends; `null` for a token without an end. */
  readonly expiresAt: Date | null
  /** For how many seconds it is still valid, as of now: 0 once it has ended; `null` for a token without an end. */
  readonly expiresIn: number | null
  /** What the server granted, where it said so. */
  readonly scope: string | null
  /** Further members of the answer that the provider keeps. */
  readonly extras: { readonly [key: string]: any }
  /** Counts the tokens of its source upwards. */
  readonly generation: number
  /** The value of the header that carries it. */
  readonly headerValue: string
}

/** What an API answered to {@link TokenSource.request}. */
export class Response {
  private constructor()
  readonly status: number
  /** Whether the status is 200 to 299. */
  readonly ok: boolean
  readonly headers: Headers
  /** Decoded. */
  readonly body: Buffer
  /** The body as UTF-8. */
  text(): string
  /** The body as JSON; throws `protocol` if it is none. */
  json(): any
}

/** Every failure of this package. The message is for people and logs: it holds no secret. */
export class QauthError extends Error {
  /** For a {@link TokenFunction} that says why it has no token. Keep secrets out of the message. */
  constructor(detail: { code: ErrorCode; message: string }, options?: ErrorOptions)
  readonly name: 'QauthError'
  /** The stable word. */
  readonly code: ErrorCode
  readonly profile: string | null
  readonly provider: string | null
  /** The HTTP status of the server's answer. */
  readonly status: number | null
  /** The server's `error` (RFC 6749 5.2). */
  readonly serverError: string | null
  /** The server's `error_description`, secrets masked. */
  readonly serverErrorDescription: string | null
  /** Whether the same call may succeed later with nothing changed. */
  readonly retryable: boolean
  /** How long to wait before the next try can help. */
  readonly retryAfterMs: number | null
  /**
   * What the vendor answered, where it holds a secret that is shown this once only and the call could not finish with it:
   * the profile could not be saved, or the answer not be read (then it is its text). It is the only copy: store it, and
   * keep it out of logs. Nothing that prints, copies or clones the error finds it.
   */
  readonly answer: any
  toJSON(): object
}
