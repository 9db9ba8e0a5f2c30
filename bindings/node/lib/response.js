'use strict'

const { describe, guard } = require('./shared')
const { refusal } = require('./error')

class Response {
  #parts
  #headers

  constructor(key, parts) {
    guard(key, new.target, Response, 'source.request() gives one')
    this.#parts = parts
  }

  get status() {
    return this.#parts.status
  }

  get ok() {
    return this.status >= 200 && this.status < 300
  }

  get headers() {
    // Headers take bytes as Latin-1, as fetch gives them.
    const bytes = ([name, value]) => [name, Buffer.from(value).toString('latin1')]
    return (this.#headers ??= new Headers(this.#parts.headers.map(bytes)))
  }

  get body() {
    return this.#parts.body
  }

  text() {
    return new TextDecoder().decode(this.body)
  }

  json() {
    try {
      return JSON.parse(this.text())
    } catch {
      // The parser's own message quotes what it read.
      throw refusal('protocol', `the answer (HTTP ${this.status}) is not JSON`)
    }
  }
}
describe(Response, ({ status, body }) => ({ status, bytes: body.length }))

module.exports = { Response }
