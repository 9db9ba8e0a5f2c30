'use strict'

const { version } = require('./lib/native')
const { Engine } = require('./lib/engine')
const { TokenSource } = require('./lib/source')
const { Token } = require('./lib/token')
const { Response } = require('./lib/response')
const { QauthError } = require('./lib/error')

module.exports = {
  Engine,
  TokenSource,
  Token,
  Response,
  QauthError,
  source: (name, options) => Engine.shared().source(name, options),
  customSource: (name, fn, options) => Engine.shared().customSource(name, fn, options),
  version: version(),
}
