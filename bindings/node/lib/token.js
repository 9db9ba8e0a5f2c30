'use strict'

const native = require('./native')
const { KEY, describe, guard, uncloneable } = require('./shared')
const { expected } = require('./check')

const UNCLONEABLE = uncloneable('Token', 'send its accessToken, or make the source there: all threads share one login')

/** The native token of an argument. */
let handleOf
let isToken

class Token {
  static {
    isToken = (value) => typeof value === 'object' && value !== null && #parts in value
    handleOf = (token) => {
      if (!isToken(token)) throw expected('token', 'a Token', token)
      return token.#parts.handle
    }
  }

  #parts
  #extras

  constructor(key, parts) {
    guard(key, new.target, Token, 'source.token() gives one')
    this.#parts = parts
    Object.defineProperty(this, 'uncloneable', UNCLONEABLE)
  }

  get accessToken() {
    return this.#parts.accessToken
  }

  get tokenType() {
    return this.#parts.tokenType
  }

  get expiresAt() {
    return this.#parts.expiresAt === null ? null : new Date(this.#parts.expiresAt)
  }

  get expiresIn() {
    return native.tokenExpiresIn(this.#parts.handle)
  }

  get scope() {
    return this.#parts.scope
  }

  get extras() {
    return (this.#extras ??= frozen(JSON.parse(this.#parts.extras)))
  }

  get generation() {
    return this.#parts.generation
  }

  get headerValue() {
    return this.#parts.headerValue
  }
}
describe(Token, ({ tokenType, expiresAt, generation }) => ({ tokenType, expiresAt, generation }))

function frozen(value) {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen)
    Object.freeze(value)
  }
  return value
}

module.exports = { Token, handleOf, isToken, makeToken: (parts) => new Token(KEY, parts) }
