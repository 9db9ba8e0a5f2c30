'use strict'

const native = require('./native')
const check = require('./check')
const { begin } = require('./begin')
const { withCause } = require('./custom')
const { KEY, describe, guard, uncloneable } = require('./shared')
const { handleOf, makeToken } = require('./token')
const { Response } = require('./response')
const { fetchWith } = require('./fetch')

const UNCLONEABLE = uncloneable('TokenSource', 'call qauth.source(name) there: all threads share one login')

class TokenSource {
  #handle
  #engine
  // Native functions: the generation of the cached token or header, 0 where there is none.
  #generation
  #headerGeneration
  // The token and header of one generation, given again while it is the valid one.
  #token
  #tokenGeneration = 0
  #header
  #headerOf = 0
  #fetch

  constructor(key, handle, engine) {
    guard(key, new.target, TokenSource, 'engine.source(name) gives one')
    this.#handle = handle
    this.#engine = engine
    this.#generation = native.cachedGeneration(handle)
    this.#headerGeneration = native.cachedHeaderGeneration(handle)
    Object.defineProperty(this, 'uncloneable', UNCLONEABLE)
  }

  get profile() {
    return native.sourceParts(this.#handle).profile
  }

  get provider() {
    return native.sourceParts(this.#handle).provider
  }

  get apiBaseUrl() {
    return native.sourceParts(this.#handle).apiBaseUrl
  }

  get headerName() {
    return native.sourceParts(this.#handle).headerName
  }

  token(options) {
    if (options === undefined) {
      const generation = this.#generation()
      if (generation !== 0) return generation === this.#tokenGeneration ? this.#token : this.#keepToken()
    }
    return this.#obtain(options)
  }

  #keepToken() {
    const parts = native.sourceCached(this.#handle)
    if (parts === null) return this.#obtain()
    this.#token = Promise.resolve(makeToken(parts))
    this.#tokenGeneration = parts.generation
    return this.#token
  }

  async #obtain(options) {
    const { timeoutMs, minRemainingMs, signal } = check.options('options', options, check.TOKEN)
    return makeToken(await this.#begin(signal, native.sourceToken, this.#handle, timeoutMs, minRemainingMs))
  }

  #begin(...call) {
    return this.#withCause(begin(...call))
  }

  async #withCause(promise) {
    try {
      return await promise
    } catch (error) {
      throw withCause(error, this.#engine)
    }
  }

  header() {
    const generation = this.#headerGeneration()
    return generation !== 0 && generation === this.#headerOf ? this.#header : this.#keepHeader()
  }

  #keepHeader() {
    const cached = native.sourceCachedHeader(this.#handle)
    if (cached === null) return this.#begin(undefined, native.sourceHeader, this.#handle)
    this.#header = cached.value
    this.#headerOf = cached.generation
    return cached.value
  }

  async headers(method, url, options) {
    const args = [check.text('method', method), check.url('url', url)]
    const { timeoutMs, minRemainingMs, signal } = check.options('options', options, check.TOKEN)
    const { pairs } = await this.#begin(signal, native.sourceHeaders, this.#handle, ...args, timeoutMs, minRemainingMs)
    return Object.fromEntries(pairs)
  }

  async request(method, target, options) {
    const request = { method: check.text('method', method), target: check.url('target', target) }
    const { signal, ...given } = check.options('options', options, check.REQUEST)
    const parts = { ...request, query: [], headers: [], ...given }
    return new Response(KEY, await this.#begin(signal, native.sourceRequest, this.#handle, parts))
  }

  async call(operation, parameters = {}, options) {
    const args = [check.text('operation', operation), check.json('parameters', parameters)]
    const { signal, ...given } = check.options('options', options, check.CALL)
    return JSON.parse(await this.#begin(signal, native.sourceCall, this.#handle, ...args, given))
  }

  invalidate(token) {
    return native.sourceInvalidate(this.#handle, handleOf(token))
  }

  reset() {
    native.sourceReset(this.#handle)
  }

  update(changes) {
    native.sourceUpdate(this.#handle, check.json('changes', changes))
  }

  scoped(narrowing) {
    if (narrowing === undefined)
      throw check.expected('narrowing', 'an object with scope, audience or resource', narrowing)
    const { scope, audience, resource } = check.options('narrowing', narrowing, check.NARROWING)
    return new TokenSource(KEY, native.sourceScoped(this.#handle, scope, audience, resource), this.#engine)
  }

  get fetch() {
    return (this.#fetch ??= (input, init) => this.#withCause(fetchWith(this.#handle, input, init)))
  }
}
describe(TokenSource, ({ profile, provider }) => ({ profile, provider }))

module.exports = { TokenSource }
