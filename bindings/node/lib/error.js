'use strict'

const { inspect } = require('node:util')

const FIELDS = [
  'code',
  'profile',
  'provider',
  'status',
  'serverError',
  'serverErrorDescription',
  'retryable',
  'retryAfterMs',
]

class QauthError extends Error {
  // Private: what prints or copies an error does not find it.
  #answer

  constructor(detail, options) {
    super(detail.message, options)
    for (const field of FIELDS) this[field] = detail[field] ?? null
    this.retryable ??= false
    this.#answer = detail.answer ?? null
  }

  get answer() {
    return this.#answer
  }

  /** As any error; but who asks for all getters does not ask for a secret. */
  [inspect.custom](depth, options) {
    return options.getters ? inspect(this, { ...options, getters: false }) : this
  }

  toJSON() {
    return { name: this.name, message: this.message, ...this }
  }
}
// On the prototype, as Error's own: the stack begins with it, and it is no own property.
Object.defineProperty(QauthError.prototype, 'name', { value: 'QauthError', writable: true, configurable: true })

/** An error that this package finds itself; `code` comes first in its text, as in those of core. */
function refusal(code, text, options) {
  return new QauthError({ code, message: `${code}: ${text}`, retryable: false }, options)
}

const invalid = (text) => refusal('invalid_argument', text)

/** What the native module threw (its message is JSON) as a QauthError, whose stack leads to the caller. */
function translated(thrown, options) {
  try {
    return new QauthError(JSON.parse(thrown.message), options)
  } catch {
    return refusal('internal', 'a fault between qauth and node; please report it', { cause: thrown })
  }
}

module.exports = { QauthError, invalid, refusal, translated }
